"""Speculative decoding: a smaller network proposes several tokens, the network itself reads them all at once and keeps some.

Reading a few tokens takes hardly longer than reading one where the weights are what takes the time, so each proposal that is
kept is a pass saved. What is drawn has exactly the distribution that the network alone gives (Leviathan et al. 2023, "Fast
inference from Transformers via speculative decoding", appendix A.1): a bad proposer costs time, never quality.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from selftaught.errors import MismatchError
from selftaught.inference.decoding import Decoder
from selftaught.inference.generation import Drawn, check, described
from selftaught.inference.rules import SamplingSettings
from selftaught.inference.sampling import choose, distribution, pick

FIRST_AHEAD, MOST_AHEAD = 4, 8
"""Tokens proposed at a time: one more after all were kept, one less after fewer than half were."""


class Speculator:
    """A network and a smaller one with the same vocabulary; counts what was proposed and what was kept."""

    def __init__(self, decoder: Decoder, draft: Decoder) -> None:
        if decoder.shape.vocabulary != draft.shape.vocabulary:
            raise MismatchError(
                "the draft model has another vocabulary",
                expected=f"{decoder.shape.vocabulary} ids",
                got=str(draft.shape.vocabulary),
                hint="Draft with a smaller model of the same ladder.",
            )
        self.decoder, self.draft = decoder, draft
        self.proposed = self.kept = 0

    def draw(
        self,
        prompt: Sequence[int],
        rules: SamplingSettings,
        generator: torch.Generator,
        vocabulary: int | None = None,
        top: int = 0,
    ) -> Iterator[Drawn]:
        """As `generation.draw`, with the same distribution; greedily, with the same tokens. Seeds give other texts than there."""
        check(self.decoder, prompt)
        text = list(prompt)[-self.decoder.shape.context :]
        start, ahead = len(text), FIRST_AHEAD
        reader, proposer = _Reader(self.decoder, vocabulary), _Reader(self.draft, vocabulary)
        while True:
            count = min(ahead, reader.make_room(text), proposer.make_room(text))
            proposals, guesses = list[int](), list[torch.Tensor]()
            for _ in range(count):
                guess_V = proposer.read([*text, *proposals])[-1]
                drawn = [*text[start:], *proposals]
                proposals.append(choose(guess_V, rules, generator, prompt, drawn))
                guesses.append(distribution(guess_V, rules, prompt, drawn))
            kept = 0
            for place, logits_V in enumerate(reader.read([*text, *proposals])[-len(proposals) - 1 :]):
                drawn = text[start:]
                if place == len(proposals):
                    token, accepted = choose(logits_V, rules, generator, prompt, drawn), False
                else:
                    wanted_V = distribution(logits_V, rules, prompt, drawn)
                    token, accepted = settle(wanted_V, guesses[place], proposals[place], generator)
                yield described(logits_V, token, top)
                text.append(token)
                kept += accepted
                if not accepted:
                    break
            self.proposed += len(proposals)
            self.kept += kept
            for one in (reader, proposer):
                one.forget(len(text) - 1)
            ahead = _next_ahead(ahead, kept, len(proposals))


def settle(wanted_V: torch.Tensor, guessed_V: torch.Tensor, token: int, generator: torch.Generator) -> tuple[int, bool]:
    """Turn a token drawn from `guessed_V` into one drawn from `wanted_V`; whether it stayed what it was.

    It stays with probability wanted / guessed; else another is drawn where more is wanted than was guessed.
    """
    chance = float(wanted_V[token] / guessed_V[token])
    if chance >= 1 or float(torch.rand((), generator=generator, dtype=torch.float64)) < chance:
        return token, True
    missing_V = (wanted_V - guessed_V).clamp_(min=0)
    if not missing_V.any():  # equal but for rounding
        return token, True
    return pick(torch.arange(len(missing_V)), missing_V, generator), False


def _next_ahead(ahead: int, kept: int, proposed: int) -> int:
    if kept == proposed:
        return min(ahead + 1, MOST_AHEAD)
    return max(ahead - 1, 1) if 2 * kept < proposed else ahead


class _Reader:
    """A network and what of a growing text it has read: the tokens from `first` on, as many as its cache holds."""

    def __init__(self, decoder: Decoder, vocabulary: int | None) -> None:
        self._decoder, self._vocabulary = decoder, vocabulary
        self.cache, self._first = decoder.cache(), 0

    def make_room(self, text: Sequence[int]) -> int:
        """Slide a full window, and read what is long; how many tokens fit after the text."""
        if len(text) - self._first > self.cache.length:
            begun = self._first + self.cache.lengths[0] > 0
            self._first = len(text) - (max(1, self.cache.length // 2) if begun else self.cache.length)
            self.cache.truncate(0)
        unread = text[self._first + self.cache.lengths[0] : -1]
        if len(unread) > MOST_AHEAD:  # else read together with what follows
            self._decoder.prefill(self.cache, 0, unread)
        return self.cache.length - (len(text) - self._first)

    def read(self, text: Sequence[int]) -> torch.Tensor:
        """Read the rest of a text; logits_TV after each of its tokens."""
        unread = text[self._first + self.cache.lengths[0] :]
        return self._decoder.prefill(self.cache, 0, unread, every=True)[:, : self._vocabulary]

    def forget(self, length: int) -> None:
        """Forget what came after the first `length` tokens of the text."""
        self.cache.truncate(0, max(0, length - self._first))
