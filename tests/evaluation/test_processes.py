"""Several processes: the answers and scores of one, whoever ends what another began."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selftaught import compute, storage
from selftaught.cli import evaluate as cli
from selftaught.evaluation import measuring
from selftaught.report.records import Score
from selftaught.tasks import modelling, questions

TASKS = ("winograd", "wikitext2", "nq")
"""Choices, one long text, answers in the model's own words."""
PATIENCE_SECONDS = 3600.0
"""Only so that nothing waits for ever: a busy machine may take minutes for what takes seconds."""
KEPT, LINES = "answers-wikitext2.unfinished.jsonl", 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    schemas = [
        {
            "id": f"w{number}",
            "candidates": ["Anna", "Peter"],
            "label": number % 2,
            "sentences": [f"{name} thanked number {number} because it was good." for name in ("Anna", "Peter")],
        }
        for number in range(150)
    ]
    storage.write_jsonl(folder / "winograd" / "wsc273.jsonl", schemas)
    lines = [f" Anna sold {number} kettles to the white cat . " for number in range(800)]
    storage.write_text(folder / modelling.WIKITEXT2_FILE, "\n".join(lines) + "\n")
    rows = [{"question": f"who is number {number}", "answer": ["Ann"]} for number in range(300)]
    storage.write_jsonl(folder / questions.NQ_FILE, rows)
    return folder


class Killed(BaseException):
    """As if by kill -9."""


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def command(model: Path, data: Path, out: Path) -> list[str]:
    return [str(model), *TASKS, "--data", str(data), "--out", str(out)]


WAITS = f"""
import sys, time
from pathlib import Path
from selftaught.cli.main import main
from selftaught.evaluation import measuring
kept, stretches = Path(sys.argv[1]), measuring.stretches
def stretches_or_wait(*given):
    while kept.is_file() and kept.read_bytes().count(b"\\n") > {LINES}:
        time.sleep(0.01)
    return stretches(*given)
measuring.stretches = stretches_or_wait
sys.exit(main(sys.argv[2:]))
"""
"""The command, which waits to be killed once there is something to go on from."""


def start(model: Path, data: Path, out: Path, program: Sequence[str] = ("-m", "selftaught")) -> subprocess.Popen[str]:
    """`selftaught evaluate` in two processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [sys.executable, *launcher, *program, "evaluate", *command(model, data, out)],
        env=compute.environment_with({"OMP_NUM_THREADS": "1"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, said


def found(out: Path) -> tuple[list[Score], list[bytes]]:
    """The scores, but for their seconds, and all answers."""
    scores = [replace(score, seconds=0) for score in storage.read_json(out / "results.json", list[Score])]
    return scores, [(out / f"answers-{task}.jsonl").read_bytes() for task in TASKS]


def wait_for_answers(kept: Path, lines: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if kept.is_file() and kept.read_bytes().count(b"\n") > lines:
            return
        time.sleep(0.01)
    raise AssertionError(f"no answers in {kept}")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_processes_end_what_one_began_and_one_what_two_began(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, although each is killed within a long text."""
    cli.run(command(model, data, tmp_path / "one"))
    expected = found(tmp_path / "one")
    scored = measuring.stretches
    left = [1, 1]

    def dies(*given: Any) -> Any:
        if not left:
            raise Killed
        left.pop()
        return scored(*given)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(measuring, "stretches", dies)
        cli.run(command(model, data, tmp_path / "then two"))
    assert (tmp_path / "then two" / KEPT).read_bytes().count(b"\n") > LINES
    with start(model, data, tmp_path / "then two") as process:
        code, said = finish(process)
    assert code == 0, said[-3000:]
    kept = tmp_path / "then one" / KEPT
    (tmp_path / "waits.py").write_text(WAITS)
    with start(model, data, tmp_path / "then one", (str(tmp_path / "waits.py"), str(kept))) as process:
        wait_for_answers(kept, LINES, process)
        os.killpg(process.pid, signal.SIGKILL)
        assert finish(process)[0] != 0
    cli.run(command(model, data, tmp_path / "then one"))
    for out in (tmp_path / "then two", tmp_path / "then one"):
        assert found(out) == expected
        assert not list(out.glob("*.unfinished.jsonl"))


@pytest.mark.slow
def test_what_is_wrong_is_said_once(model: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "d")
    storage.write_text(tmp_path / "d" / "winograd" / "wsc273.jsonl", '{"id": "w1"}\n')
    with start(model, tmp_path / "d", tmp_path / "o") as process:
        code, said = finish(process)
    assert code != 0
    assert said.count("wsc273.jsonl, line 1 cannot be used") == 1, said[-3000:]
