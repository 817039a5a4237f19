"""Generation on a processor at the speed of reading its weights: `decode.c`, compiled on first use for the machine it runs on.

A pass over a few new tokens is one call, so nothing of Python or PyTorch stands between two layers. Long prompts are read by
PyTorch, whose products of matrices are fast. Where no C compiler is found, or on an accelerator, `decoder` gives the plain
Decoder, which does the same with PyTorch alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from selftaught import compute, storage
from selftaught.errors import OutputError
from selftaught.inference import recasting
from selftaught.inference.decoding import Decoder
from selftaught.inference.pace import Pace
from selftaught.inference.ragged import RaggedCache
from selftaught.inference.recasting import WeightFormat
from selftaught.model.transformer import Transformer

SOURCE = Path(__file__).with_name("decode.c")
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fno-math-errno", "-ffp-contract=fast", "-shared", "-fPIC")
OPTIONAL_FLAGS = ("-mprefer-vector-width=512", "-fno-trapping-math", "-fopenmp")
"""Tried first; a compiler that refuses them gets the others alone (and then one thread)."""
COMPILE_SECONDS = 120
BLOCK = 64
"""As in decode.c: outputs that are packed side by side."""
FORMATS: dict[WeightFormat, int] = {"float32": 0, "bfloat16": 1, "int8": 2}
SHORT: dict[WeightFormat, int] = {"float32": 512, "bfloat16": 64, "int8": 128}
"""Tokens up to which the compiled pass reads a prompt; longer ones PyTorch reads sooner: measured with GPT-2 small."""


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("inputs", ctypes.c_int32),
        ("outputs", ctypes.c_int32),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        ("attention_norm", ctypes.c_void_p),
        ("feed_norm", ctypes.c_void_p),
        *((name, _Matrix) for name in ("query_key_value", "output", "inner", "outer")),
    )


class _Network(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("layers", "heads", "channels", "feed", "vocabulary")),
        *((name, ctypes.c_int32) for name in ("norm_before", "exact_gelu", "scale_by_layer", "format")),
        ("epsilon", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("tokens", "positions", "norm")),
        ("layer", ctypes.POINTER(_Layer)),
        ("head", _Matrix),
    )


class _Cache(ctypes.Structure):
    _fields_ = (("room", ctypes.c_void_p), *((name, ctypes.c_int32) for name in ("rows", "length", "is_bfloat16")))


class _Batch(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int32),
        ("wanted", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("token", "row", "place", "last", "logits")),
    )


def decoder(model: Transformer, weights: WeightFormat = "float32") -> Decoder:
    """The fastest decoder there is for a network where it stands: compiled on a processor, else plain PyTorch."""
    found = library() if model.tokens.weight.device.type == "cpu" else None
    return Decoder(model, weights) if found is None else CompiledDecoder(model, weights, found)


@cache
def library(source: Path = SOURCE) -> ctypes.CDLL | None:
    """A compiled source; None where it cannot be compiled or loaded. Compiling takes seconds, once for a machine and version."""
    compiler = compute.environment("CC", "cc").split()
    for flags in ((*FLAGS, *OPTIONAL_FLAGS), FLAGS):
        try:
            return _loaded(source, compiler, flags)
        except (OSError, subprocess.SubprocessError):
            continue
    return None


def _loaded(source: Path, compiler: Sequence[str], flags: Sequence[str]) -> ctypes.CDLL:
    place = _folder() / f"{source.stem}-{_fingerprint(source, compiler, flags)}.so"
    if place.is_file():
        return ctypes.CDLL(str(place))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.so"
        command = [*compiler, *flags, str(source), "-o", str(made), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)
        with contextlib.suppress(OutputError, OSError):  # then it is compiled again the next time
            storage.write_bytes(place, made.read_bytes())
        return ctypes.CDLL(str(made))


def _folder() -> Path:
    kept = compute.environment("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(kept) / "selftaught"


def _fingerprint(source: Path, compiler: Sequence[str], flags: Sequence[str]) -> str:
    """Another source, compiler, flag or processor is another library: the folder may be shared between machines."""
    processor = compute.description()["processor"], sorted(torch.cpu.get_capabilities().items())
    parts = source.read_bytes(), list(compiler), list(flags), processor
    return hashlib.blake2b(repr(parts).encode(), digest_size=10).hexdigest()


class CompiledDecoder(Decoder):
    """Reads few tokens with the compiled pass, many with PyTorch."""

    def __init__(self, model: Transformer, weights: WeightFormat, found: ctypes.CDLL) -> None:
        super().__init__(model, weights)
        self._read_tokens = found.read_tokens
        self._kept: list[object] = []
        self._paces: dict[tuple[int, int], Pace] = {}
        self._net = self._packed_network(model)
        self._stride = -(-self.shape.vocabulary // BLOCK) * BLOCK

    def prefill(self, cache: RaggedCache, row: int, tokens: Sequence[int], *, every: bool = False) -> torch.Tensor:
        """As the plain Decoder's."""
        if len(tokens) > SHORT[self.weights]:
            return super().prefill(cache, row, tokens, every=every)
        self._check(cache, row, tokens)
        start, count = cache.lengths[row], len(tokens)
        wanted = range(count) if every else (count - 1,)
        logits = self._read(cache, tokens, [row] * count, range(start, start + count), wanted)
        cache.lengths[row] += count
        return logits if every else logits[0]

    def step(self, cache: RaggedCache, rows: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
        """As the plain Decoder's; a row's logits are the same to the last bit whatever the other rows are."""
        for row, token in zip(rows, tokens, strict=True):
            self._check(cache, row, (token,))
        logits_RV = self._read(cache, tokens, rows, [cache.lengths[row] for row in rows], range(len(rows)))
        for row in rows:
            cache.lengths[row] += 1
        return logits_RV

    def _read(
        self,
        cache: RaggedCache,
        tokens: Sequence[int],
        rows: Sequence[int],
        places: Sequence[int],
        wanted: Sequence[int],
    ) -> torch.Tensor:
        count, number = len(tokens), ctypes.c_int32
        logits = torch.empty(len(wanted), self._stride)
        arrays = (
            (ctypes.c_int64 * count)(*tokens),
            (number * count)(*rows),
            (number * count)(*places),
            (number * len(wanted))(*wanted),
        )
        batch = _Batch(count, len(wanted), *(ctypes.addressof(array) for array in arrays), logits.data_ptr())
        room = cache.room
        place = _Cache(room.data_ptr(), room.shape[2], room.shape[4], int(room.dtype is torch.bfloat16))
        pace = self._pace(count)
        threads, start = pace.threads(), time.perf_counter()
        failed = self._read_tokens(ctypes.byref(self._net), ctypes.byref(place), ctypes.byref(batch), number(threads))
        pace.note(threads, time.perf_counter() - start)
        if failed:
            raise MemoryError
        return logits[:, : self.shape.vocabulary]

    def _pace(self, tokens: int) -> Pace:
        """Of passes over about as many tokens, with as many threads to choose from as PyTorch may use now."""
        key = torch.get_num_threads(), tokens.bit_length()
        if key not in self._paces:
            self._paces[key] = Pace(key[0])
        return self._paces[key]

    def _packed_network(self, model: Transformer) -> _Network:
        shape = model.shape
        layers = (_Layer * shape.layers)(*(self._layer(block) for block in model.blocks))
        self._kept.append(layers)
        return _Network(
            layers=shape.layers,
            heads=shape.heads,
            channels=shape.channels,
            feed=shape.feed,
            vocabulary=shape.vocabulary,
            norm_before=int(shape.norm == "before"),
            exact_gelu=int(shape.activation == "gelu"),
            scale_by_layer=int(shape.scale_by_layer),
            format=FORMATS[self.weights],
            epsilon=shape.norm_epsilon,
            tokens=self._shared(model.tokens.weight),
            positions=self._shared(model.positions.weight),
            norm=self._norm(model.norm) if shape.norm == "before" else None,
            layer=ctypes.cast(layers, ctypes.POINTER(_Layer)),
            head=self._matrix(model.head_weight, None),
        )

    def _layer(self, block: torch.nn.Module) -> _Layer:
        names = {
            "query_key_value": "attention.query_key_value",
            "output": "attention.output",
            "inner": "feed.inner",
            "outer": "feed.outer",
        }
        matrices = {name: block.get_submodule(path) for name, path in names.items()}
        return _Layer(
            attention_norm=self._norm(block.get_submodule("attention_norm")),
            feed_norm=self._norm(block.get_submodule("feed_norm")),
            **{
                name: self._matrix(linear.get_parameter("weight"), linear.get_parameter("bias"))
                for name, linear in matrices.items()
            },
        )

    def _norm(self, norm: torch.nn.Module) -> int:
        return self._address(torch.cat([norm.get_parameter("weight"), norm.get_parameter("bias")]))

    def _matrix(self, weight_OI: torch.Tensor, bias_O: torch.Tensor | None) -> _Matrix:
        scale = None
        weight_OI = weight_OI.detach()
        if self.weights == "int8":
            weight_OI, scale_O = recasting.quantised(weight_OI)
            scale = self._address(scale_O)
        elif self.weights == "bfloat16":
            weight_OI = weight_OI.to(torch.bfloat16)
        return _Matrix(
            weight=self._address(packed(weight_OI)),
            scale=scale,
            bias=None if bias_O is None else self._address(bias_O),
            inputs=weight_OI.shape[1],
            outputs=weight_OI.shape[0],
        )

    def _shared(self, tensor: torch.Tensor) -> int:
        """Where a tensor's numbers are; it is kept as long as the decoder is."""
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _address(self, tensor: torch.Tensor) -> int:
        """Where a copy of a tensor is, in memory that is read fast."""
        kept = torch.empty(tensor.shape, dtype=tensor.dtype)
        compute.prefer_large_pages(kept.data_ptr(), kept.nbytes)
        kept.copy_(tensor.detach())
        self._kept.append(kept)
        return kept.data_ptr()


def packed(weight_OI: torch.Tensor) -> torch.Tensor:
    """A matrix in blocks of 64 outputs, in each for every input the 64 weights side by side; missing outputs are 0."""
    outputs, inputs = weight_OI.shape
    blocks = -(-outputs // BLOCK)
    whole = weight_OI.new_zeros(blocks * BLOCK, inputs)
    whole[:outputs] = weight_OI
    return whole.view(blocks, BLOCK, inputs).transpose(1, 2).contiguous()
