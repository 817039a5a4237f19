"""Environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping


def environment(name: str, default: str = "") -> str:
    """Read one environment variable."""
    return os.environ.get(name, default)


def environment_with(changes: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process with some variables set, for a process that it starts."""
    return {**os.environ, **changes}


def share_processors() -> None:
    """Let torch's threads sleep soon instead of spinning while they wait for one another; to be called before torch is imported.

    With the default they spin, and where another program uses a core, small training steps get 5 to 20 times slower. The
    price is up to a quarter of the speed of the smallest networks on an idle machine. A setting of the user's own is respected.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
