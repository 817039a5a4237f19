"""The command line as a whole: exit codes, help without torch, unknown verbs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from selftaught import errors
from selftaught.cli.main import VERBS, main


def test_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)


def test_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "Did you mean train" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from selftaught import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"selftaught {__version__}\n"


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_imports_neither_torch_nor_numba(verb: str) -> None:
    code = (
        "import sys; from selftaught.cli.main import main\n"
        f"try: main({[verb, '--help'] if verb else ['--help']})\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numba', 'trafilatura', 'aiohttp'} & set(sys.modules), 'heavy import'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


@pytest.mark.parametrize("at", ["selftaught.compute", "rich", "selftaught.settings", "selftaught.cli.show"])
def test_ctrl_c_during_imports_leaves_no_traceback(at: str) -> None:
    code = (
        "import runpy, sys\n"
        "class Stopped:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {at!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stopped())\n"
        "sys.argv[1:] = ['show']\n"
        "runpy.run_module('selftaught', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == errors.INTERRUPTED
    assert "Traceback" not in done.stderr


OVERVIEWS = [[], ["--help"], ["--version"], ["tokenizer", "--help"], ["tokenizer", "learn", "-h"]]


@pytest.mark.parametrize("words", [*OVERVIEWS, ["generate", "--help"]])
def test_help_that_nobody_reads_to_the_end_is_no_error(words: list[str]) -> None:
    verb = subprocess.Popen(
        [sys.executable, "-m", "selftaught", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert verb.stdout is not None
    verb.stdout.close()
    assert verb.wait() == 0
    assert verb.stderr is not None
    assert not verb.stderr.read()
    verb.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
@pytest.mark.parametrize("words", [*OVERVIEWS, *([verb, "--help"] for verb in VERBS)])
def test_help_on_a_full_disk_is_one_line_and_the_code_for_it(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "selftaught", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == errors.OutputError.exit_code
    assert done.stderr == "selftaught: cannot write to standard output; got No space left on device\n"


WRONG = {
    "nonsense": errors.UsageError,
    "show": errors.UsageError,
    "show --nonsense": errors.UsageError,
    "show /nonexistent": errors.InputError,
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
@pytest.mark.parametrize("words", WRONG)
def test_an_error_that_cannot_be_told_keeps_its_code(words: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "selftaught", *words.split()], stderr=full, check=False)
    assert done.returncode == WRONG[words].exit_code


@pytest.mark.parametrize("words", WRONG)
def test_an_error_that_nobody_reads_keeps_its_code(words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as unread:
        done = subprocess.run([sys.executable, "-m", "selftaught", *words.split()], stderr=unread, check=False)
    assert done.returncode == WRONG[words].exit_code


@pytest.mark.parametrize("words", [["--help"], ["generate", "--help"]])
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_lead_nowhere(words: list[str], closed: str) -> None:
    command = shlex.join([sys.executable, "-m", "selftaught", *words])
    done = subprocess.run(f"{command} {closed}", shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; from selftaught import console; console.open_streams()\n"
        f"with open({str(tmp_path / 'file')!r}, 'w') as file: subprocess.run([sys.executable, '-c', 'print(1)'], check=True)"
    )
    command = shlex.join([sys.executable, "-c", code])
    subprocess.run(f"{command} >&-", shell=True, check=True)
    assert (tmp_path / "file").read_bytes() == b""
