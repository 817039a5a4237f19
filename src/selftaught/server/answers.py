"""How completions are answered, whole or as events (OpenAI's API reference, "Completions"); beyond it, ids in `logprobs`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from selftaught.inference.language_model import LanguageModel
from selftaught.server.completions import Asked
from selftaught.server.texts import Piece, Placed, written


def choice(asked: Asked, number: int, model: LanguageModel, pieces: Sequence[Piece]) -> dict[str, Any]:
    """One text of an answer, or the part of it that some pieces are."""
    tokens = [token for piece in pieces for token in piece.tokens]
    return {
        "text": "".join(piece.text for piece in pieces),
        "index": number,
        "logprobs": None if asked.alternatives is None else _logprobs(tokens, model),
        "finish_reason": pieces[-1].finish if pieces else None,
    }


def best(asked: Asked, pieces: Mapping[int, Sequence[Piece]]) -> list[int]:
    """Which texts are answered: of each prompt those with the highest log-probability a token, best first; all in order."""

    def mean(number: int) -> float:
        tokens = [token.told.log_prob for piece in pieces[number] for token in piece.tokens]
        known = [value for value in tokens if value is not None]
        return sum(known) / len(known) if known else -math.inf

    groups = [range(first, first + asked.samples) for first in range(0, len(asked.requests), asked.samples)]
    if asked.kept < asked.samples:
        return [number for group in groups for number in sorted(group, key=mean, reverse=True)[: asked.kept]]
    return [number for group in groups for number in group]


def _logprobs(tokens: Sequence[Placed], model: LanguageModel) -> dict[str, Any]:
    def text(token: int) -> str:
        return written(model.tokenizer, token)

    rows = [
        None
        if one.told.log_prob is None
        else [(token, text(token), _finite(value)) for token, value in one.told.alternatives]
        for one in tokens
    ]
    return {
        "tokens": [text(one.told.token) for one in tokens],
        "token_logprobs": [None if one.told.log_prob is None else _finite(one.told.log_prob) for one in tokens],
        "top_logprobs": [
            None if row is None else {name: value for _, name, value in row} | _own(one, model)
            for one, row in zip(tokens, rows, strict=True)
        ],
        "text_offset": [one.offset for one in tokens],
        "ids": [one.told.token for one in tokens],
        "alternatives": rows,
    }


def _own(one: Placed, model: LanguageModel) -> dict[str, float]:
    """The token itself, which OpenAI's list has even where it is none of the most probable ones."""
    return {} if one.told.log_prob is None else {written(model.tokenizer, one.told.token): _finite(one.told.log_prob)}


def _finite(value: float) -> float:
    """JSON knows no infinity."""
    return max(value, -9999.0)


def document(asked: Asked, choices: Sequence[dict[str, Any]], usage: dict[str, int] | None) -> bytes:
    """An answer, or one event of a stream."""
    answer: dict[str, Any] = {
        "id": asked.id,
        "object": "text_completion",
        "created": asked.created,
        "model": asked.model,
        "choices": choices,
    }
    if usage is not None or (asked.stream and asked.usage):  # in a stream that ends with it, null before
        answer["usage"] = usage
    return msgspec.json.encode(answer)


def usage(asked: Asked, drawn: int) -> dict[str, int]:
    """Counts of tokens."""
    return {
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": drawn,
        "total_tokens": asked.prompt_tokens + drawn,
    }
