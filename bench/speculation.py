"""Speculative decoding: what drafting with smaller models of the same ladder gains, or costs.

    python bench/speculation.py MODEL DRAFT... [--tokens 200] [--weights float32] [--json FILE]

MODEL and each DRAFT are trained models with one tokenizer, as `selftaught demo` leaves them. The model continues the beginning of
a document alone and with each draft in turns, greedily and by the paper's sampling; medians over three seeds. Processor
time, with one thread, so that a busy machine changes little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from selftaught import compute, storage
from selftaught.inference import generation
from selftaught.inference.generation import Drawn
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.rules import SamplingSettings
from selftaught.inference.speculation import Speculator

PROMPT = "The"
SEEDS = 3
RULES = {"greedy": SamplingSettings(temperature=0), "top-k 40": SamplingSettings(top_k=40)}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way of drawing with one draft."""

    model: str
    draft: str
    drawn_by: str
    alone: float
    """Tokens in a second of processor time."""
    drafted: float
    ratio: float
    kept: float
    """Share of the proposed tokens that stayed."""


def _seconds(tokens: Iterator[Drawn], count: int) -> float:
    next(tokens)  # the prompt is read, threads are chosen
    start = time.process_time()
    for _ in islice(tokens, count):
        pass
    return time.process_time() - start


def _measured(model: LanguageModel, draft: LanguageModel, name: str, count: int) -> Row:
    speculator, ids = Speculator(model.decoder, draft.decoder), model.tokenizer.encode(PROMPT)
    alone, drafted = [], []
    for seed in range(SEEDS):
        numbers = compute.generator("sampling", seed)
        alone.append(_seconds(generation.draw(model.decoder, ids, RULES[name], numbers), count))
        drafted.append(_seconds(speculator.draw(ids, RULES[name], numbers), count))
    rates = [count / statistics.median(times) for times in (alone, drafted)]
    return Row(
        model=model.name,
        draft=draft.name,
        drawn_by=name,
        alone=rates[0],
        drafted=rates[1],
        ratio=rates[1] / rates[0],
        kept=speculator.kept / speculator.proposed,
    )


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="bench/speculation.py")
    parser.add_argument("model", type=Path)
    parser.add_argument("draft", type=Path, nargs="+")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--weights", choices=("float32", "bfloat16", "int8"), default="float32")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = LanguageModel.load(given.model, weights=given.weights)
    rows = []
    for path in given.draft:
        draft = LanguageModel.load(path, weights=given.weights)
        for name in RULES:
            row = _measured(model, draft, name, given.tokens)
            rows.append(row)
            print(
                f"{row.model} with {row.draft:8} {name:9} alone {row.alone:6.0f}  drafted {row.drafted:6.0f} tokens/CPU-s  "
                f"ratio {row.ratio:.2f}  kept {row.kept:.0%}",
                flush=True,
            )
    if given.json:
        storage.write_json(given.json, rows)


if __name__ == "__main__":
    main()
