"""GPT-1's input transformations (paper, figure 1): examples become rows of token ids with start, delimiter and extract tokens.

Truncation: while a row is too long, its longest part loses its last token. The three special tokens are never dropped.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from selftaught import compute
from selftaught.errors import InputError, UsageError
from selftaught.tasks.labelled import Kind, Labelled
from selftaught.tokenizer.tokenizer import Tokenizer

SPECIAL_TOKENS = ("<|start|>", "<|delimiter|>", "<|extract|>")
_BATCHES_SORTED_TOGETHER = 50
"""Batches whose examples are sorted by length among themselves: little padding, and an order that is still mostly random."""
_LEAST_CONTEXT = 8
_REMEMBERED_TEXTS = 64
"""Encoded texts that are kept: the questions about one document follow each other."""


@dataclass(frozen=True, kw_only=True)
class Specials:
    """Ids of the three tokens: the first that the pre-trained vocabulary does not have."""

    start: int
    delimiter: int
    extract: int

    @classmethod
    def after(cls, vocabulary: int) -> Specials:
        """Those that follow a vocabulary of a size."""
        return cls(start=vocabulary, delimiter=vocabulary + 1, extract=vocabulary + 2)


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One example as rows of ids: one, two for similarity (both orders), one for each answer of a choice."""

    rows: tuple[tuple[int, ...], ...]
    label: int | float | None
    dropped: int = 0
    """Tokens that truncation took from all rows."""

    @property
    def length(self) -> int:
        """Of the longest row."""
        return max(map(len, self.rows))


class Encoder:
    """Turns examples of one kind into ids."""

    def __init__(self, tokenizer: Tokenizer, kind: Kind, specials: Specials, context: int) -> None:
        if context < _LEAST_CONTEXT:
            raise UsageError("the context is too short", expected=f"at least {_LEAST_CONTEXT} tokens", got=str(context))
        self.kind, self.specials, self.context = kind, specials, context
        self._encode = lru_cache(_REMEMBERED_TEXTS)(tokenizer.encode)

    def encode(self, example: Labelled) -> Encoded:
        """The rows of an example; blanks around its parts do not count."""
        rows, dropped = [], 0
        for parts, delimited in self._arrangements(example):
            kept = truncated(parts, self.context - 2 - delimited)
            dropped += sum(map(len, parts)) - sum(map(len, kept))
            rows.append(self._row(kept, delimited=delimited))
        return Encoded(rows=tuple(rows), label=example.label, dropped=dropped)

    def _arrangements(self, example: Labelled) -> Iterator[tuple[list[list[int]], bool]]:
        """Parts of each row, and whether the last of them stands behind a delimiter."""
        first = self._encode(example.first.strip())
        if self.kind == "classification":
            yield [first], False
            return
        if self.kind == "choice":
            question = [self._encode(f" {example.second.strip()}")] if example.second else []
            for option in example.options:
                yield [first, *question, self._encode(option.strip())], True
            return
        second = self._encode(example.second.strip())
        yield [first, second], True
        if self.kind == "similarity":
            yield [second, first], True

    def _row(self, parts: Sequence[Sequence[int]], *, delimited: bool) -> tuple[int, ...]:
        *before, last = parts
        row = [self.specials.start, *(number for part in before for number in part)]
        if delimited:
            row.append(self.specials.delimiter)
        return (*row, *last, self.specials.extract)


def truncated(parts: Sequence[list[int]], room: int) -> list[list[int]]:
    """Parts that together have at most `room` tokens: the longest (of equals the first) loses its last token until they do."""
    lengths = [len(part) for part in parts]
    while (over := sum(lengths) - room) > 0:
        ordered = sorted(lengths, reverse=True)
        longest = lengths.index(ordered[0])
        next_longest = ordered[1] if len(ordered) > 1 else 0
        lengths[longest] -= min(over, max(1, ordered[0] - next_longest))
    return [part[:length] for part, length in zip(parts, lengths, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples side by side, padded on the right, where causal attention does not see it."""

    ids: torch.Tensor
    """ids_RT: R = E examples * K rows."""
    lengths: torch.Tensor
    """lengths_R."""
    labels: torch.Tensor
    """labels_E: class numbers or scores."""
    rows: int
    """K."""

    @property
    def examples(self) -> int:
        """E."""
        return len(self.ids) // self.rows


def collate(examples: Sequence[Encoded], *, padding: int, scored: bool = False, device: str = "cpu") -> Batch:
    """Put examples into one batch, padded with any id."""
    rows = [row for example in examples for row in example.rows]
    ids_RT = torch.full((len(rows), max(map(len, rows))), padding, dtype=torch.long)
    for place, row in enumerate(rows):
        ids_RT[place, : len(row)] = torch.tensor(row)
    kind = torch.float32 if scored else torch.long
    labels = [0 if example.label is None else example.label for example in examples]
    return Batch(
        ids=ids_RT.to(device),
        lengths=torch.tensor([len(row) for row in rows], device=device),
        labels=torch.tensor(labels, dtype=kind, device=device),
        rows=len(examples[0].rows),
    )


def epoch_order(lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Numbers of the examples of each batch of an epoch: a pure function of seed and epoch.

    Examples of similar length go together; the few that do not fill a batch are left out, as in OpenAI's code, others each epoch.
    """
    draw = random.Random(compute.seed_of("order", seed, epoch))
    order = list(range(len(lengths)))
    draw.shuffle(order)
    size = min(batch_size, len(order))
    order = order[: len(order) // size * size]
    batches = []
    for start in range(0, len(order), size * _BATCHES_SORTED_TOGETHER):
        chunk = sorted(order[start : start + size * _BATCHES_SORTED_TOGETHER], key=lengths.__getitem__)
        batches += [chunk[place : place + size] for place in range(0, len(chunk), size)]
    draw.shuffle(batches)
    return batches


def micro_batches(examples: Sequence[Encoded], tokens: int) -> list[list[Encoded]]:
    """A batch in parts of at most about `tokens` tokens with padding, at least one example each."""
    parts: list[list[Encoded]] = []
    widest = 0
    for example in examples:
        widest = max(widest, example.length)
        if parts and (len(parts[-1]) + 1) * len(example.rows) * widest <= tokens:
            parts[-1].append(example)
        else:
            parts.append([example])
            widest = example.length
    return parts


def by_length(examples: Sequence[Encoded], tokens: int) -> list[list[int]]:
    """Numbers of examples in batches of at most about `tokens` tokens, longest first: for measuring and predicting."""
    order = sorted(range(len(examples)), key=lambda number: -examples[number].length)
    batches: list[list[int]] = []
    room = 0
    for number in order:
        if batches and len(batches[-1]) < room:
            batches[-1].append(number)
        else:
            batches.append([number])
            room = max(1, tokens // (examples[number].length * len(examples[number].rows)))
    return batches


def encode_all(encoder: Encoder, examples: Sequence[Labelled], what: str) -> list[Encoded]:
    """All examples. Raises InputError if there are none, or if their numbers of answers differ."""
    found = [encoder.encode(example) for example in examples]
    if not found:
        raise InputError(f"{what} holds no examples")
    counts = {len(one.rows) for one in found}
    if len(counts) > 1:
        raise InputError(
            f"{what} has questions with different numbers of answers",
            expected="one number for all",
            got=", ".join(map(str, sorted(counts))),
        )
    return found


def truncation_note(encoded: Sequence[Encoded], what: str) -> str:
    """How many examples were cut, in words, or ""."""
    cut = [one.dropped for one in encoded if one.dropped]
    if not cut:
        return ""
    return f"{what}: {len(cut):,} of {len(encoded):,} examples cut to the context, {sum(cut):,} tokens dropped"
