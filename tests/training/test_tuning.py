"""The rate found by short runs: the best of the grid, which grows, is kept and is not tried twice."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from selftaught import storage
from selftaught.cli.main import main
from selftaught.errors import DivergedError
from selftaught.report.records import LearningPoint
from selftaught.training import tuning
from selftaught.training.tuning import TriedRate, tuned
from tests.training.conftest import plan


def pretended(monkeypatch: pytest.MonkeyPatch, best: float, tried: list[float]) -> None:
    """Perplexities with their minimum at a rate, instead of short runs."""

    def pretend(chosen: Any, rate: float, steps: int, **_: Any) -> TriedRate:
        tried.append(rate)
        distance = abs(rate / best if rate > best else best / rate)
        return TriedRate(rate=rate, steps=steps, tokens=1, perplexity=None if best == 0.0 else 10 * distance)

    monkeypatch.setattr(tuning, "_tried", pretend)


@pytest.mark.parametrize(("best", "count"), [(0.01, 5), (0.02, 5), (0.04, 6), (0.08, 7), (0.00125, 7), (1e-5, 9)])
def test_takes_the_best_and_grows_the_grid_towards_it(best, count, monkeypatch, tmp_path):
    tried: list[float] = []
    pretended(monkeypatch, best, tried)
    found = tuned(plan(), tokens=tmp_path, out=tmp_path)
    assert len(tried) == len(set(tried)) == count
    assert found.peak_rate == min(tried, key=lambda rate: max(rate / best, best / rate))
    assert found == plan(peak_rate=found.peak_rate)
    assert tuned(plan(), tokens=tmp_path, out=tmp_path) == found
    assert len(tried) == count


def test_short_runs_hold_out_a_part_of_the_training_text(tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "FACTORS", (0.001, 1.0, 30.0))
    monkeypatch.setattr(tuning, "MOST_RATES", 3)
    found = tuned(plan(optimizer="adamw"), tokens=tokens, out=tmp_path, steps=12)
    rows = storage.read_json(tmp_path / "rates.json", list[TriedRate])
    assert [row.rate for row in rows] == [1e-5, 0.01, 0.3]
    assert found.peak_rate == min(rows, key=lambda row: row.order).rate != 1e-5
    assert not list((tmp_path / "rates").glob("*/step-*"))
    assert len(list((tmp_path / "rates").glob("*/log.jsonl"))) == 3


def test_a_loss_whose_exponential_is_no_number_is_divergence(tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "MOST_RATES", 2)
    monkeypatch.setattr(tuning, "FACTORS", (5e-5, 1.0))
    wild = plan(optimizer="adamw", peak_rate=20.0, weight_decay=0.0)
    assert tuned(wild, tokens=tokens, out=tmp_path, steps=12).peak_rate == pytest.approx(1e-3)
    last = storage.read_lines(tmp_path / "rates/20/log.jsonl", LearningPoint)[-1]
    assert last.heldout_loss is not None
    assert 700 < last.heldout_loss < math.inf


def test_a_rate_that_diverges_is_the_worst(tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "MOST_RATES", 2)
    wild = plan(optimizer="adamw", peak_rate=1e30, clip=1e30)
    monkeypatch.setattr(tuning, "FACTORS", (1e-33, 1.0))
    assert tuned(wild, tokens=tokens, out=tmp_path, steps=12).peak_rate == pytest.approx(1e-3)
    monkeypatch.setattr(tuning, "FACTORS", (1.0, 2.0))
    with pytest.raises(DivergedError, match="every rate"):
        tuned(wild, tokens=tokens, out=tmp_path / "other", steps=12)


def test_the_verb_tunes_first_and_resumes(tokens, tmp_path, capsys):
    words = "--layers 1 --heads 2 --channels 16 --context 16 --steps 30 --batch-size 4 --tune-rate --tune-steps 5"
    argv = ["train", "--tokens", str(tokens), "--out", str(tmp_path / "run"), *words.split(), "--json"]
    assert main(argv) == 0
    rows = storage.read_json(tmp_path / "run/rates.json", list[TriedRate])
    best = min(rows, key=lambda row: row.order).rate
    progress = json.loads((tmp_path / "run/step-000030/training.json").read_text())
    assert progress["plan"]["peak_rate"] == best
    assert main(argv) == 0
    assert "finished" in capsys.readouterr().err
