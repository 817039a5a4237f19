"""Verbs of several words, such as `selftaught corpus build`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selftaught import console, settings
from selftaught.errors import UsageError


def choose(verb: str, argv: Sequence[str], words: Mapping[str, str]) -> str:
    """Return the first word of `argv`, one of `words` (name -> what it does); with none or --help print them and exit.

    Raises UsageError for an unknown word, naming the nearest.
    """
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, words))
        console.line(f"usage: selftaught {verb} WORD ...\n")
        for name, text in words.items():
            console.line(f"  {name:<{width}}  {text}")
        raise SystemExit(0 if argv else UsageError.exit_code)
    if argv[0] not in words:
        raise settings.unknown_name(f"word after {verb}", argv[0], words)
    return argv[0]
