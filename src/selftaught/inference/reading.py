"""Networks made ready to read many texts at once, which is what scoring is: `Reader` gives the states that predict.

On a processor texts stand in one line, so nothing is computed for padding; matrices are packed once for oneDNN, whose float32
products take half the time of those that PyTorch calls by default on some processors; and attention is a compiled pass
(`reading.c`) in which each text sees itself alone. Where oneDNN or a C compiler is missing PyTorch does that part. On an
accelerator texts are rows, padded on the right, which a causal network cannot see.

Shapes: N tokens of a line, B rows, T trunk, S branches, C channels, K scored tokens, V vocabulary.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from torch.nn import functional

from selftaught import compilation
from selftaught.inference import trees
from selftaught.inference.budget import Budget
from selftaught.inference.trees import Line, Pair, Tree, Wanted
from selftaught.model import cost
from selftaught.model.cache import Cache, remembered_as
from selftaught.model.transformer import Block, Transformer

SOURCE = Path(__file__).with_name("reading.c")
LINE_TOKENS = 512, 2048, 4096
"""Tokens in a line: least, first and most. Fewer make products slow; more no longer fit into a processor's cache, and sums of
longer products may be added up in another order."""
BATCH_TOKENS = 4096, 65536, 1 << 20
"""Tokens in a batch of rows, padding included: what keeps an accelerator busy."""
CHANNEL_BYTES = 64
"""Memory that a token takes for each channel where it is most: in the feed-forward layer, four times as wide, in float32."""
PACKED_PARAMETERS = 1 << 29
"""Networks of more weights are not kept a second time, packed, in float32: each product packs its own, a tenth slower."""

Precision = Literal["float32", "bfloat16"]
Product = Callable[[torch.Tensor], torch.Tensor]


class Reader(ABC):
    """A network that reads texts. Its weights are taken as they are when it is made."""

    def __init__(self, model: Transformer, precision: Precision) -> None:
        self.shape, self.precision = model.shape, precision
        self.device = model.tokens.weight.device
        self._model = model
        least, first, most = LINE_TOKENS if self.device.type == "cpu" else BATCH_TOKENS
        self.budget = Budget(first, least=least, most=most, token_bytes=self._token_bytes(), device=str(self.device))
        """Tokens that are read at a time, in all that this reader is asked."""

    def _token_bytes(self) -> int:
        """About what a token takes while it is read."""
        return CHANNEL_BYTES * self.shape.channels

    @abstractmethod
    def batches(self, found: Sequence[Tree]) -> Iterator[list[Tree]]:
        """Trees that are read at a time, each as large as the budget is when it is asked for."""

    @abstractmethod
    def read(self, batch: Sequence[Tree], pairs: Sequence[Pair]) -> Iterator[tuple[Wanted, torch.Tensor]]:
        """Read trees that stand for pairs; yield what is predicted, and states_KC that predict it after the last norm.

        `Wanted.states` are rows of these states. What a trunk predicts of a pair comes before what its branch does.
        """

    @abstractmethod
    def logits(self, states_KC: torch.Tensor) -> torch.Tensor:
        """Scores over the vocabulary; the product is float32 whatever the format of the others.

        Rounded to bfloat16, logits of GPT-2's weights would keep few digits of their differences: they have a large
        number in common.
        """


def reader(model: Transformer, precision: Precision = "float32") -> Reader:
    """The fastest reader there is for a network where it stands."""
    return LineReader(model, precision) if model.tokens.weight.device.type == "cpu" else RowReader(model, precision)


class RowReader(Reader):
    """Reads trees as rows of two matrices, trunks and branches, on any device. The twin of the other."""

    def _token_bytes(self) -> int:
        """As in the base class, and what is remembered of it while branches are read."""
        remembered = 2 * self.shape.layers * self.shape.channels * torch.float32.itemsize
        return super()._token_bytes() + remembered

    def batches(self, found: Sequence[Tree]) -> Iterator[list[Tree]]:
        """As in the base class."""
        return trees.batches(found, self.budget)

    def read(self, batch: Sequence[Tree], pairs: Sequence[Pair]) -> Iterator[tuple[Wanted, torch.Tensor]]:
        """As in the base class."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            trunk_BT = torch.from_numpy(trees.padded([tree.trunk for tree in batch])).to(self.device)
            branches = max(tree.branch_tokens for tree in batch)
            cache = None
            if branches:
                length, dtype = trunk_BT.shape[1] + branches, remembered_as(self.device)
                cache = Cache(self.shape, batch=len(batch), length=length, device=self.device, dtype=dtype)
            yield self._chosen(self._model(trunk_BT, cache), trees.trunk_wanted(batch, pairs))
            if cache is not None:
                ids_BS, places_BS, mask = (torch.from_numpy(part).to(self.device) for part in trees.side_by_side(batch))
                hidden_BSC = self._model(ids_BS, cache, places_BT=places_BS, mask=mask)
                yield self._chosen(hidden_BSC, trees.branch_wanted(batch, pairs))

    def logits(self, states_KC: torch.Tensor) -> torch.Tensor:
        """As in the base class."""
        return self._model.logits(states_KC)

    def _chosen(self, hidden_BTC: torch.Tensor, wanted: Wanted) -> tuple[Wanted, torch.Tensor]:
        wanted, rows = wanted.compact()
        return wanted, hidden_BTC.flatten(0, 1)[torch.from_numpy(rows).to(self.device)].float()


class LineReader(Reader):
    """Reads trees in one line, on a processor."""

    def __init__(self, model: Transformer, precision: Precision) -> None:
        super().__init__(model, precision)
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        kept = precision == "bfloat16" or cost.parameters(model.shape) <= PACKED_PARAMETERS
        gelu = "tanh" if model.shape.activation == "gelu-tanh" else "none"
        self._blocks = [
            _PackedBlock(cast("Block", block), layer, self._dtype, gelu=gelu, kept=kept)
            for layer, block in enumerate(model.blocks)
        ]
        self._head = product(model.head_weight, None, torch.float32)

    def batches(self, found: Sequence[Tree]) -> Iterator[list[Tree]]:
        """As in the base class."""
        return trees.lines(found, self.budget)

    def read(self, batch: Sequence[Tree], pairs: Sequence[Pair]) -> Iterator[tuple[Wanted, torch.Tensor]]:
        """As in the base class."""
        line = trees.line(batch)
        wanted, rows = trees.line_wanted(batch, pairs).compact()
        ids_N, places_N, rows_K = (torch.from_numpy(part) for part in (line.ids, line.places, rows))
        hidden_NC = self._model.tokens(ids_N) + self._model.positions(places_N)
        for block in self._blocks[:-1]:
            hidden_NC = block(hidden_NC, line, None)
        yield wanted, self._model.norm(self._blocks[-1](hidden_NC, line, rows_K))

    def logits(self, states_KC: torch.Tensor) -> torch.Tensor:
        """As in the base class."""
        return self._head(states_KC)


class _PackedBlock:
    """One block of a network; sums that blocks add to are float32."""

    def __init__(self, block: Block, layer: int, dtype: torch.dtype, *, gelu: str, kept: bool) -> None:
        attention, feed = block.attention, block.feed
        self._attention, self._before, self._dtype = attention, block.before, dtype
        self._scale = (attention.output.in_features // attention.heads) ** -0.5
        if attention.scale_by_layer:
            self._scale /= layer + 1
        self._norms = block.attention_norm, block.feed_norm
        self._query_key_value, self._output, self._outer = (
            product(one.weight, one.bias, dtype, kept=kept)
            for one in (attention.query_key_value, attention.output, feed.outer)
        )
        self._inner = product(feed.inner.weight, feed.inner.bias, dtype, gelu=gelu, kept=kept)

    def __call__(self, hidden_NC: torch.Tensor, line: Line, rows_K: torch.Tensor | None) -> torch.Tensor:
        """Pass a line through the block; of the last one only some rows are wanted."""
        first, second = self._norms
        entered_NC = first(hidden_NC) if self._before else hidden_NC
        mixed_NC = self._mixed(self._query_key_value(entered_NC.to(self._dtype)), line)
        if rows_K is not None:
            mixed_NC, hidden_NC = mixed_NC[rows_K], hidden_NC[rows_K]
        hidden_NC = hidden_NC + self._output(mixed_NC)
        if not self._before:
            hidden_NC = first(hidden_NC)
        fed_NC = self._outer(self._inner((second(hidden_NC) if self._before else hidden_NC).to(self._dtype)))
        return hidden_NC + fed_NC if self._before else second(hidden_NC + fed_NC)

    def _mixed(self, parts_NX: torch.Tensor, line: Line) -> torch.Tensor:
        heads = self._attention.heads
        # The compiled pass has float32 sums always; of scores in bfloat16 PyTorch's kernel has too.
        return attention(parts_NX.view(len(parts_NX), 3, heads, -1), line, self._scale)


def product(
    weight_OI: torch.Tensor, bias_O: torch.Tensor | None, dtype: torch.dtype, *, gelu: str = "", kept: bool = True
) -> Product:
    """What multiplies inputs by a matrix, adds the bias and, if asked, takes GELU (`tanh` or `none` for the exact one).

    The matrix is packed for oneDNN where that is there, once if it is to be `kept`.
    """
    weight = weight_OI.detach().to(dtype)
    bias = None if bias_O is None else bias_O.detach().to(dtype)
    if not _has_onednn(dtype):
        if gelu:
            return lambda inputs: functional.gelu(functional.linear(inputs, weight, bias), approximate=gelu)
        return lambda inputs: functional.linear(inputs, weight, bias)
    # What torch.compile calls on processors, there since PyTorch 2.0 and without a public name.
    linear, pack = torch.ops.mkldnn._linear_pointwise, torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001
    if kept:
        weight = pack(weight.contiguous(), LINE_TOKENS[1])
    return lambda inputs: linear(inputs, weight, bias, "gelu" if gelu else "none", [], gelu)


def _has_onednn(dtype: torch.dtype) -> bool:
    there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return there and (dtype is torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))  # noqa: SLF001


class _Attended(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("query_key_value", "mixed", "first", "trunk", "own")),
        *((name, ctypes.c_int32) for name in ("trees", "heads", "size", "is_bfloat16")),
        ("scale", ctypes.c_float),
    )


def attention(parts_N3HK: torch.Tensor, line: Line, scale: float) -> torch.Tensor:
    """Mix the values of a line, each token's with those that it sees: mixed_NC of the same format, sums in float32."""
    found = compilation.library(SOURCE)
    if found is None:
        return _plain_attention(parts_N3HK, line, scale)
    tokens, _, heads, size = parts_N3HK.shape
    mixed_NC = parts_N3HK.new_empty(tokens, heads * size)
    asked = _Attended(
        query_key_value=parts_N3HK.data_ptr(),
        mixed=mixed_NC.data_ptr(),
        first=line.first.ctypes.data,
        trunk=line.trunk.ctypes.data,
        own=line.own.ctypes.data,
        trees=len(line.trunk),
        heads=heads,
        size=size,
        is_bfloat16=int(parts_N3HK.dtype is torch.bfloat16),
        scale=scale,
    )
    if found.attend(ctypes.byref(asked), torch.get_num_threads()):
        raise MemoryError
    return mixed_NC


def _plain_attention(parts_N3HK: torch.Tensor, line: Line, scale: float) -> torch.Tensor:
    """With PyTorch alone, tree by tree."""
    mixed = []
    own_N = torch.from_numpy(line.own)
    for start, end, trunk in zip(line.first[:-1].tolist(), line.first[1:].tolist(), line.trunk.tolist(), strict=True):
        query, key, value = parts_N3HK[start:end].permute(1, 2, 0, 3)[:, None]
        mask = None
        if end - start > trunk:
            own_T = own_N[start:end]
            mask = own_T[:, None] == own_T
            mask[trunk:, :trunk] = True
            mask = mask.tril()
        found = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale
        )
        mixed.append(found[0].transpose(0, 1).flatten(1))
    return torch.cat(mixed)
