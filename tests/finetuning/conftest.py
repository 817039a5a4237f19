"""A tiny pre-trained model and tasks that it can learn in seconds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from selftaught.checkpoint import native
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference.networks import network

TOKENIZER = Tokenizer(files.from_merges([(b"g", b"o"), (b"b", b"a"), (b" ", b"go"), (b" ", b"ba")]))


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    native.save(network(vocabulary=TOKENIZER.vocabulary_size, context=24), TOKENIZER, folder)
    return folder


def rows(path: Path, documents: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in documents), encoding="utf-8")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SST-2 whose label is a word, STS-B whose score is a number of letters, RACE whose answer stands in the article."""
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(1)
    for split, count in (("train", 96), ("dev", 32), ("test", 16)):
        films = [
            {"sentence": " x" * draw.randrange(4) + (" good", " bad")[n % 2], "label": 1 - n % 2} for n in range(count)
        ]
        rows(folder / "SST-2" / f"{split}.jsonl", films)
        scores = [
            {"sentence1": "a" * (1 + n % 6), "sentence2": "b" * (1 + n // 6 % 3), "score": float(n % 6)}
            for n in range(count)
        ]
        rows(folder / "STS-B" / f"{split}.jsonl", scores)
        question = {"article": "it is b", "questions": ["?"], "options": [["a", "b", "c", "d"]], "answers": ["B"]}
        rows(folder / "RACE" / f"{split}-high.jsonl", [question] * count)
    return folder
