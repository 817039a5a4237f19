"""Texts as vectors: the mean of a network's last states over their tokens. Shapes: N texts, B rows, T tokens, C channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from selftaught.inference.language_model import LanguageModel

BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Tokens in a batch, padding included."""


@dataclass(frozen=True, kw_only=True)
class Represented:
    """Vectors of texts."""

    vectors: torch.Tensor
    """Shape NC, in float32, on the processor."""
    cut: tuple[bool, ...]
    """Of each text, whether it was longer than the context, so that only a part of it was read."""


@torch.inference_mode()
def represent(
    model: LanguageModel,
    texts: Sequence[str],
    *,
    keep: Literal["beginning", "end"] = "beginning",
    advance: Callable[[float], None] | None = None,
) -> Represented:
    """The mean of the last states over the tokens of each text, read after <|endoftext|>, whose own state does not count.

    A text without tokens is the state of <|endoftext|> alone. Padding is seen by no state and counted in no mean, so neither
    order nor company of texts changes a vector by more than rounding. `advance(n)` is called when n more texts are done.
    """
    encoded = [model.tokenizer.encode(text) for text in texts]
    room = model.context - 1
    kept = [ids[:room] if keep == "beginning" else ids[max(0, len(ids) - room) :] for ids in encoded]
    vectors_NC = torch.empty(len(texts), model.model.shape.channels)
    for batch in _batches([len(ids) + 1 for ids in kept], _most_tokens(model)):
        vectors_NC[batch] = _means(model, [kept[number] for number in batch])
        if advance is not None:
            advance(len(batch))
    return Represented(
        vectors=vectors_NC, cut=tuple(len(ids) > len(part) for ids, part in zip(encoded, kept, strict=True))
    )


def _most_tokens(model: LanguageModel) -> int:
    return BATCH_TOKENS["cpu" if model.model.tokens.weight.device.type == "cpu" else "cuda"]


def _batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Numbers of texts of similar length, the longest first, about `tokens` tokens to a batch."""
    found: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if found and (len(found[-1]) + 1) * lengths[found[-1][0]] <= tokens:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def _means(model: LanguageModel, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    device = model.model.tokens.weight.device
    width = 1 + max(map(len, rows))
    ids_BT = torch.full((len(rows), width), model.tokenizer.end_of_text)
    counted_BT = torch.zeros(len(rows), width, dtype=torch.bool)
    for place, ids in enumerate(rows):
        ids_BT[place, 1 : 1 + len(ids)] = torch.tensor(ids, dtype=torch.int64)
        counted_BT[place, 1 : 1 + len(ids)] = True
        counted_BT[place, 0] = not ids
    with torch.autocast(device.type, torch.bfloat16, enabled=model.precision == "bfloat16"):
        hidden_BTC = model.model(ids_BT.to(device)).float()
    weights_BT = counted_BT.to(device, torch.float32)
    sums_BC = torch.einsum("btc,bt->bc", hidden_BTC, weights_BT)
    return (sums_BC / weights_BT.sum(dim=1, keepdim=True)).cpu()


def cosines(one_NC: torch.Tensor, other_MC: torch.Tensor) -> torch.Tensor:
    """Cosine similarity of each vector of one side (N) with each of the other (M)."""
    first, second = (torch.nn.functional.normalize(side, dim=-1, eps=0.0) for side in (one_NC, other_MC))
    return first @ second.T
