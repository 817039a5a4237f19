"""A model that several tests ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from selftaught import compute
from selftaught.checkpoint import native
from selftaught.inference.language_model import LanguageModel
from selftaught.model.initial import initialise
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.learning import learn_tokenizer


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    tokenizer = learn_tokenizer(["Q: who is it?\nA: the white cat\n" * 9], vocabulary_size=280)
    network = Transformer(ModelShape(layers=1, heads=2, channels=16, context=96, vocabulary=280))
    initialise(network, compute.generator("answering"))
    return LanguageModel(network, tokenizer, name="tiny")


@pytest.fixture(scope="module")
def model(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    native.save(lm.model, lm.tokenizer, folder)
    return folder
