"""Long texts as windows of a network's context, each of which scores some of the tokens. Knows ids only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from selftaught.errors import UsageError
from selftaught.inference.trees import Pair


@dataclass(frozen=True)
class Window:
    """Reads tokens `first` to `end` of a text that begins with <|endoftext|>, and scores those from `place` on."""

    first: int
    place: int
    end: int


@dataclass(frozen=True)
class Windows:
    """A text of any length, and the windows that score each of its tokens once."""

    ids: Sequence[int]
    """With <|endoftext|> before the first."""
    spans: Sequence[Window]

    def pairs(self, which: range | None = None) -> Iterator[Pair]:
        """Some windows, or all, each as a context and what it scores."""
        for number in range(len(self.spans)) if which is None else which:
            one = self.spans[number]
            yield self.ids[one.first : one.place], self.ids[one.place : one.end]

    def stretches(self, tokens: int) -> list[range]:
        """The windows in groups that each score at least so many tokens, the last excepted."""
        found: list[range] = []
        begun = scored = 0
        for number, one in enumerate(self.spans):
            scored += one.end - one.place
            if scored >= tokens or number == len(self.spans) - 1:
                found.append(range(begun, number + 1))
                begun, scored = number + 1, 0
        return found


def windows(
    ids: Sequence[int], start: int, context: int, stride: int | None = None, *, filled: bool = False
) -> Windows:
    """The windows of a text whose first token is conditioned on the token `start`.

    Windows of `context` tokens begin every `stride` tokens (default: `context`, so that they do not overlap). The first scores
    all its tokens, each further one the last `stride`, which see at least `context` - `stride` tokens before them. With
    `filled` the last window begins earlier if it would be shorter than the others. Raises UsageError for a stride that would
    leave tokens out.
    """
    step = context if stride is None else stride
    if not 1 <= step <= context:
        raise UsageError("this stride leaves tokens out", expected=f"1 to {context}", got=str(step))
    everything = (start, *ids)
    return Windows(ids=everything, spans=tuple(_spans(len(everything), context, step, filled=filled)))


def _spans(count: int, context: int, step: int, *, filled: bool) -> Iterator[Window]:
    place = 1
    for first in range(0, count - 1, step):
        end = min(first + context + 1, count)
        yield Window(first=max(0, end - 1 - context) if filled else first, place=place, end=end)
        if end == count:
            return
        place = end
