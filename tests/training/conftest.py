from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from selftaught import storage
from selftaught.corpus.documents import Document
from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.packing import pack
from selftaught.training.plan import TrainingPlan

WORDS = ("the", "a", "cat", "dog", "bird", "house", "tree", "river", "sees", "finds", "likes", "under", "over", "near")


def text(draw: random.Random) -> str:
    return ". ".join(" ".join(draw.choice(WORDS) for _ in range(6)) for _ in range(20))


def make_tokens(folder: Path, *, vocabulary_size: int = 300) -> Path:
    """A TOKENS folder of some thousand tokens."""
    draw, corpus, tokens = random.Random(3), folder / "corpus", folder / "tokens"
    for split, count in (("train", 24), ("heldout", 6)):
        rows = [Document(id=f"{split}-{number}", text=text(draw)) for number in range(count)]
        storage.write_jsonl(corpus / f"{split}.jsonl.zst", rows)
    tokenizer: Tokenizer = learn_tokenizer([text(draw)], vocabulary_size=vocabulary_size)
    pack(corpus, tokenizer, tokens)
    return tokens


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokens(tmp_path_factory.mktemp("small"))


def plan(**changes: Any) -> TrainingPlan:
    """A plan of a second."""
    shape = {"layers": 1, "heads": 2, "channels": 16, "context": 16, "dropout": 0.1}
    length = {"steps": 24, "batch_size": 4, "micro_batch_size": 4, "precision": "float32", "threads": 1}
    course = {"peak_rate": 1e-2, "warmup_steps": 2, "optimizer": "muon", "checkpoint_seconds": 1e9}
    log = {"evaluate_every": 8, "evaluate_tokens": 200, "log_every": 5}
    return TrainingPlan(**{**shape, **length, **course, **log, **changes})
