"""What lighter weights cost in quality: perplexity of held-out text with each format, beside float32.

    python bench/weights.py MODEL TEXT... [--tokens 40000] [--json FILE]

MODEL is any folder that `selftaught generate` reads, TEXT any text file or .jsonl file with a `text` in each line. Windows of the
context's length that do not overlap, read twice: by PyTorch, as on a GPU, and by the compiled pass, eight tokens at a time, as
text is generated.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from selftaught import storage
from selftaught.inference import compiled
from selftaught.inference.decoding import Decoder
from selftaught.inference.language_model import load
from selftaught.inference.recasting import WeightFormat

FORMATS: tuple[WeightFormat, ...] = ("float32", "bfloat16", "int8")
CHUNK = 8


@dataclass(frozen=True, kw_only=True)
class Row:
    """Perplexity by token with one format and one way of reading."""

    weights: WeightFormat
    read_by: str
    perplexity: float
    change: float
    """Relative to float32."""
    tokens: int


def _text(paths: Sequence[Path]) -> str:
    parts = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        rows = [json.loads(line)["text"] for line in text.splitlines()] if path.suffix == ".jsonl" else [text]
        parts += rows
    return "\n\n".join(parts)


def _windows(ids: Sequence[int], start: int, context: int) -> Iterator[list[int]]:
    for first in range(0, len(ids), context):
        yield [start, *ids[first : first + context]]


def _nats(decoder: Decoder, window: Sequence[int], chunk: int) -> float:
    """Of all tokens of a window but the first."""
    cache = decoder.cache()
    total = 0.0
    for first in range(0, len(window) - 1, chunk):
        part = window[first : min(first + chunk, len(window) - 1)]
        logits_TV = decoder.prefill(cache, 0, part, every=True)
        targets = torch.tensor(window[first + 1 : first + 1 + len(part)])
        total += float(torch.nn.functional.cross_entropy(logits_TV, targets, reduction="sum"))
    return total


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="bench/weights.py")
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path, nargs="+")
    parser.add_argument("--tokens", type=int, default=40_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model = load(given.model)
    ids = model.tokenizer.encode(_text(given.text))[: given.tokens]
    windows = list(_windows(ids, model.tokenizer.end_of_text, model.context))
    rows: list[Row] = []
    for read_by, chunk in (("PyTorch", model.context), ("compiled pass", CHUNK)):
        found: dict[WeightFormat, float] = {}
        for weights in FORMATS:
            decoder = (compiled.decoder if chunk == CHUNK else Decoder)(model.model, weights)
            found[weights] = math.exp(sum(_nats(decoder, window, chunk) for window in windows) / len(ids))
            change = found[weights] / found["float32"] - 1
            rows.append(
                Row(weights=weights, read_by=read_by, perplexity=found[weights], change=change, tokens=len(ids))
            )
            print(f"{read_by:14} {weights:9} perplexity {found[weights]:.4f}  {100 * change:+.3f} %")
    if given.json:
        storage.write_json(given.json, rows)


if __name__ == "__main__":
    main()
