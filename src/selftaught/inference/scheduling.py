"""Continuous batching: texts join and leave between steps, and each goes on as if it were alone. Knows ids only.

Every text has a slot, a row of one cache. A step is one pass: it reads one token of all texts that are ready, and pieces of
prompts beside them, so that the weights are not read once more for either. What a text is given depends on its request alone:
its numbers come from a generator of its own, and a row of the compiled pass is the same to the last bit whatever the others
are and however it is cut. Without that pass (no C compiler, or an accelerator) company may change rounding: by 1e-5 in a
log-probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.inference.decoding import Decoder, Piece
from selftaught.inference.generation import check, described, window
from selftaught.inference.ragged import common
from selftaught.inference.rules import SamplingSettings
from selftaught.inference.sampling import choose

READ_A_STEP = 256
"""Tokens of prompts that a step reads at most: enough to be fast, few enough that the other texts do not halt."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A text to go on with."""

    prompt: Sequence[int]
    """At least one id; of more than fit into the context the last ones are read."""
    tokens: int
    """Most tokens to draw; 0 only reads the prompt."""
    rules: SamplingSettings = field(default_factory=SamplingSettings)
    seed: int = 1
    """Equal seeds, equal text: the one that `LanguageModel.generate` gives."""
    end: int | None = None
    """Id that ends the text and is not told."""
    alternatives: int = 0
    """Most probable tokens to tell of beside each."""
    log_probs: bool = True
    """Whether to tell of the log-probability of each token: finding it looks at all others."""
    echo: bool = False
    """Whether to tell of the prompt's tokens too; it must then fit into the context."""


@dataclass(frozen=True)
class Told:
    """A token, its log-probability before anything is cut, and the most probable ones in its place.

    There is no log-probability of the first token of a prompt, and none where it was not asked for.
    """

    token: int
    log_prob: float | None
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Progress:
    """News of one text: of its prompt, if it was to be echoed, its next token, and whether and why it has ended."""

    slot: int
    prompt: tuple[Told, ...] = ()
    drawn: Told | None = None
    ended: Literal["stop", "length"] | None = None


@dataclass(kw_only=True)
class _Text:
    request: Request
    generator: torch.Generator
    seen: list[int]
    """Ids of the prompt that fit, and those drawn."""
    unread: list[int]
    """Ids to read before the next token can be drawn; empty when that is the last one drawn."""
    echoed: list[Told] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)


class Batch:
    """Texts that a network goes on with together. Not to be used by several threads at a time."""

    def __init__(self, decoder: Decoder, *, slots: int, vocabulary: int | None = None) -> None:
        """Take the memory of `slots` texts; only the first `vocabulary` ids are drawn (default: all)."""
        if slots < 1:
            raise UsageError("no text has a slot", expected="1 slot or more", got=str(slots))
        self._decoder, self._vocabulary = decoder, vocabulary or decoder.shape.vocabulary
        self._cache = decoder.cache(slots)
        self._texts: dict[int, _Text] = {}

    @property
    def free(self) -> int:
        """Slots that no text has."""
        return len(self._cache.lengths) - len(self._texts)

    @property
    def texts(self) -> int:
        """Slots in use."""
        return len(self._texts)

    def check(self, request: Request) -> None:
        """Raise UsageError for a request that cannot be met."""
        check(self._decoder, request.prompt)
        if request.echo and len(request.prompt) > self._cache.length:
            raise UsageError(
                "the prompt's own probabilities need all of it in the context",
                expected=f"at most {self._cache.length} tokens",
                got=str(len(request.prompt)),
            )
        if request.tokens < 0 or request.alternatives < 0:
            raise UsageError("a number of tokens is too small", expected="0 or more")

    def join(self, request: Request) -> int:
        """Give a text a slot and return its number; the text begins with the next step. Raises UsageError if none is free."""
        self.check(request)
        if not self.free:
            raise UsageError("all slots are in use", expected=f"at most {len(self._cache.lengths)} texts")
        slot = min(set(range(len(self._cache.lengths))) - self._texts.keys())
        prompt = list(request.prompt)[-self._cache.length :]
        generator = compute.generator("sampling", request.seed)
        self._texts[slot] = _Text(request=request, generator=generator, seen=prompt, unread=list(prompt))
        self._cache.truncate(slot)
        return slot

    def leave(self, slot: int) -> None:
        """Free a slot; a text that has ended has left by itself."""
        self._texts.pop(slot, None)

    @torch.inference_mode()
    def step(self) -> list[Progress]:
        """Draw the next token of every text that is ready, and read on in prompts.

        Of each text there is one piece of news at most, and none of those still being read.
        """
        if not self._texts:
            return []
        ready = sorted(slot for slot, text in self._texts.items() if not text.unread)
        pieces = self._pieces()
        last = [self._texts[slot].seen[-1] for slot in ready]
        logits_RV, found = self._decoder.read(self._cache, ready, last, pieces)
        logits_RV = logits_RV[:, : self._vocabulary]
        best = self._greediest(ready, logits_RV) if ready else {}
        news = [
            self._draw(slot, self._texts[slot], row, best.get(slot)) for slot, row in zip(ready, logits_RV, strict=True)
        ]
        for piece, logits in zip(pieces, found, strict=True):
            news += self._note(piece, logits)
        return news

    def _pieces(self) -> list[Piece]:
        """What is read of prompts in this step, those who came first before the others.

        What any slot holds of the same beginning is not read again: a text waits for one before it that is reading it just now.
        """
        pieces: list[Piece] = []
        budget, before = READ_A_STEP, list[list[int]]()
        for slot, text in self._texts.items():
            if not text.unread:
                continue
            if budget <= 0:
                break
            every = text.request.echo and not text.drawn
            if not self._cache.lengths[slot] and not every:
                known = self._cache.known(text.unread[:-1])
                if any(common(other, text.unread[:-1]) > known for other in before):
                    continue
                text.unread = text.unread[self._cache.recall(slot, text.unread[:-1]) :]
            before.append(text.seen)
            pieces.append(Piece(slot, text.unread[:budget], every))
            budget -= len(pieces[-1].tokens)
        return pieces

    def _greediest(self, ready: Sequence[int], logits_RV: torch.Tensor) -> dict[int, int]:
        """The next tokens of texts that take the most probable one, found for all of them at once."""
        greedy = [place for place, slot in enumerate(ready) if self._texts[slot].request.rules.greedy]
        if not greedy:
            return {}
        chosen_G = logits_RV.argmax(-1).tolist() if len(greedy) == len(ready) else logits_RV[greedy].argmax(-1).tolist()
        return {ready[place]: token for place, token in zip(greedy, chosen_G, strict=True)}

    def _note(self, piece: Piece, logits: torch.Tensor) -> list[Progress]:
        """Take in what was read of a prompt; at its end draw a token."""
        slot, count = piece.row, len(piece.tokens)
        text, end = self._texts[slot], self._cache.lengths[slot]
        text.unread = text.unread[count:]
        if piece.every:
            targets = text.seen[end - count + 1 : end + 1]
            text.echoed += [self._told(token, row, text) for token, row in zip(targets, logits, strict=False)]
            logits = logits[-1]
        if text.unread:
            return []
        if not text.request.tokens:
            self.leave(slot)
            return [Progress(slot, prompt=_echoed(text), ended="length")]
        return [self._draw(slot, text, logits)]

    def _draw(self, slot: int, text: _Text, logits_V: torch.Tensor, token: int | None = None) -> Progress:
        """Draw the next token, if it is not known yet."""
        request, prompt = text.request, () if text.drawn else _echoed(text)
        logits_V = logits_V[: self._vocabulary]
        if token is None:
            token = choose(logits_V, request.rules, text.generator, request.prompt, text.drawn)
        if token == request.end:
            self.leave(slot)
            return Progress(slot, prompt=prompt, ended="stop")
        text.drawn.append(token)
        text.seen.append(token)
        told = self._told(token, logits_V, text)
        if len(text.drawn) == request.tokens:
            self.leave(slot)
            return Progress(slot, prompt=prompt, drawn=told, ended="length")
        if self._cache.lengths[slot] == self._cache.length:
            text.seen = window(text.seen, self._cache.length)
            text.unread = list(text.seen)
            self._cache.truncate(slot)
        return Progress(slot, prompt=prompt, drawn=told)

    def _told(self, token: int, logits_V: torch.Tensor, text: _Text) -> Told:
        if token >= self._vocabulary:  # an id of a prompt that no text has
            return Told(token, -torch.inf)
        if not text.request.log_probs:
            return Told(token, None)
        drawn = described(logits_V[: self._vocabulary], token, text.request.alternatives)
        return Told(token, drawn.log_prob, drawn.top)


def _echoed(text: _Text) -> tuple[Told, ...]:
    return (Told(text.seen[0], None), *text.echoed) if text.request.echo else ()
