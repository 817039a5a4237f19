"""Prompts as text: how long they are, what of them fits, and short continuations of many at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from selftaught import compute
from selftaught.inference import completion
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.rules import SamplingSettings
from selftaught.tokenizer.tokenizer import Tokenizer

GREEDY = SamplingSettings(temperature=0)


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A text to continue by at most `limit` tokens; `seed` draws them, where drawing is asked for."""

    text: str
    limit: int
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What a model wrote."""

    text: str
    """Up to where it stopped."""
    log_prob: float
    """Of all tokens that were drawn, in nats, with the one that stopped it."""
    log_prob_text: float
    """Without that one."""
    stopped: bool
    """It stopped by itself, by a newline or <|endoftext|>; not because it was long enough."""
    cut: bool = False
    """There was no room for the beginning of the prompt."""


def complete(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    sampling: SamplingSettings = GREEDY,
    lines: bool = True,
    advance: Callable[[int], None] | None = None,
) -> list[Continuation]:
    """Continue prompts; of one that leaves no room for its limit the beginning is left out.

    With `lines` a continuation ends before a newline. Prompts that follow one another and begin alike share the reading of
    what they have in common. `advance(n)` is called when n more are done.
    """
    stop = frozenset((lm.tokenizer.end_of_text, *(newline_tokens(lm.tokenizer) if lines else ())))
    asked = []
    cut = []
    for prompt in prompts:
        generator = compute.generator("completion", prompt.seed)
        ids, shorter = fitted(lm, prompt)
        asked.append(completion.Asked(prompt=ids, limit=prompt.limit, generator=generator))
        cut.append(shorter)
    kind = lm.model.tokens.weight.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=lm.precision == "bfloat16"):
        found = completion.complete(
            lm.model, asked, sampling, stop=stop, vocabulary=lm.tokenizer.vocabulary_size, advance=advance
        )
    return [continuation(lm.tokenizer, *each, lines=lines) for each in zip(found, cut, strict=True)]


def fitted(lm: LanguageModel, prompt: Prompt) -> tuple[list[int], bool]:
    """Ids of a prompt (at least <|endoftext|>); of one that leaves no room for its limit the last that do, and that it is cut."""
    ids = lm.tokenizer.encode(prompt.text) or [lm.tokenizer.end_of_text]
    room = max(1, lm.context + 1 - prompt.limit)
    return ids[-room:], len(ids) > room


def fits(lm: LanguageModel, context: str, continuation: str) -> bool:
    """Whether the model sees all of a context together with its continuation."""
    if len((context + continuation).encode("utf-8", "replace")) < lm.context:  # no text has more tokens than bytes
        return True
    before, after = lm.encode_pair(context, continuation)
    return len(before) + len(after) <= lm.context + 1


def continuation(tokenizer: Tokenizer, found: completion.Completed, cut: bool, *, lines: bool) -> Continuation:  # noqa: FBT001  # as `Continuation` has it
    """What was written, as text; with `lines` up to a newline."""
    kept = [token for token in found.tokens if token != tokenizer.end_of_text]
    text = tokenizer.decode(kept)
    written = len(found.tokens) - found.stopped
    return Continuation(
        text=text.partition("\n")[0] if lines else text,
        log_prob=math.fsum(found.log_probs),
        log_prob_text=math.fsum(found.log_probs[:written]),
        stopped=found.stopped,
        cut=cut,
    )


@lru_cache(4)
def newline_tokens(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids of the tokens that hold a newline."""
    return frozenset(token for token in range(tokenizer.vocabulary_size) if b"\n" in tokenizer.decode_bytes([token]))


def length(lm: LanguageModel, text: str) -> int:
    """Number of tokens of a text."""
    return len(lm.tokenizer.encode(text))


def beginning(lm: LanguageModel, text: str, tokens: int) -> str:
    """The first `tokens` tokens of a text, cut between characters; all of it if it is shorter."""
    ids = lm.tokenizer.encode(text)
    if len(ids) <= tokens:
        return text
    return lm.tokenizer.decode_bytes(ids[: max(tokens, 0)]).decode("utf-8", "ignore")


def ending(lm: LanguageModel, text: str, tokens: int) -> str:
    """The last `tokens` tokens of a text, cut between characters; all of it if it is shorter."""
    ids = lm.tokenizer.encode(text)
    if len(ids) <= tokens:
        return text
    return lm.tokenizer.decode_bytes(ids[len(ids) - max(tokens, 0) :]).decode("utf-8", "ignore")
