"""What settings of this room may be: each value that makes no sense is refused before any work."""

from __future__ import annotations

import math

from selftaught.errors import UsageError


def require_share(settings: object, *names: str, whole: bool = True) -> None:
    """Refuse fields that are no share of something; `whole` says whether none and all of it make sense."""
    for name in names:
        value = getattr(settings, name)
        if not (0 <= value <= 1 if whole else 0 < value < 1):
            raise _refusal(name, "from 0 to 1" if whole else "between 0 and 1 (neither)", value)


def require_least(settings: object, least: float, *names: str) -> None:
    """Refuse fields below `least`."""
    for name in names:
        if not least <= getattr(settings, name) < math.inf:
            raise _refusal(name, f"of at least {least:g}", getattr(settings, name))


def _refusal(name: str, expected: str, value: float) -> UsageError:
    flag = "--" + name.replace("_", "-")
    return UsageError(f"{flag} cannot be {value:g}", expected=f"a number {expected}")
