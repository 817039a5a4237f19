"""Token by token: a prompt is read into a cache, then one token at a time is drawn and read. Knows ids only.

When the context is full the window slides: the last half of it is read again as if it were the beginning, and generation goes
on from there, so that text of any length can be written, each token seeing at least half a context. Positions are learned and
absolute in these networks, so remembered keys cannot be shifted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.inference import compiled
from selftaught.inference.decoding import Decoder
from selftaught.inference.logits import log_total
from selftaught.inference.ragged import RaggedCache
from selftaught.inference.rules import SamplingSettings
from selftaught.inference.sampling import choose
from selftaught.model.transformer import Transformer


@dataclass(frozen=True)
class Drawn:
    """One new token and the probability the model gave it, before penalties, temperature and truncation."""

    token: int
    probability: float
    log_prob: float = math.nan
    """The same in nats, which does not underflow."""
    top: tuple[tuple[int, float], ...] = ()
    """The most probable tokens with their log-probabilities, as many as were asked for, best first."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A prompt to continue and how."""

    prompt: Sequence[int]
    rules: SamplingSettings = field(default_factory=SamplingSettings)
    seed: int = 1
    most: int = 200
    """Tokens to draw at most."""
    end: int | None = None
    """A token that ends the text, and is its last."""
    top: int = 0
    """Alternatives to note with each token."""
    ended: Callable[[int], bool] | None = None
    """Told each token that is drawn, once; whether the text ends with it."""

    def ends(self, token: int, count: int) -> bool:
        """Whether the text ends with a token that is just drawn, its `count`-th."""
        stopped = self.ended is not None and self.ended(token)
        return stopped or token == self.end or count >= self.most


class Writer:
    """One text in the making: what was read, what was drawn, and the random numbers that are its own."""

    def __init__(
        self,
        prompt: Sequence[int],
        rules: SamplingSettings,
        generator: torch.Generator,
        vocabulary: int | None = None,
        top: int = 0,
    ) -> None:
        self.prompt, self.drawn = list(prompt), list[int]()
        self._rules, self._generator, self._vocabulary, self._top = rules, generator, vocabulary, top

    def draw(self, logits_V: torch.Tensor) -> Drawn:
        """Draw the next token from the logits after what was read, among the first `vocabulary` ids."""
        logits_V = logits_V[: self._vocabulary]
        token = choose(logits_V, self._rules, self._generator, self.prompt, self.drawn)
        self.drawn.append(token)
        return described(logits_V, token, self._top)

    def window(self, room: int) -> list[int]:
        """What is read (again) before the next token is drawn: all, or of more than fits the last half of what fits."""
        return window(self.prompt[-room:] + self.drawn, room)


def described(logits_V: torch.Tensor, token: int, top: int = 0) -> Drawn:
    """A token with its probability under the logits, and the `top` most probable ones."""
    total = log_total(logits_V)
    log_prob = float(logits_V[token]) - total
    best: tuple[tuple[int, float], ...] = ()
    if top:
        values, ids = logits_V.topk(min(top, len(logits_V)))
        best = tuple((other, value - total) for other, value in zip(ids.tolist(), values.tolist(), strict=True))
    return Drawn(token, math.exp(log_prob), log_prob, best)


def draw(  # noqa: PLR0917 - a prompt and how one text is drawn
    model: Transformer | Decoder,
    prompt: Sequence[int],
    rules: SamplingSettings,
    generator: torch.Generator,
    vocabulary: int | None = None,
    top: int = 0,
) -> Iterator[Drawn]:
    """Continue a prompt of at least one token without end, drawing among the first `vocabulary` ids (default: all).

    A prompt longer than the context keeps its last tokens. `top` alternatives are noted with each token. Raises UsageError for
    an empty prompt and for unknown ids.
    """
    decoder = model if isinstance(model, Decoder) else compiled.decoder(model)
    check(decoder, prompt)
    writer, cache = Writer(prompt, rules, generator, vocabulary, top), decoder.cache()
    logits_V = _read_again(decoder, cache, 0, writer)
    while True:
        yield writer.draw(logits_V)
        if cache.lengths[0] == cache.length:
            logits_V = _read_again(decoder, cache, 0, writer)
        else:
            logits_V = decoder.step(cache, (0,), (writer.drawn[-1],))[0]


@dataclass(frozen=True)
class _Row:
    number: int
    request: Request
    writer: Writer


def complete(
    decoder: Decoder, requests: Sequence[Request], *, rows: int = 8, vocabulary: int | None = None
) -> Iterator[tuple[int, Drawn, bool]]:
    """Continue many prompts, up to `rows` side by side; yield a request's number, its next token and whether it is the last.

    Each text is the one that `draw` writes alone with `compute.generator("sampling", seed)`: a text that ends gives its row to
    the next request. Raises UsageError for an empty prompt and for unknown ids, before anything is drawn.
    """
    for request in requests:
        check(decoder, request.prompt)
    waiting = deque((number, request) for number, request in enumerate(requests) if request.most > 0)
    longest = max((len(request.prompt) + request.most for _, request in waiting), default=1)
    cache = decoder.cache(max(1, min(rows, len(waiting))), longest)
    texts: dict[int, _Row] = {}
    while waiting or texts:
        read = _read_on(decoder, cache, texts)
        for row in range(len(cache.lengths)):
            if row not in texts and waiting:
                number, request = waiting.popleft()
                numbers = compute.generator("sampling", request.seed)
                texts[row] = _Row(
                    number, request, Writer(request.prompt, request.rules, numbers, vocabulary, request.top)
                )
                read.append((row, _read_again(decoder, cache, row, texts[row].writer)))
        for row, logits_V in read:
            text = texts[row]
            drawn = text.writer.draw(logits_V)
            last = text.request.ends(drawn.token, len(text.writer.drawn))
            yield text.number, drawn, last
            if last:
                del texts[row]


def _read_on(decoder: Decoder, cache: RaggedCache, texts: Mapping[int, _Row]) -> list[tuple[int, torch.Tensor]]:
    """Read the last token of each text, and the half of a window that is full; logits_V by row."""
    full = [row for row in texts if cache.lengths[row] == cache.length]
    read = [(row, _read_again(decoder, cache, row, texts[row].writer)) for row in full]
    going = [row for row in texts if row not in full]
    if going:
        logits_RV = decoder.step(cache, going, [texts[row].writer.drawn[-1] for row in going])
        read += zip(going, logits_RV, strict=True)
    return read


def _read_again(decoder: Decoder, cache: RaggedCache, row: int, writer: Writer) -> torch.Tensor:
    """What another row has read of the same beginning, as of one prompt with several samples, is not read once more."""
    tokens = writer.window(cache.length)
    return decoder.prefill(cache, row, tokens[cache.recall(row, tokens[:-1]) :])


def window(seen: list[int], room: int) -> list[int]:
    """What is read again before the next token: all, or of more than fits the last half of what fits."""
    return seen if len(seen) <= room else seen[-max(1, room // 2) :]


def check(decoder: Decoder, prompt: Sequence[int]) -> None:
    """Raise UsageError for a prompt that cannot be continued."""
    if not prompt:
        raise UsageError("an empty prompt has no next token", hint="Begin with <|endoftext|>.")
    if not 0 <= min(prompt) <= max(prompt) < decoder.shape.vocabulary:
        raise UsageError("an id is not in the model's vocabulary", expected=f"0 to {decoder.shape.vocabulary - 1}")
