"""A small corpus folder and a tokenizer for it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.corpus.documents import Document
from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer

WORDS = ("the", "a", "cat", "dog", "house", "of", "and", "in", "tree", "river", "stone", "walks", "sees", "under")


def texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(5, 60))) + " é🙂.\n" for _ in range(count)]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for split, count in (("train", 40), ("heldout", 6)):
        rows = [Document(id=f"{split} {n}", text=text) for n, text in enumerate(texts(count, count))]
        storage.write_jsonl(folder / f"{split}.jsonl.zst", rows)
    return folder


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return learn_tokenizer(texts(40, 40), vocabulary_size=300)
