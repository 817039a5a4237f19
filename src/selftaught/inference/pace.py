"""How many threads are fastest now: found by trying, since it depends on the network and on what else the machine does.

A small network is read sooner by one thread than two can agree; where other programs use the cores, threads that wait for one
another lose whole time slices. Results do not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence

AGAIN = 64
"""Passes after which the other numbers of threads are tried once more: these cost a percent or two."""
WEIGHT = 0.3
"""Of the newest time in the mean."""
WARM = 2
"""First times of a number of threads that do not count: threads are started, pages touched."""


class Pace:
    """Times of passes by number of threads, for one size of pass."""

    def __init__(self, most: int) -> None:
        self._times: dict[int, float] = {}
        self._tried = dict.fromkeys(choices(most), 0)
        self._passes = 0

    def threads(self) -> int:
        """How many to use for the next pass."""
        self._passes += 1
        new = [count for count, tried in self._tried.items() if tried <= WARM]
        if new:
            return new[0]
        best = min(self._times, key=self._times.__getitem__)
        others = [count for count in self._tried if count != best]
        if others and self._passes % AGAIN < len(others):
            return others[self._passes % AGAIN]
        return best

    def note(self, threads: int, seconds: float) -> None:
        """Remember how long a pass took."""
        self._tried[threads] += 1
        if self._tried[threads] > WARM:
            before = self._times.get(threads, seconds)
            # One that was held up for long says little.
            self._times[threads] = before + WEIGHT * (min(seconds, 4 * before) - before)


def choices(most: int) -> Sequence[int]:
    """The numbers of threads worth trying: all, half and so on down to one."""
    found = [most]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found
