"""The command line as a whole: exit codes, help without torch, unknown verbs."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("words", [["--help"], ["generate", "--help"]])
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
