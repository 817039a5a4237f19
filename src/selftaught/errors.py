"""Every error that selftaught raises on purpose, drawn as a tree, with the exit code of each.

    SelftaughtError                 1   a defect of ours if nothing below fits
    |- UsageError                   2   unknown name, ill-typed value, impossible combination
    |- InputError                   3   what was given cannot be read or used (missing, empty, not text, malformed)
    |- OutputError                  4   nothing can be written there (disk full, no permission, folder in use)
    |- MismatchError                5   two things do not belong together (tokenizer and shards, run and plan)
    |- DamagedFileError             6   a file of ours is not what was written (hash, length, format)
    |- MissingExtraError            7   an optional dependency is not installed
    `- DivergedError                1   training whose loss is no number any more

Interrupted by Ctrl-C: 130. Ended by SIGTERM: 143. Each message says what was expected, what came, and what to type next.
"""

from __future__ import annotations

INTERRUPTED = 130
TERMINATED = 143


class SelftaughtError(Exception):
    """Base of every deliberate error.

    `expected` and `got` are half sentences, `hint` is what to type or do next; any of them may be empty.
    """

    exit_code = 1
    told = False
    """Whether the user has already read what is wrong."""

    def __init__(self, message: str, *, expected: str = "", got: str = "", hint: str = "") -> None:
        self.message = message
        self.expected = expected
        self.got = got
        self.hint = hint
        super().__init__(self.line())

    def line(self) -> str:
        """Return the whole message as one line."""
        parts = [self.message]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.got:
            parts.append(f"got {self.got}")
        text = "; ".join(parts)
        return f"{text}. {self.hint}" if self.hint else text


class UsageError(SelftaughtError):
    """A name, value or combination that the command cannot mean."""

    exit_code = 2


class InputError(SelftaughtError):
    """Input that is missing, empty, not text or malformed."""

    exit_code = 3


class OutputError(SelftaughtError):
    """Output that cannot be written: no space, no permission, or a folder that another run owns."""

    exit_code = 4


class MismatchError(SelftaughtError):
    """Two inputs that do not belong together, or a run resumed under another plan."""

    exit_code = 5


class DamagedFileError(SelftaughtError):
    """A file that selftaught wrote and that no longer is what was written."""

    exit_code = 6


class DivergedError(SelftaughtError):
    """Training whose loss or gradient is no number any more; the weights are those before."""


class MissingExtraError(SelftaughtError):
    """An optional dependency that is not installed; the message holds the install line."""

    exit_code = 7

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed", hint=f"Type: pip install 'selftaught[{extra}]'")
