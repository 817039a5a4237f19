"""Texts that grow side by side: what a model has read of one, its own words included, is not read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from selftaught.inference import generation, prompting
from selftaught.inference.completion import Completed
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.prompting import Continuation, Prompt
from selftaught.inference.trees import shared_beginning


@dataclass(kw_only=True)
class _Answer:
    limit: int
    cut: bool
    predicted: torch.Tensor
    """Logits of what follows (V)."""
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    stopped: bool = False


class Dialogues:
    """Conversations of one model, each with a row of its cache."""

    def __init__(self, lm: LanguageModel, rows: int) -> None:
        self._lm = lm
        self._cache = lm.decoder.cache(rows)
        self._read: list[list[int]] = [[] for _ in range(rows)]
        """What each row of the cache remembers."""
        self._stop = frozenset((lm.tokenizer.end_of_text, *prompting.newline_tokens(lm.tokenizer)))

    def complete(self, prompts: Mapping[int, Prompt]) -> dict[int, Continuation]:
        """Continue a prompt in each of some rows as `prompting.complete` would, greedily and up to a newline.

        Of a prompt only what follows its longest beginning that the row remembers is read.
        """
        answers = {row: self._begun(row, prompt) for row, prompt in prompts.items()}
        live = dict(answers)
        while live:
            for row, one in list(live.items()):
                drawn = one.predicted[: self._lm.tokenizer.vocabulary_size]
                token = int(drawn.argmax())
                one.tokens.append(token)
                one.log_probs.append(generation.described(drawn, token).log_prob)
                one.stopped = token in self._stop
                full = self._cache.lengths[row] == self._cache.length
                if one.stopped or full or len(one.tokens) >= one.limit:
                    del live[row]
            if live:
                self._read_on(live)
        return {row: self._continuation(one) for row, one in answers.items()}

    def _begun(self, row: int, prompt: Prompt) -> _Answer:
        ids, cut = prompting.fitted(self._lm, prompt)
        # The last token is read in any case: its state predicts what follows.
        kept = min(shared_beginning(self._read[row], ids), len(ids) - 1)
        self._cache.truncate(row, kept)
        logits_V = self._lm.decoder.prefill(self._cache, row, ids[kept:])
        self._read[row] = ids
        return _Answer(limit=prompt.limit, cut=cut, predicted=logits_V)

    def _read_on(self, live: Mapping[int, _Answer]) -> None:
        tokens = [one.tokens[-1] for one in live.values()]
        logits_RV = self._lm.decoder.step(self._cache, list(live), tokens)
        for (row, one), token, logits_V in zip(live.items(), tokens, logits_RV, strict=True):
            self._read[row].append(token)
            one.predicted = logits_V

    def _continuation(self, one: _Answer) -> Continuation:
        completed = Completed(tokens=tuple(one.tokens), log_probs=tuple(one.log_probs), stopped=one.stopped)
        return prompting.continuation(self._lm.tokenizer, completed, one.cut, lines=True)
