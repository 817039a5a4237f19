"""Generation on a processor at the speed of reading its weights: `decode.c`, compiled on first use for the machine it runs on.

A pass over new tokens is one call, so nothing of Python or PyTorch stands between two layers. Where no C compiler is found, or
on an accelerator, `decoder` gives the plain Decoder, which does the same with PyTorch alone.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from selftaught import compilation, compute
from selftaught.inference import recasting
from selftaught.inference.capturing import CapturingDecoder
from selftaught.inference.decoding import Decoder, Piece
from selftaught.inference.pace import Pace
from selftaught.inference.ragged import RaggedCache
from selftaught.inference.recasting import WeightFormat
from selftaught.model.transformer import Transformer

SOURCE = Path(__file__).with_name("decode.c")
BLOCK = 64
"""As in decode.c: outputs that are packed side by side."""
LINE = 64
"""Bytes that processors read together."""
ROWS = 8 * BLOCK
"""Outputs of a matrix that are turned and packed at a time, near the processor."""
LET_GO = 8 * ROWS
"""Outputs after which what was read of a mapped file is let go."""
DTYPES: dict[WeightFormat, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
FORMATS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
"""As decode.c counts them."""
MANY = 32
"""Tokens beyond which all threads read them, without trying fewer: there is much to do between two waits."""
PIECE = 256
"""Tokens of a prompt that are read at a time: their hidden states stay near the processor."""


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
    _fields_ = (("room", ctypes.c_void_p), *((name, ctypes.c_int32) for name in ("rows", "length", "format")))


class _Batch(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int32),
        ("wanted", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("token", "row", "place", "last", "logits")),
    )


class _Frame:
    """What a pass is told of its tokens, kept for the next pass over as many.

    Weights that have just been read have pushed Python out of the processor's caches: making all this anew took one to two
    percent of a pass.
    """

    def __init__(self, count: int, wanted: int) -> None:
        number = ctypes.c_int32
        self.tokens, self.rows, self.places = (ctypes.c_int64 * count)(), (number * count)(), (number * count)()
        self.wanted = (number * wanted)()
        arrays = self.tokens, self.rows, self.places, self.wanted
        self.batch = _Batch(count, wanted, *(ctypes.addressof(array) for array in arrays), None)


def decoder(model: Transformer, weights: WeightFormat = "float32") -> Decoder:
    """The fastest decoder for a network where it stands: compiled on a processor, captured on a GPU, else plain PyTorch."""
    return _made(model, weights, gives_up=False)


def only_decoder(model: Transformer, weights: WeightFormat) -> Decoder:
    """The same for a network that is needed for nothing else, its weights as they were stored (see `checkpoint.matching`).

    They are given up while they are turned into theirs. Embeddings are read where they are: those in a mapped file stay there.
    """
    made = _made(model, weights, gives_up=True)
    compute.return_freed_memory()
    return made


def _made(model: Transformer, weights: WeightFormat, *, gives_up: bool) -> Decoder:
    kind = model.tokens.weight.device.type
    found = library() if kind == "cpu" else None
    if found is not None:
        return CompiledDecoder(model, weights, found, gives_up=gives_up)
    if gives_up:
        for parameter in model.parameters():
            parameter.data = parameter.data.float().contiguous()
    return CapturingDecoder(model, weights) if kind == "cuda" else Decoder(model, weights)


def library() -> ctypes.CDLL | None:
    """The compiled pass; None where it cannot be compiled or loaded."""
    return compilation.library(SOURCE)


class CompiledDecoder(Decoder):
    """Reads tokens with the compiled pass."""

    def __init__(
        self, model: Transformer, weights: WeightFormat, found: ctypes.CDLL, *, gives_up: bool = False
    ) -> None:
        self._read_tokens, self._gives_up = found.read_tokens, gives_up
        self._kept: list[torch.Tensor | ctypes.Array[_Layer]] = []
        self._paces: dict[tuple[int, int], Pace] = {}
        self._frames: dict[tuple[int, int], _Frame] = {}
        super().__init__(model, weights)

    def _prepare(self, model: Transformer) -> None:
        """As in the base class."""
        sizes = sum(parameter.numel() for parameter in model.parameters())
        self._shelf = _Shelf(sizes * (1 if self.weights == "int8" else 2 if self.weights == "bfloat16" else 4))
        self._net = self._packed_network(model)

    def _remembered_as(self) -> torch.dtype:
        """Keys and values are as small as weights, since they too are read for every token."""
        return DTYPES[self.weights]

    def prefill(self, cache: RaggedCache, row: int, tokens: Sequence[int], *, every: bool = False) -> torch.Tensor:
        """As the plain Decoder's; a token's logits are the same to the last bit however a text is cut into calls."""
        return self._prefill(self._net, cache, row, tokens, every=every)

    def step(self, cache: RaggedCache, rows: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
        """As the plain Decoder's; a row's logits are the same to the last bit whatever the other rows are."""
        for row, token in zip(rows, tokens, strict=True):
            self._check(cache, row, (token,))
        places = [cache.lengths[row] for row in rows]
        logits_RV = self._read(self._net, cache, tokens, rows, places, range(len(rows)))
        for row, token in zip(rows, tokens, strict=True):
            cache.note(row, (token,))
        return logits_RV

    def read(
        self, cache: RaggedCache, rows: Sequence[int], tokens: Sequence[int], pieces: Sequence[Piece]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """As the plain Decoder's, in one pass: where prompts are read, the rows that take one token more cost little."""
        parts = [*map(Piece, rows, ((token,) for token in tokens)), *pieces]
        flat, owners, places, wanted, sizes = (list[int]() for _ in range(5))
        for one in parts:
            self._check(cache, one.row, one.tokens)
            count, start = len(one.tokens), cache.lengths[one.row]
            flat += one.tokens
            owners += [one.row] * count
            places += range(start, start + count)
            sizes.append(count if one.every else 1)
            wanted += range(len(flat) - sizes[-1], len(flat))
        logits_WV = self._read(self._net, cache, flat, owners, places, wanted)
        for one in parts:
            cache.note(one.row, one.tokens)
        logits_RV, *found = torch.split(logits_WV, [len(rows), *sizes[len(rows) :]])
        return logits_RV, [part if one.every else part[0] for part, one in zip(found, pieces, strict=True)]

    @torch.inference_mode()
    def attention(self, tokens: Sequence[int], layer: int) -> torch.Tensor:
        """As the plain Decoder's: a network that ends before the layer, whose head is that layer's queries, keys and values."""
        net, shape = _Network.from_buffer_copy(self._net), self.shape
        net.layers, net.head = layer, net.layer[layer].query_key_value
        if shape.norm == "before":
            net.norm = net.layer[layer].attention_norm
        elif not layer:  # nothing is normalised before the first block
            net.norm_before = 1
        parts_TX = self._prefill(net, self.cache(length=len(tokens)), 0, tokens, every=True)
        query_THK, key_THK, _ = parts_TX.view(len(tokens), 3, shape.heads, -1).unbind(1)
        scores_HT: torch.Tensor = torch.einsum("hk,thk->ht", query_THK[-1], key_THK) * query_THK.shape[-1] ** -0.5
        if shape.scale_by_layer:
            scores_HT = scores_HT / (layer + 1)
        return scores_HT.softmax(-1)

    def _prefill(
        self, net: _Network, cache: RaggedCache, row: int, tokens: Sequence[int], *, every: bool
    ) -> torch.Tensor:
        self._check(cache, row, tokens)
        logits = []
        for first in range(0, len(tokens), PIECE):
            piece, start = tokens[first : first + PIECE], cache.lengths[row]
            count, is_last = len(piece), first + PIECE >= len(tokens)
            wanted = range(count) if every else (count - 1,) if is_last else ()
            logits.append(self._read(net, cache, piece, [row] * count, range(start, start + count), wanted))
            cache.note(row, piece)
        return torch.cat(logits) if every else logits[-1][0]

    def _read(  # noqa: PLR0917 - the pass's arguments
        self,
        net: _Network,
        cache: RaggedCache,
        tokens: Sequence[int],
        rows: Sequence[int],
        places: Sequence[int],
        wanted: Sequence[int],
    ) -> torch.Tensor:
        count, outputs = len(tokens), net.head.outputs
        logits = torch.empty_strided((len(wanted), outputs), (-(-outputs // BLOCK) * BLOCK, 1))
        size = count, len(wanted)
        frame = self._frames.pop(size, None) or _Frame(*size)  # taken away while in use: others may make a pass too
        frame.tokens[:], frame.rows[:] = [*tokens], [*rows]
        frame.places[:], frame.wanted[:] = [*places], [*wanted]
        frame.batch.logits = logits.data_ptr()
        room = cache.room
        place = _Cache(room.data_ptr(), room.shape[2], room.shape[4], FORMATS[room.dtype])
        pace = self._pace(count)
        threads, start = torch.get_num_threads() if count > MANY else pace.threads(), time.perf_counter()
        failed = self._read_tokens(ctypes.byref(net), ctypes.byref(place), ctypes.byref(frame.batch), threads)
        if count <= MANY:
            self._frames[size] = frame
            if net is self._net:
                pace.note(threads, time.perf_counter() - start)
        if failed:
            raise MemoryError
        return logits

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
        norm = self._norm(model.norm) if shape.norm == "before" else None
        head = self._matrix(model.head_weight, None)
        return _Network(
            layers=shape.layers,
            heads=shape.heads,
            channels=shape.channels,
            feed=shape.feed,
            vocabulary=shape.vocabulary,
            norm_before=int(shape.norm == "before"),
            exact_gelu=int(shape.activation == "gelu"),
            scale_by_layer=int(shape.scale_by_layer),
            format=FORMATS[DTYPES[self.weights]],
            epsilon=shape.norm_epsilon,
            tokens=self._shared(model.tokens.weight),
            positions=self._shared(model.positions.weight),
            norm=norm,
            layer=ctypes.cast(layers, ctypes.POINTER(_Layer)),
            head=head,
        )

    def _layer(self, block: torch.nn.Module) -> _Layer:
        names = {
            "query_key_value": "attention.query_key_value",
            "output": "attention.output",
            "inner": "feed.inner",
            "outer": "feed.outer",
        }
        matrices = {name: block.get_submodule(path) for name, path in names.items()}
        packed_layer = _Layer(
            attention_norm=self._norm(block.get_submodule("attention_norm")),
            feed_norm=self._norm(block.get_submodule("feed_norm")),
            **{
                name: self._matrix(linear.get_parameter("weight"), linear.get_parameter("bias"))
                for name, linear in matrices.items()
            },
        )
        if self._gives_up:
            block.to("meta")
            compute.return_freed_memory()
        return packed_layer

    def _norm(self, norm: torch.nn.Module) -> int:
        return self._address(torch.cat([norm.get_parameter("weight"), norm.get_parameter("bias")]))

    def _matrix(self, weight_OI: torch.Tensor, bias_O: torch.Tensor | None) -> _Matrix:
        """A matrix as it lies on the shelf; what is made of it on the way there is of some rows at a time."""
        outputs, inputs = weight_OI.shape
        blocks, words = -(-outputs // BLOCK), -(-inputs * DTYPES[self.weights].itemsize // 4)
        scale_O = (
            self._shelf.reserve(4 * BLOCK * blocks).view(torch.float32).zero_() if self.weights == "int8" else None
        )
        room = self._shelf.reserve(4 * blocks * words * BLOCK).view(torch.int32).view(blocks, words, BLOCK)
        for first in range(0, outputs, ROWS):
            part_OI = weight_OI[first : first + ROWS].detach()
            if scale_O is not None:
                part_OI, scale_O[first : first + len(part_OI)] = recasting.quantised(part_OI)
            part = packed(part_OI.to(DTYPES[self.weights]))
            room[first // BLOCK :][: len(part)] = part
            if self._gives_up and (first + ROWS) % LET_GO == 0:
                compute.drop_mapped_pages(weight_OI.data_ptr())
        return _Matrix(
            weight=room.data_ptr(),
            scale=None if scale_O is None else scale_O.data_ptr(),
            bias=None if bias_O is None else self._address(bias_O),
            inputs=inputs,
            outputs=outputs,
        )

    def _shared(self, tensor: torch.Tensor) -> int:
        """Where a tensor's numbers are; it is kept as long as the decoder is, in its file if it is mapped from one."""
        if self._gives_up:
            tensor.data = tensor.detach().float().contiguous()
            compute.drop_mapped_pages(tensor.data_ptr())
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _address(self, tensor: torch.Tensor) -> int:
        """Where a copy of a tensor is, in memory that is read fast."""
        return self._shelf.put(tensor.detach().float())


class _Shelf:
    """Copies of tensors one after another, in the order in which a pass reads them: fetching ahead runs from one into the next.

    Large pages hold them, which have no room in tensors that lie alone.
    """

    def __init__(self, size: int) -> None:
        self._size, self._filled = size, 0
        self._boards: list[torch.Tensor] = []

    def reserve(self, size: int) -> torch.Tensor:
        """Room for so many bytes; it lasts as long as the shelf."""
        if not self._boards or self._filled + size > self._boards[-1].nbytes:
            board = torch.empty(max(self._size, size), dtype=torch.uint8)
            compute.prefer_large_pages(board.data_ptr(), board.nbytes)
            self._boards.append(board)
            self._filled = 0
        place = self._boards[-1][self._filled : self._filled + size]
        self._filled += -(-size // LINE) * LINE
        return place

    def put(self, tensor: torch.Tensor) -> int:
        """The address of a copy."""
        place = self.reserve(tensor.nbytes)
        place.view(tensor.dtype).copy_(tensor.flatten())
        return place.data_ptr()


def packed(weight_OI: torch.Tensor) -> torch.Tensor:
    """A matrix as decode.c reads it: blocks of 64 outputs, in each for every 32 bits of inputs the 64 weights side by side.

    What is missing at the ends is 0. int8 becomes uint8 with 128 added. The bits are given as int32, and
    brought into this order by whoever copies them.
    """
    outputs, inputs = weight_OI.shape
    blocks, numbers = -(-outputs // BLOCK), 4 // weight_OI.itemsize
    words = -(-inputs // numbers)
    whole = weight_OI.new_zeros(blocks * BLOCK, words * numbers)
    whole[:outputs, :inputs] = weight_OI
    if weight_OI.dtype is torch.int8:
        whole = whole.view(torch.uint8).bitwise_xor_(128)
    return whole.view(torch.int32).view(blocks, BLOCK, words).transpose(1, 2)
