"""How many threads are fastest now: found by trying, since it depends on the network and on what else the machine does.

A small network is read sooner by one thread than two can agree; where other programs use the cores, threads that wait for one
another lose whole time slices. Results do not depend on it. Memory may be twice as fast from one second to the next, so only
times that were taken right after each other are compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from statistics import median

COUNTED = 3
"""Passes of each number of threads that are compared, by their median: one that was held up for long says little."""
WARM = 1
"""Passes before those that do not count: threads wake up, pages are touched."""
CLEARLY = 0.9
"""Of the time that more threads take, what fewer must stay below: what is hardly faster may be so by chance."""
SURELY = 0.5
"""Of it, above which fewer are tried once more before they are taken: memory may have been slow for a moment."""
SLOWED = 1.5
"""Times the time that was found, as often as are counted: then the numbers are tried again at once."""
AGAIN = 64, 256
"""Passes until the numbers next to the best are tried again: at first, and at most, which costs a percent or less."""


class Pace:
    """Times of passes by number of threads, for one size of pass."""

    def __init__(self, most: int) -> None:
        self._choices = choices(most)
        self._times = {count: deque[float](maxlen=COUNTED) for count in self._choices}
        self._last = 0.0
        self._plan = self._passes()

    def threads(self) -> int:
        """How many to use for the next pass."""
        return next(self._plan)

    def note(self, threads: int, seconds: float) -> None:
        """Remember how long a pass took."""
        self._times[threads].append(seconds)
        self._last = seconds

    def _passes(self) -> Iterator[int]:
        """The number of threads of one pass after the other."""
        best, tried, wait = self._choices[0], self._choices, AGAIN[0]
        while True:
            found = yield from self._fastest(tried)
            if found < best and self._time(found) > SURELY * self._time(best):
                found = yield from self._fastest((best, found))
            wait = min(2 * wait, AGAIN[1]) if found == best else AGAIN[0]
            best, first, slow = found, self._time(found), 0
            for _ in range(wait):
                yield best
                slow = slow + 1 if self._last > SLOWED * first else 0
                if slow == COUNTED:
                    break
            place = self._choices.index(best)
            tried = self._choices[max(place - 1, 0) : place + 2]

    def _fastest(self, tried: Sequence[int]) -> Generator[int, None, int]:
        """The passes that try some numbers of threads; the one that was best."""
        if len(tried) > 1:
            for count in tried:
                yield from (count,) * (WARM + COUNTED)
        found = tried[0]
        for count in tried[1:]:
            found = count if self._time(count) < CLEARLY * self._time(found) else found
        return found

    def _time(self, threads: int) -> float:
        return median(self._times[threads] or (0.0,))


def choices(most: int) -> Sequence[int]:
    """The numbers of threads worth trying: all, half and so on down to one."""
    found = [most]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found
