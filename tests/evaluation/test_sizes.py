"""A run of several sizes: each model as if it were alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from selftaught import compute, storage
from selftaught.checkpoint import native
from selftaught.cli import evaluate as cli
from selftaught.errors import UsageError
from selftaught.evaluation import sizes
from selftaught.evaluation.running import evaluate
from selftaught.inference.language_model import LanguageModel
from selftaught.model.initial import initialise
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.report.records import Score


@pytest.fixture
def run(lm: LanguageModel, tmp_path: Path) -> Path:
    """Two models as a demo keeps them, the larger one first by name."""
    for name, channels in (("1", 16), ("0", 32)):
        network = Transformer(ModelShape(layers=1, heads=2, channels=channels, context=64, vocabulary=280))
        initialise(network, compute.generator("sizes"))
        native.save(network, lm.tokenizer, tmp_path / "run" / "models" / name)
    (tmp_path / "run" / "tokens").mkdir()
    return tmp_path / "run"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    sentences = [f"Anna thanked Peter because {name} was good." for name in ("Anna", "Peter")]
    row = {"id": "w1", "candidates": ["Anna", "Peter"], "label": 0, "sentences": sentences}
    storage.write_jsonl(tmp_path / "data" / "winograd" / "wsc273.jsonl", [row])
    return tmp_path / "data"


def test_all_sizes_of_a_run(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(run), "winograd", "--data", str(data), "--out", str(tmp_path / "o")]
    cli.run(words)
    found = storage.read_json(tmp_path / "o" / "results.json", list[Score])
    assert [score.model for score in found] == ["1", "1", "0", "0"]
    alone = evaluate(run / "models" / "0", "winograd", data=data, out=tmp_path / "alone")
    assert [replace(one, seconds=0) for one in found[2:]] == [replace(one, seconds=0) for one in alone]
    assert (tmp_path / "o" / "0" / "answers-winograd.jsonl").is_file()
    assert "model" in capsys.readouterr().out
    cli.run(words)
    assert "is finished" in capsys.readouterr().out
    with pytest.raises(UsageError, match="2 in"):
        cli.run([*words, "--along"])


def test_one_model_is_no_run_of_several(run: Path) -> None:
    assert [path.name for path in sizes.models(run / "models")] == ["0", "1"]
    assert sizes.models(run / "models" / "0") == sizes.models(run / "nothing") == []
