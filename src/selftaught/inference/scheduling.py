"""Continuous batching: texts join and leave between steps, and each goes on as if it were alone. Knows ids only.

Every text has a slot of one preallocated cache. A step decodes one token of all texts that are ready, in one pass, and reads
a few pieces of prompts, each on its own. What a text is given depends on its request alone: its pieces are cut at places of its
own, its numbers come from a generator of its own, and the shapes of the passes never change (`model.slots`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.inference.generation import window
from selftaught.inference.sampling import SamplingSettings, choose
from selftaught.model.cache import remembered_as
from selftaught.model.slots import Slots
from selftaught.model.transformer import Transformer

PIECE = 128
"""Tokens of a prompt that are read at a time: long enough to be fast, short enough that the other texts do not halt."""
READ_A_STEP = 4 * PIECE
"""Tokens of prompts that a step reads at most while texts wait for their next token."""


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
    echo: bool = False
    """Whether to tell of the prompt's tokens too; it must then fit into the context."""


@dataclass(frozen=True)
class Told:
    """A token, its log-probability before anything is cut (None of the first), and the most probable ones in its place."""

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

    def __init__(self, model: Transformer, *, slots: int, vocabulary: int | None = None) -> None:
        """Take the memory of `slots` texts; only the first `vocabulary` ids are drawn (default: all)."""
        if slots < 1:
            raise UsageError("no text has a slot", expected="1 slot or more", got=str(slots))
        self._model, self._vocabulary = model, vocabulary or model.shape.vocabulary
        self._device = model.tokens.weight.device
        self._slots = Slots(
            model.shape,
            slots=slots,
            length=model.shape.context,
            device=self._device,
            dtype=remembered_as(self._device),
        )
        self._texts: dict[int, _Text] = {}

    @property
    def free(self) -> int:
        """Slots that no text has."""
        return len(self._slots.filled) - len(self._texts)

    @property
    def texts(self) -> int:
        """Slots in use."""
        return len(self._texts)

    def check(self, request: Request) -> None:
        """Raise UsageError for a request that cannot be met."""
        prompt, known = request.prompt, self._model.shape.vocabulary
        if not prompt:
            raise UsageError("an empty prompt has no next token", hint="Begin with <|endoftext|>.")
        if not 0 <= min(prompt) <= max(prompt) < known:
            raise UsageError("an id is not in the model's vocabulary", expected=f"0 to {known - 1}")
        if request.echo and len(prompt) > self._slots.length:
            raise UsageError(
                "the prompt's own probabilities need all of it in the context",
                expected=f"at most {self._slots.length} tokens",
                got=str(len(prompt)),
            )
        if request.tokens < 0 or request.alternatives < 0:
            raise UsageError("a number of tokens is too small", expected="0 or more")

    def join(self, request: Request) -> int:
        """Give a text a slot and return its number; the text begins with the next step. Raises UsageError if none is free."""
        self.check(request)
        if not self.free:
            raise UsageError("all slots are in use", expected=f"at most {len(self._slots.filled)} texts")
        slot = min(set(range(len(self._slots.filled))) - self._texts.keys())
        prompt = list(request.prompt)[-self._slots.length :]
        generator = compute.generator("sampling", request.seed)
        self._texts[slot] = _Text(request=request, generator=generator, seen=prompt, unread=list(prompt))
        self._slots.filled[slot] = 0
        return slot

    def leave(self, slot: int) -> None:
        """Free a slot; a text that has ended has left by itself."""
        self._texts.pop(slot, None)

    @torch.inference_mode()
    def step(self) -> list[Progress]:
        """Draw the next token of every text that is ready, and read on in prompts; nothing is told of texts still being read."""
        news = self._decode()
        budget = READ_A_STEP
        for slot in [slot for slot, text in self._texts.items() if text.unread]:
            while budget > 0 and slot in self._texts and (unread := self._texts[slot].unread):
                budget -= min(PIECE, len(unread))
                news += self._read(slot, self._texts[slot])
        return news

    def _decode(self) -> list[Progress]:
        ready = sorted(slot for slot, text in self._texts.items() if not text.unread)
        if not ready:
            return []
        ids_B1 = torch.zeros(len(self._slots.filled), 1, dtype=torch.long)
        for slot in ready:
            ids_B1[slot] = self._texts[slot].seen[-1]
        self._slots.active = ready
        hidden_B1C = self._model(ids_B1.to(self._device), self._slots)
        logits_BV = self._model.logits(hidden_B1C[:, 0])[:, : self._vocabulary].cpu()
        return [self._draw(slot, self._texts[slot], logits_BV[slot]) for slot in ready]

    def _read(self, slot: int, text: _Text) -> list[Progress]:
        """Read the next piece of what is unread; at its end draw a token."""
        piece, text.unread = text.unread[:PIECE], text.unread[PIECE:]
        cache = self._slots.one(slot)
        hidden_TC = self._model(torch.tensor([piece], device=self._device), cache)[0]
        start, self._slots.filled[slot] = self._slots.filled[slot], cache.filled
        if text.request.echo and not text.drawn:
            logits_TV = self._model.logits(hidden_TC)[:, : self._vocabulary].cpu()
            targets = text.seen[start + 1 : start + 1 + len(piece)]
            text.echoed += [
                _told(token, row, text.request.alternatives) for token, row in zip(targets, logits_TV, strict=False)
            ]
        if text.unread:
            return []
        if not text.request.tokens:
            self.leave(slot)
            return [Progress(slot, prompt=_echoed(text), ended="length")]
        return [self._draw(slot, text, self._model.logits(hidden_TC[-1])[: self._vocabulary].cpu())]

    def _draw(self, slot: int, text: _Text, logits_V: torch.Tensor) -> Progress:
        request, prompt = text.request, () if text.drawn else _echoed(text)
        token = choose(logits_V, request.rules, text.generator, request.prompt, text.drawn)
        if token == request.end:
            self.leave(slot)
            return Progress(slot, prompt=prompt, ended="stop")
        text.drawn.append(token)
        text.seen.append(token)
        told = _told(token, logits_V, request.alternatives)
        if len(text.drawn) == request.tokens:
            self.leave(slot)
            return Progress(slot, prompt=prompt, drawn=told, ended="length")
        if self._slots.filled[slot] == self._slots.length:
            text.seen = window(text.seen, self._slots.length)
            text.unread, self._slots.filled[slot] = list(text.seen), 0
        return Progress(slot, prompt=prompt, drawn=told)


def _echoed(text: _Text) -> tuple[Told, ...]:
    return (Told(text.seen[0], None), *text.echoed) if text.request.echo else ()


def _told(token: int, logits_V: torch.Tensor, alternatives: int) -> Told:
    log_probs_V = logits_V.log_softmax(-1)
    # An id that no text has may be in a prompt; then it has no place among those that may be drawn.
    own = float(log_probs_V[token]) if token < len(log_probs_V) else -torch.inf
    if not alternatives:
        return Told(token, own)
    values_K, ids_K = log_probs_V.topk(min(alternatives, len(log_probs_V)))
    return Told(token, own, tuple(zip(ids_K.tolist(), values_K.tolist(), strict=True)))
