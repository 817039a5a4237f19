"""Hugging Face's config.json of GPT-2 and GPT-1, both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from selftaught import console, storage
from selftaught.errors import InputError
from selftaught.model.shape import ModelShape
from selftaught.tokenizer.tokenizer import Tokenizer

CONFIG_FILE = "config.json"
_ACTIVATIONS: dict[str, Literal["gelu-tanh", "gelu"]] = {
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu": "gelu",
}


class _Config(msgspec.Struct, frozen=True, kw_only=True):
    """What of config.json fixes the network; names and defaults are Hugging Face's."""

    model_type: str = ""
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    n_positions: int | None = None
    n_inner: int | None = None
    vocab_size: int | None = None
    activation_function: str = "gelu_new"
    afn: str = "gelu"
    """GPT-1's; there "gelu" has always meant the approximation by tanh."""
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    reorder_and_upcast_attn: bool = False
    tie_word_embeddings: bool = True
    add_cross_attention: bool = False
    attn_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    resid_pdrop: float = 0.1


def read_shape(path: Path) -> ModelShape:
    """The shape that a config.json is of. Raises InputError, naming the entry, for another network than GPT-2's or GPT-1's."""
    config, folder = storage.read_json(path, _Config), path.parent
    first = config.model_type == "openai-gpt"
    known: dict[str, tuple[object, ...]] = {
        "model_type": ("openai-gpt", "gpt2"),
        "afn": ("gelu",),
        "activation_function": tuple(_ACTIVATIONS)[::-1],
        "scale_attn_weights": (True,),
        "add_cross_attention": (False,),
    }
    for name, values in known.items():
        if getattr(config, name) not in values:
            raise InputError(
                f"{folder} holds another kind of network",
                expected=f"{name} {' or '.join(map(str, values))}",
                got=f"{name} {getattr(config, name) or 'missing'}",
            )
    if len({config.attn_pdrop, config.embd_pdrop, config.resid_pdrop}) > 1:
        console.warn(
            f"{folder} drops out at three rates; training goes on with that of residuals, {config.resid_pdrop}"
        )
    return ModelShape(
        layers=config.n_layer,
        heads=config.n_head,
        channels=config.n_embd,
        context=config.n_positions or (512 if first else 1024),
        vocabulary=config.vocab_size or (40478 if first else 50257),
        norm="after" if first else "before",
        dropout=config.resid_pdrop,
        inner=0 if first else config.n_inner or 0,
        activation="gelu-tanh" if first else _ACTIVATIONS[config.activation_function],
        norm_epsilon=config.layer_norm_epsilon,
        tied=config.tie_word_embeddings,
        scale_by_layer=config.scale_attn_by_inverse_layer_idx and not first,
        attention_float32=config.reorder_and_upcast_attn and not first,
    )


def as_config(shape: ModelShape, tokenizer: Tokenizer) -> dict[str, Any]:
    """config.json of a network. Raises InputError for what its class in transformers lacks."""
    common = {
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "n_embd": shape.channels,
        "n_positions": shape.context,
        "vocab_size": shape.vocabulary,
        "layer_norm_epsilon": shape.norm_epsilon,
        "tie_word_embeddings": shape.tied,
        "dtype": "float32",
        **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), shape.dropout),
        **ends(tokenizer),
    }
    if shape.norm == "before":
        return common | {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu_new" if shape.activation == "gelu-tanh" else "gelu",
            "n_inner": shape.inner or None,
            "scale_attn_by_inverse_layer_idx": shape.scale_by_layer,
            "reorder_and_upcast_attn": shape.attention_float32,
        }
    for name in ("inner", "activation", "scale_by_layer", "attention_float32"):
        usual = getattr(ModelShape(layers=1, heads=1, channels=1), name)
        if getattr(shape, name) != usual:
            raise InputError(
                "transformers' GPT-1 cannot be such a network",
                expected=f"{name} {usual}",
                got=f"{getattr(shape, name)}",
            )
    return common | {"architectures": ["OpenAIGPTLMHeadModel"], "model_type": "openai-gpt", "afn": "gelu"}


def ends(tokenizer: Tokenizer) -> dict[str, int]:
    """Which token begins and ends a text; GPT-1 has none."""
    byte_level = tokenizer.vocabulary.kind == "gpt2"
    return dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.end_of_text) if byte_level else {}
