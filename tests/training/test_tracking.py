"""A run's log in trackers: every row once, also of a run that is stopped, goes on and ends meanwhile."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from selftaught import storage
from selftaught.cli.main import main
from selftaught.errors import InputError, MissingExtraError
from selftaught.report.records import LearningPoint
from selftaught.training import tracking
from selftaught.training.tracking import track


def point(step: int, **more: Any) -> LearningPoint:
    numbers = {"loss": 3.0 / step, "rate": 0.1, "gradient_norm": 1.0, "tokens_per_second": 9.0, "seconds": float(step)}
    return LearningPoint(step=step, tokens=64 * step, **numbers, **more)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    storage.write_jsonl(folder / "log.jsonl", [point(1), point(5, heldout_bits_per_byte=2.0)])
    storage.write_json(folder / "plan.json", {"steps": 9})
    return folder


class Pretended:
    """Stands for wandb or trackio, whose functions are the same."""

    def __init__(self) -> None:
        self.began: dict[str, Any] = {}
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.finished = False

    def init(self, **words: Any) -> None:
        self.began = words

    def log(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values))

    def finish(self) -> None:
        self.finished = True


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_every_row_goes_out_with_what_was_measured(run: Path, monkeypatch: pytest.MonkeyPatch, name: Any) -> None:
    pretended = Pretended()
    monkeypatch.setitem(sys.modules, name, pretended)
    assert track(run, name, out=run) == 2
    assert pretended.began == {"project": "selftaught", "name": "small", "config": {"steps": 9}}
    assert [step for step, _ in pretended.rows] == [1, 5]
    assert pretended.rows[1][1]["heldout_bits_per_byte"] == 2.0
    assert "heldout_bits_per_byte" not in pretended.rows[0][1]
    assert pretended.finished


@pytest.fixture
def running(run: Path) -> Iterator[storage.Record]:
    """The record of the run, which a process holds."""
    record = storage.Record(
        verb="train",
        command=(),
        settings={},
        sources={},
        inputs={},
        versions={},
        git="",
        machine={},
        started="",
    )
    storage.write_json(run / "run.json", record)
    with open(run / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield record


def test_follows_a_run_that_is_resumed_until_it_ends(
    run: Path, running: storage.Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretended = Pretended()
    monkeypatch.setitem(sys.modules, "wandb", pretended)

    def resumed() -> None:
        storage.write_jsonl(run / "log.jsonl", [point(1)])

    def again() -> None:
        storage.write_jsonl(run / "log.jsonl", [point(1), point(5), point(6)])

    def ended() -> None:
        storage.append_line(run / "log.jsonl", msgspec.json.encode(point(9)))
        storage.write_json(run / "run.json", replace(running, status="finished"))

    happens = iter([resumed, again, ended])
    assert track(run, "wandb", out=run, follow=True, wait=lambda _: next(happens)()) == 4
    assert [step for step, _ in pretended.rows] == [1, 5, 6, 9]


@pytest.mark.usefixtures("running")
def test_follows_a_run_until_it_is_killed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", Pretended())

    def killed() -> None:
        (run / ".lock").unlink()  # what the system lets go of

    happens = iter([killed])
    assert track(run, "wandb", out=run, follow=True, wait=lambda _: next(happens)()) == 2


def test_tensorboard_reads_what_was_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(["track", str(run), "--out", str(tmp_path / "boards"), "--json"]) == 0
    assert '"rows": 2' in capsys.readouterr().out
    found = EventAccumulator(str(tmp_path / "boards/small"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(1, 3.0), (5, pytest.approx(0.6))]
    assert [event.step for event in found.Scalars("heldout_bits_per_byte")] == [5]


def test_refuses_what_is_no_run_and_names_the_extra(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no training run"):
        track(tmp_path, "wandb", out=tmp_path)
    real = tracking.importlib.import_module

    def missing(name: str) -> Any:
        if name in ("wandb", "tensorboard"):
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(tracking, "importlib", SimpleNamespace(import_module=missing))
    with pytest.raises(MissingExtraError, match=r"selftaught\[wandb\]"):
        track(run, "wandb", out=tmp_path)
    assert main(["track", str(run), "--out", str(tmp_path)]) == MissingExtraError.exit_code
