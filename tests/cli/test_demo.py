"""The whole path, end to end, on a small made-up text: once without a pause, once through Ctrl-C and kill -9.

Nearly all the time goes into starting verbs, so each is started as seldom as can be: what looks at a finished run shares one, and
the run that is stopped in every stage trains the two smaller sizes.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from selftaught import errors, storage
from selftaught.cli import demo as demonstration
from selftaught.cli import stages
from selftaught.report.records import Score

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

PATIENCE_SECONDS = 3600.0
"""Only so that nothing waits for ever: a busy machine may take minutes for what takes seconds."""
DEMO = [sys.executable, "-m", "selftaught", "demo"]
SMALL = ["--minutes", "0.3", "--vocabulary-size", "400", "--samples", "1", "--heldout", "0.2"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 little stories with enough structure to learn from and enough variety to hold out."""
    folder = tmp_path_factory.mktemp("text")
    draw = random.Random(5)
    names, places = (
        ["Anna", "Peter", "Maria", "John", "Clara", "Omar"],
        ["garden", "market", "harbour", "library", "kitchen"],
    )
    things, doings = (
        ["letter", "basket", "lantern", "ribbon", "kettle", "map"],
        ["found", "carried", "hid", "painted", "sold"],
    )
    for number in range(60):
        sentences = [
            f"{draw.choice(names)} {draw.choice(doings)} the {draw.choice(things)} in the {draw.choice(places)} "
            f"on day {draw.randrange(1000)}, and {draw.choice(names)} saw a {draw.choice(things)} near the {draw.choice(places)}."
            for _ in range(30)
        ]
        (folder / f"story-{number:03}.txt").write_text(" ".join(sentences), encoding="utf-8")
    return folder


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMO, *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run without a pause, and what it printed."""
    out = tmp_path_factory.mktemp("finished") / "runs" / "demo"
    done = demo("--text", str(text), "--out", str(out), *SMALL)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return out, done.stdout


def test_runs_through_and_says_so_the_second_time(text: Path, finished: tuple[Path, str]) -> None:
    out, printed = finished
    scores = storage.read_json(out / "results.json", list[Score])
    heldout = [score for score in scores if (score.task, score.metric) == ("heldout", "bits_per_byte")]
    assert len({score.parameters for score in heldout}) == 4
    assert {"train", "lastword", "cloze"} <= {score.task for score in scores}
    assert len(scores) >= 4 * 6
    assert (out / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert len(list((out / "memorize").glob("*/memorization.json"))) == 2
    commands = [line for line in printed.splitlines() if line.startswith("$ selftaught ")]
    assert [command.split()[2] for command in commands[:4]] == ["corpus", "tokenizer", "pack", "train"]

    (out / "report.html").unlink()
    second = demo("--text", str(text), "--out", str(out), *SMALL)
    assert second.returncode == 0
    assert [line for line in second.stdout.splitlines() if line.startswith("$")] == [f"$ selftaught report {out}"]
    third = demo("--text", str(text), "--out", str(out), *SMALL)
    assert third.returncode == 0
    assert "finished" in third.stdout
    assert "$" not in third.stdout
    other = demo("--text", str(text), "--out", str(out), *SMALL, "--seed", "2")
    assert other.returncode == errors.MismatchError.exit_code
    assert "seed" in other.stderr


def test_the_readmes_python_runs_on_what_the_demo_made(finished: tuple[Path, str]) -> None:
    out, _ = finished
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    largest = max((out / "models").iterdir(), key=lambda path: int(path.name.partition("x")[2]))
    code = re.sub(r"models/\w+", f"models/{largest.name}", code)
    done = subprocess.run([sys.executable, "-c", code], cwd=out.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 3


def test_continues_after_ctrl_c_and_kill_9_in_every_stage(
    text: Path, finished: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = [*DEMO, "--text", str(text), "--out", str(out), *SMALL]
    for pattern in ("corpus/run.json", "tokenizer/run.json", "tokens/run.json"):
        _stop(words, signal.SIGKILL, out, pattern)
    ladder = json.loads((finished[0] / demonstration.LADDER_FILE).read_text(encoding="utf-8"))
    storage.write_json(out / demonstration.LADDER_FILE, dict(list(ladder.items())[:2]))
    assert _stop(words, signal.SIGINT, out, "models/*") == errors.INTERRUPTED
    for pattern in ("models/*/step-*", "samples/*", "overlap", "evaluation/*", "memorize/*"):
        _stop(words, signal.SIGKILL, out, pattern)
    done = demo(*words[len(DEMO) :])
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(json.loads((out / "results.json").read_text(encoding="utf-8"))) >= 2 * 6
    assert not list(out.rglob(f"*{storage.TEMPORARY}"))


def test_goes_on_where_no_document_is_long_enough_to_be_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = demonstration.Demo(settings=demonstration.DemoSettings())

    def fail(code: int) -> None:
        def run_verb(words: Sequence[str]) -> None:
            raise stages.StageError(words, code)

        monkeypatch.setattr(stages, "run_verb", run_verb)
        demonstration._memorize(asked, "1x32")

    fail(errors.InputError.exit_code)
    with pytest.raises(stages.StageError):
        fail(errors.OutputError.exit_code)


def _stop(words: list[str], number: signal.Signals, out: Path, pattern: str) -> int:
    """Start the demo, send it a signal as soon as something new matches the pattern, and return its exit code."""
    before = set(out.glob(pattern))
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while set(out.glob(pattern)) <= before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, f"ended before a new {pattern} appeared"
    time.sleep(0.2)
    os.kill(process.pid, number)
    return process.wait(PATIENCE_SECONDS)
