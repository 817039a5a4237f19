"""The most probable next word, found by beam search over tokens: words, and not tokens, can then be barred.

A word ends where a token follows that begins with a blank or a punctuation mark; the probability of a word is that of its
tokens and of any such end after them. Shapes: N beams of all texts, W width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache

import torch

from selftaught.inference.forest import Forest, Node
from selftaught.inference.language_model import LanguageModel
from selftaught.tokenizer.tokenizer import Tokenizer

LONGEST_WORD = 10
"""Tokens; a word that takes more is not found."""
TEXTS_TOGETHER = {"cpu": 16, "cuda": 128}
_INSIDE = "'\u2019-"
"""Signs that do not end a word."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word and its log-probability in nats, its end included."""

    text: str
    log_prob: float


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """What each token is to a word, as masks over the vocabulary."""

    begins: torch.Tensor
    """A blank or nothing, then a letter or digit."""
    ends: torch.Tensor
    """A blank, a punctuation mark or the end of the text: the word before it is complete."""


@dataclass(kw_only=True)
class _Beam:
    text: int
    tokens: tuple[int, ...]
    log_prob: float
    node: Node


@torch.inference_mode()
def next_words(
    lm: LanguageModel,
    texts: Sequence[str],
    *,
    width: int,
    barred: AbstractSet[str],
    advance: Callable[[float], None] | None = None,
) -> list[Word | None]:
    """The most probable next word of each text that is not `barred` (in lower case), or None if no beam ends in one.

    Texts that are too long keep their last tokens. `advance(n)` is called when n more are done.
    """
    found: list[Word | None] = []
    size = TEXTS_TOGETHER["cpu" if lm.model.tokens.weight.device.type == "cpu" else "cuda"]
    kind = lm.model.tokens.weight.device.type
    room = max(1, lm.context - LONGEST_WORD)
    for first in range(0, len(texts), size):
        ids = [
            lm.tokenizer.encode(text.rstrip())[-room:] or [lm.tokenizer.end_of_text]
            for text in texts[first : first + size]
        ]
        with torch.autocast(kind, torch.bfloat16, enabled=lm.precision == "bfloat16"):
            found += _search(lm, ids, width, barred)
        if advance is not None:
            advance(len(ids))
    return found


def _search(lm: LanguageModel, ids: Sequence[Sequence[int]], width: int, barred: AbstractSet[str]) -> list[Word | None]:
    forest = Forest(lm.model, ids, LONGEST_WORD * width)
    beams = [
        _Beam(text=row, tokens=(), log_prob=0.0, node=forest.at(row, len(tokens))) for row, tokens in enumerate(ids)
    ]
    best: list[Word | None] = [None] * len(ids)
    for _ in range(LONGEST_WORD):
        log_probs_NV = _log_probs(lm, beams)
        _finish(lm, beams, log_probs_NV, barred, best)
        beams = _grown(forest, _chosen(lm, beams, log_probs_NV, width, best))
        if not beams:
            break
    return best


def _log_probs(lm: LanguageModel, beams: Sequence[_Beam]) -> torch.Tensor:
    """Of each token after each beam."""
    logits_NV = lm.model.logits(torch.stack([beam.node.state for beam in beams]))
    return logits_NV[:, : lm.tokenizer.vocabulary_size].log_softmax(-1)


def _finish(
    lm: LanguageModel,
    beams: Sequence[_Beam],
    log_probs_NV: torch.Tensor,
    barred: AbstractSet[str],
    best: list[Word | None],
) -> None:
    """Take what the beams hold for whole words."""
    ends = kinds(lm.tokenizer).ends.to(log_probs_NV.device)
    complete = log_probs_NV.masked_fill(~ends, -torch.inf).logsumexp(-1).tolist()
    for beam, end in zip(beams, complete, strict=True):
        word, held = bare(lm.tokenizer.decode(beam.tokens)), best[beam.text]
        log_prob = beam.log_prob + end
        if word and word.lower() not in barred and (held is None or log_prob > held.log_prob):
            best[beam.text] = Word(text=word, log_prob=log_prob)


def _chosen(
    lm: LanguageModel, beams: Sequence[_Beam], log_probs_NV: torch.Tensor, width: int, best: Sequence[Word | None]
) -> list[tuple[_Beam, int, float]]:
    """The `width` most probable longer beams of each text that can still become more than the best word."""
    found = kinds(lm.tokenizer)
    allowed = (found.begins if not beams[0].tokens else ~found.ends).to(log_probs_NV.device)
    before = torch.tensor([beam.log_prob for beam in beams], device=log_probs_NV.device)
    longer_NV = (log_probs_NV + before[:, None]).masked_fill(~allowed, -torch.inf)
    chosen: list[tuple[_Beam, int, float]] = []
    start = 0
    for text, held in enumerate(best):
        count = sum(beam.text == text for beam in beams)
        if count:
            part_NV = longer_NV[start : start + count]
            values_W, places_W = part_NV.flatten().topk(min(width, part_NV.numel()))
            least = -torch.inf if held is None else held.log_prob
            for value, place in zip(values_W.tolist(), places_W.tolist(), strict=True):
                if value > least:
                    row, token = divmod(place, part_NV.shape[1])
                    chosen.append((beams[start + row], token, value))
        start += count
    return chosen


def _grown(forest: Forest, chosen: Sequence[tuple[_Beam, int, float]]) -> list[_Beam]:
    if not chosen:
        return []
    nodes = forest.read([(beam.node, [token]) for beam, token, _ in chosen])
    return [
        _Beam(text=beam.text, tokens=(*beam.tokens, token), log_prob=value, node=node)
        for (beam, token, value), node in zip(chosen, nodes, strict=True)
    ]


@lru_cache(4)
def kinds(tokenizer: Tokenizer) -> Kinds:
    """What each token is to a word."""
    begins, ends = [], []
    for token in range(tokenizer.vocabulary_size):
        text = tokenizer.decode([token])
        begins.append(text.removeprefix(" ")[:1].isalnum() and token != tokenizer.end_of_text)
        first = text[:1]
        inside = first.isalnum() or first in _INSIDE or first == "\ufffd"
        ends.append(token == tokenizer.end_of_text or not inside)
    return Kinds(begins=torch.tensor(begins), ends=torch.tensor(ends))


def bare(word: str) -> str:
    """A word without blanks and signs around it."""
    word = word.strip()
    inner = [place for place, sign in enumerate(word) if sign.isalnum()]
    return word[inner[0] : inner[-1] + 1] if inner else ""
