"""Looking into a model from outside: what there is, how text becomes ids, what a head attends to."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta

from selftaught.inference.language_model import LanguageModel
from selftaught.server.problems import ProblemError
from selftaught.server.texts import written
from selftaught.tokenizer.files import END_OF_TEXT


class Attention(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Asks what the last token of a prompt attends to."""

    model: str | None = None
    prompt: str | list[int]
    layer: Annotated[int, Meta(ge=0)] = 0
    head: Annotated[int, Meta(ge=0)] = 0


class Tokenize(msgspec.Struct, kw_only=True):
    """Asks for the ids of a text, as vLLM's server is asked."""

    prompt: str
    model: str | None = None


class Detokenize(msgspec.Struct, kw_only=True):
    """Asks for the text of ids."""

    tokens: list[int]
    model: str | None = None


def described(name: str, model: LanguageModel, created: int) -> dict[str, Any]:
    """A model as OpenAI's API lists it, and its shape; `created` is when it was loaded."""
    shape = model.shape
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "selftaught",
        "parameters": model.parameters,
        "layers": shape.layers,
        "heads": shape.heads,
        "context": shape.context,
        "vocabulary": model.tokenizer.vocabulary_size,
    }


def attending_ids(body: Attention, model: LanguageModel) -> list[int]:
    """The ids whose last one attends. Raises ProblemError 400 for what the model does not have."""
    shape, size = model.shape, model.tokenizer.vocabulary_size
    for name, value, most in (("layer", body.layer, shape.layers), ("head", body.head, shape.heads)):
        if value >= most:
            raise ProblemError(400, f"{name}: expected 0 to {most - 1}, got {value}", param=name)
    ids = model.tokenizer.encode(body.prompt) if isinstance(body.prompt, str) else body.prompt
    if not 0 < len(ids) <= shape.context:
        raise ProblemError(400, f"prompt: expected 1 to {shape.context} tokens, got {len(ids)}", param="prompt")
    if not 0 <= min(ids) <= max(ids) < size:
        raise ProblemError(400, f"prompt: expected ids of 0 to {size - 1}", param="prompt")
    return ids


def attended(name: str, model: LanguageModel, ids: list[int], body: Attention, weights_HT: torch.Tensor) -> Any:
    """The answer to what a head attends to."""
    return {
        "model": name,
        "layer": body.layer,
        "head": body.head,
        "ids": ids,
        "tokens": [written(model.tokenizer, token) for token in ids],
        "weights": [round(weight, 6) for weight in weights_HT[body.head].tolist()],
    }


def tokenizer_info(model: LanguageModel) -> dict[str, Any]:
    """What lm-evaluation-harness asks of a remote tokenizer."""
    return {
        "tokenizer_class": "Tokenizer",
        "vocab_size": model.tokenizer.vocabulary_size,
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": None,
        "chat_template": None,
    }


def tokenize(model: LanguageModel, body: Tokenize) -> dict[str, Any]:
    """Ids of a text; of <|endoftext|> alone, which in a text is ordinary text, its own."""
    tokenizer = model.tokenizer
    ids = [tokenizer.end_of_text] if body.prompt == END_OF_TEXT else tokenizer.encode(body.prompt)
    return {"tokens": ids, "count": len(ids), "max_model_len": model.context}


def detokenize(model: LanguageModel, body: Detokenize) -> dict[str, Any]:
    """The text of ids."""
    size = model.tokenizer.vocabulary_size
    if body.tokens and not 0 <= min(body.tokens) <= max(body.tokens) < size:
        raise ProblemError(400, f"tokens: expected ids of 0 to {size - 1}", param="tokens")
    return {"prompt": model.tokenizer.decode(body.tokens)}
