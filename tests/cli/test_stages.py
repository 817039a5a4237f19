"""Verbs started by another verb: failures are passed on, and nothing runs on alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selftaught.cli import stages


def test_a_failing_verb_passes_its_exit_code_on() -> None:
    with pytest.raises(stages.StageError) as stop:
        stages.run_verb(["nonsense"])
    assert stop.value.exit_code == 2
    assert "`selftaught nonsense` ended with status 2" in str(stop.value)


def test_the_printed_command_can_be_typed(capfd: pytest.CaptureFixture[str]) -> None:
    stages.run_verb(["--version"])
    assert "$ selftaught --version" in capfd.readouterr().out
    assert stages.written(["corpus", "local", "my text"]) == "selftaught corpus local 'my text'"


PATIENCE_SECONDS = 600.0
"""Only so that nothing waits for ever: a busy machine may take minutes for what takes milliseconds."""
PARENT = """
import os, sys
from selftaught.cli import stages
stages.sys.executable = sys.argv[1]
stages.run_verb(["sleep"])
"""

VERB = """#!{python}
import os, sys, time
from selftaught.cli.main import hold_leash
hold_leash()
open({mark!r}, "w").write(str(os.getpid()))
time.sleep({patience})
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_kill_9_of_the_starter_ends_the_verb(tmp_path: Path) -> None:
    mark, program = tmp_path / "pid", tmp_path / "verb"
    program.write_text(VERB.format(python=sys.executable, mark=str(mark), patience=2 * PATIENCE_SECONDS))
    program.chmod(0o755)
    with subprocess.Popen([sys.executable, "-c", PARENT, str(program)], stdout=subprocess.DEVNULL) as parent:
        while not (mark.exists() and mark.read_text()):
            time.sleep(0.02)
        verb = int(mark.read_text())
        assert alive(verb)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while alive(verb) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(verb)
