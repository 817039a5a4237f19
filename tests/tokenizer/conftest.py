"""Tokenizers that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer

TEXTS = (
    "The cat sat on the mat, and the cat's hat sat on the rat's. They'll say it isn't so; we've seen it, I'm sure.",
    "In 1984 and 2001 there were 12,345 lights! über-große Bären naïve 漢字漢字 かなかな 🙂🙂 привет привет мир",
    "  indented\n\n\tcode = value  # with signs\n    return code\n" * 3,
)


@pytest.fixture(scope="session")
def small() -> Tokenizer:
    """A tokenizer with 63 merges."""
    return learn_tokenizer(TEXTS, vocabulary_size=320)


@pytest.fixture(scope="session")
def gpt2(shared_data: Path) -> Tokenizer:
    """OpenAI's vocabulary, which is not part of the repository."""
    folder = shared_data / "vocab" / "gpt2"
    if not folder.is_dir():
        pytest.skip("needs GPT-2's encoder.json and vocab.bpe in ../shared/data/vocab/gpt2")
    return Tokenizer.load(folder)
