"""GGUF, the one file of llama.cpp, out: a GPT-2 network with its tokenizer, its matrices in float32, bfloat16 or int8 (Q8_0)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selftaught import storage
from selftaught.errors import InputError, MissingExtraError
from selftaught.model import cost
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.alphabet import written
from selftaught.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

_OUTER = {"tokens": "token_embd", "positions": "position_embd", "norm": "output_norm", "head": "output"}
_INNER = {
    "attention_norm": "attn_norm",
    "attention.query_key_value": "attn_qkv",
    "attention.output": "attn_output",
    "feed_norm": "ffn_norm",
    "feed.inner": "ffn_up",
    "feed.outer": "ffn_down",
}
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5
"""llama.cpp's kinds of token."""
_FORMATS = {"float32": ("ALL_F32", "F32"), "bfloat16": ("MOSTLY_BF16", "BF16"), "int8": ("MOSTLY_Q8_0", "Q8_0")}
"""llama.cpp's names for a file's format and for that of its matrices."""
_BLOCK = 32
"""Numbers of a row that share a scale in Q8_0; rows that are not of whole blocks stay float32."""


def save(
    model: Transformer,
    tokenizer: Tokenizer,
    path: str | Path,
    weights: Literal["float32", "bfloat16", "int8"] = "float32",
) -> None:
    """Write a file that llama.cpp loads. Raises InputError for a network or tokenizer that it does not know."""
    try:
        from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
        from gguf.quants import quantize
    except ImportError as problem:
        raise MissingExtraError("gguf, llama.cpp's own writer,", extra="gguf") from problem
    path, shape = Path(path), model.shape
    _require_known(shape, tokenizer)
    storage.require_space(path.parent, 4 * cost.parameters(shape))
    with storage.writing(path) as stream:
        writer = GGUFWriter(stream.name, "gpt2")
        writer.add_name(path.stem)
        _describe(writer, shape)
        kind, matrices = _FORMATS[weights]
        writer.add_file_type(LlamaFileType[kind])
        _add_tokenizer(writer, tokenizer, shape.vocabulary)
        for name, array in _tensors(model):
            lighter = weights != "float32" and _may_be_lighter(name, array)
            dtype = GGMLQuantizationType[matrices if lighter else "F32"]
            writer.add_tensor(name, quantize(array, dtype) if lighter else array, raw_dtype=dtype)
        for write in _steps(writer):
            write()


def _steps(writer: Any) -> tuple[Callable[[], None], ...]:
    return (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close)


def _require_known(shape: ModelShape, tokenizer: Tokenizer) -> None:
    usual = ModelShape(layers=1, heads=1, channels=1)
    for name in ("norm", "activation", "scale_by_layer"):
        if getattr(shape, name) != getattr(usual, name):
            raise InputError(
                "llama.cpp does not know this network",
                expected=f"{name} {getattr(usual, name)}",
                got=str(getattr(shape, name)),
            )
    if tokenizer.vocabulary.kind != "gpt2":
        raise InputError("llama.cpp does not know this tokenizer", expected="a byte-level BPE", got="GPT-1's")


def _describe(writer: Any, shape: ModelShape) -> None:
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.channels)
    writer.add_feed_forward_length(shape.feed)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_eps(shape.norm_epsilon)


def _may_be_lighter(name: str, array: np.ndarray[Any, Any]) -> bool:
    """Whether llama.cpp has a tensor in the format of the matrices too; positions are added and stay as they are."""
    return array.ndim == 2 and array.shape[1] % _BLOCK == 0 and not name.startswith(_OUTER["positions"])


def _add_tokenizer(writer: Any, tokenizer: Tokenizer, size: int) -> None:
    """The ids as llama.cpp wants them: as many as the network has, those that no text comes to as unused."""
    vocabulary = tokenizer.vocabulary
    tokens = [f"[PAD{number}]" for number in range(size)]
    kinds = [_UNUSED] * size
    for token, number in vocabulary.ids.items():
        tokens[number], kinds[number] = written(token), _NORMAL
    tokens[vocabulary.end_of_text], kinds[vocabulary.end_of_text] = vocabulary.border, _CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{written(left)} {written(right)}" for left, right in vocabulary.merges])
    writer.add_bos_token_id(vocabulary.end_of_text)
    writer.add_eos_token_id(vocabulary.end_of_text)
    writer.add_add_bos_token(False)  # noqa: FBT003 - their name for the key says what it is


def _tensors(model: Transformer) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    for name, tensor in model.state_dict().items():
        if name.startswith("blocks."):
            _, layer, rest = name.split(".", 2)
            inner, _, kind = rest.rpartition(".")
            theirs = f"blk.{layer}.{_INNER[inner]}.{kind}"
        else:
            outer, _, kind = name.rpartition(".")
            theirs = f"{_OUTER[outer]}.{kind}"
        yield theirs, tensor.detach().cpu().float().contiguous().numpy()
