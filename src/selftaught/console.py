"""The one place that writes to the screen: lines, tables and progress bars, from rank 0 only.

With `--json` the screen's text goes to standard error and standard output holds one JSON document.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from selftaught import compute
from selftaught.errors import OutputError, SelftaughtError

QUIET_SECONDS = 15.0
"""Where there is no terminal (a log file, CI), a progress line is written this often instead of a bar."""

_UNFOLDED = 1 << 14
"""Characters of a line that may be as long as it needs to be."""

_STANDARD_ERROR = 2
"""The highest descriptor of the three standard streams."""

_state: dict[str, Console] = {}


class _Screen(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `output`: rich would end the program with an exit code that means a defect."""
        raise BrokenPipeError


def configure(*, json: bool) -> None:
    """Send human-readable text to standard error if `json`, else to standard output."""
    screen = _Screen(stderr=json, quiet=compute.rank() != 0, highlight=False, soft_wrap=True)
    if not screen.is_terminal:
        screen.width = _UNFOLDED
    _state["screen"] = screen


def _screen() -> Console:
    if "screen" not in _state:
        configure(json=False)
    return _state["screen"]


def is_json() -> bool:
    """Whether standard output is kept for one JSON document."""
    return _screen().stderr


def line(text: str = "", *, style: str = "") -> None:
    """Write one line of plain text."""
    with output():
        _screen().print(Text(text, style=style))


def write(text: str) -> None:
    """Write text to standard output as it is and at once, tabs and all: for text that streams."""
    if compute.rank() == 0:
        _send(text)


def warn(text: str) -> None:
    """Write one line that the user should not miss."""
    line(f"warning: {text}", style="yellow")


def error(problem: SelftaughtError) -> None:
    """Write an error to standard error as one line; where that cannot be written either, the exit code has to tell it."""
    with suppress(OSError):
        _Screen(stderr=True, highlight=False, soft_wrap=True).print(Text(f"selftaught: {problem.line()}", style="red"))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """Write a table; columns whose values are all numbers are set flush right. Where there is no terminal nothing is folded."""
    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) for row in rows)
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(f"{cell:,.4g}" if isinstance(cell, float) else str(cell)) for cell in row))
    with output():
        _screen().print(drawn)


def result(document: Any) -> None:
    """Write a JSON document to standard output (what `--json` promises)."""
    if compute.rank() == 0:
        _send(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")


def row(document: Any) -> None:
    """Write a JSON document to standard output as one line, at once."""
    if compute.rank() == 0:
        _send(msgspec.json.encode(document).decode() + "\n")


def _send(text: str) -> None:
    with output():
        sys.stdout.write(text)


@contextmanager
def output() -> Iterator[None]:
    """Writes to standard output, all of it by the end. Ends the program quietly if nobody reads any further, as after `| head`.

    Raises OutputError where what is written cannot be kept, as in a file on a full disk.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError as problem:
        forget_output()
        raise SystemExit(0) from problem
    except OSError as problem:
        forget_output()
        raise OutputError("cannot write to standard output", got=problem.strerror or str(problem)) from problem


def forget_output() -> None:
    """Let nobody's standard output go nowhere: what is left in the buffer has to go somewhere when Python closes the stream."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_streams() -> None:
    """Let standard streams that the starting process closed (`>&-`) lead nowhere.

    Else the next files to be opened got their numbers, and what a library or another process prints would go into these.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - it takes no keyword
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open as long as the process is


class Bar:
    """A running count with a rate, the time left and a few words; made by `progress`."""

    def __init__(self, description: str, total: float | None, unit: str, shown: Progress | None, done: float) -> None:
        self._description = description
        self._total = total
        self._unit = unit
        self._shown = shown
        self._done = done
        self._start = self._last = time.monotonic()
        self._first = done
        self._words = ""
        self._task = shown.add_task(description, total=total, words="", unit=unit) if shown else None
        if shown is not None and self._task is not None:
            shown.update(self._task, completed=done)

    def advance(self, amount: float = 1, words: str = "") -> None:
        """Add `amount` to the count and show `words` (a loss, a file name) beside it."""
        self._done += amount
        if self._shown is not None and self._task is not None:
            self._words = words or self._words
            self._shown.update(self._task, completed=self._done, words=self._words)
        elif time.monotonic() - self._last >= QUIET_SECONDS:
            self._last = time.monotonic()
            line(self._plain(words))

    def _plain(self, words: str) -> str:
        speed = (self._done - self._first) / max(self._last - self._start, 1e-9)
        share = f" {100 * self._done / self._total:.0f} %" if self._total else ""
        left = f", {(self._total - self._done) / speed:.0f} s left" if self._total and speed else ""
        return f"{self._description}{share} {self._done:,.0f} {self._unit} ({_rate(speed)}{left}) {words}".rstrip()


class _Speed(ProgressColumn):
    def render(self, task: Any) -> Text:
        speed = task.finished_speed or task.speed
        return Text(_rate(speed, f" {task.fields['unit']}") if speed else "", style="cyan")


def _rate(speed: float, unit: str = "") -> str:
    """How many a second, or how long each takes where that is more than a second."""
    if 0 < speed < 1:
        return f"{1 / speed:,.3g} s each"
    return f"{speed:,.{0 if speed >= 10 else 1}f}{unit}/s"


@contextmanager
def progress(description: str, total: float | None = None, *, unit: str = "", done: float = 0) -> Iterator[Bar]:
    """Show progress of a piece of work; `total` None where it is not known, `done` what an earlier run did."""
    screen = _screen()
    if compute.rank() != 0 or not screen.is_terminal:
        yield Bar(description, total, unit, None, done)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(
        *columns, _Speed(), TimeRemainingColumn(), TextColumn("{task.fields[words]}"), console=screen
    ) as shown:
        yield Bar(description, total, unit, shown, done)
