"""Generation: ours beside a loop without cache, transformers, CTranslate2, OpenVINO and llama.cpp, on the same random weights.

    python bench/generation.py [--quick] [--json FILE] [--weights int8 bfloat16] [--parts eight one first limit] [--new 64]

GPT-2 small's shape, greedy, prompts of 128 tokens and 128 new ones, one text and eight side by side; each peer is set against
ours with weights of the same size. All take turns with a pause between them, in which the threads of the one before go to
sleep; medians of tokens a second are kept, once by the clock and once by the processor time of all threads, which a busy
machine hardly changes. Before anything is timed, peers in float32 must draw the tokens that ours does. Then the time to the
first token of a prompt of 900, and what share of the limit ours reaches: reading every weight once a token at the speed at
which this machine reads memory. --quick: a sixth of the size, 32 + 32 tokens, and one text. --weights and --parts: only these,
so that a run is over in minutes. See generation_peers.py for how to install the peers.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from generation_peers import Generate, Ids, agreeing, format_of, peers
from selftaught import compute
from selftaught.checkpoint import huggingface
from selftaught.inference import compiled
from selftaught.inference.recasting import WeightFormat
from selftaught.model.initial import initialise
from selftaught.model.shape import NAMED_SHAPES, ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from side_by_side import SideBySide

BYTES: Mapping[WeightFormat, int] = {"float32": 4, "bfloat16": 2, "int8": 1}
PARTS = ("one", "eight", "first", "limit")
PAUSE = 0.5
"""Seconds between turns: threads of the one before go on waiting busily for up to a fifth of a second (OpenMP's block time)."""
STEPS = 10
"""Steps, and readings of memory, that are timed without a pause between them."""
GAP = 1 << 20
"""Bytes between two matrices, scales and biases at most, that are read with them."""
Work = Callable[[], object]


def _model(shape: ModelShape) -> Transformer:
    """A network whose choices are clear, so that rounding does not change what is drawn."""
    model = Transformer(shape).eval()
    generator = compute.generator("bench")
    initialise(model, generator)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.05 if weight.ndim == 1 else 0.03)
    return model


def _tokenizer(size: int) -> Tokenizer:
    """Any tokenizer of the vocabulary's size: converters ask for one."""
    pairs = [(bytes([first]), bytes([second])) for first in range(256) for second in range(256)]
    return Tokenizer(files.from_merges(pairs[: size - 257]))


def _ours(model: Transformer, weights: WeightFormat) -> Generate:
    decoder = compiled.decoder(model, weights)

    def generate(prompts: Ids, new: int) -> Ids:
        rows = range(len(prompts))
        cache = decoder.cache(len(prompts), max(map(len, prompts)) + new)
        drawn: Ids = [[int(decoder.prefill(cache, row, prompts[row]).argmax())] for row in rows]
        for _ in range(new - 1):
            best = decoder.step(cache, rows, [text[-1] for text in drawn]).argmax(-1).tolist()
            for text, token in zip(drawn, best, strict=True):
                text.append(token)
        return drawn

    return generate


def _in_turns(works: Mapping[str, Work], repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each by the clock and of processor time, after one turn that is not counted."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    names = list(works)
    for turn in range(repeats + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            time.sleep(PAUSE)
            wall, cpu = time.perf_counter(), time.process_time()
            works[name]()
            if turn:
                taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: (statistics.median(one for one, _ in times), statistics.median(one for _, one in times))
        for name, times in taken.items()
    }


def _compare(bench: SideBySide, contenders: Mapping[str, Generate], batch: int, prompt: int, new: int) -> None:
    vocabulary = 50257 if not bench.quick else 8192
    ids = torch.randint(vocabulary, (batch, prompt), generator=compute.generator("prompts")).tolist()
    # What computes everything again for each token draws the first eighth only, which is its fastest.
    drawn = {name: new // 8 if "loop" in name else new for name in contenders if "loop" not in name or batch == 1}
    works = {name: (lambda name=name: contenders[name](ids, drawn[name])) for name in drawn}
    taken = _in_turns(works, bench.repeats)
    for name in works:
        if name.startswith("ours"):
            continue
        ours = f"ours, {format_of(name)}"
        for clock, unit in enumerate(("tokens/s", "tokens/CPU-s")):
            bench.note(
                f"{ours.removeprefix('ours, ')}, batch {batch}, {prompt} + {new}",
                batch * drawn[ours] / taken[ours][clock],
                batch * drawn[name] / taken[name][clock],
                name,
                unit=unit,
                larger_is_better=True,
            )


def _first_token(bench: SideBySide, contenders: Mapping[str, Generate], length: int) -> None:
    vocabulary = 50257 if not bench.quick else 8192
    ids = torch.randint(vocabulary, (1, length), generator=compute.generator("long prompt")).tolist()
    works = {name: (lambda made=made: made(ids, 1)) for name, made in contenders.items()}
    taken = _in_turns(works, bench.repeats)
    for name in works:
        if not name.startswith("ours"):
            ours = taken[f"ours, {format_of(name)}"]
            for clock, unit in enumerate(("s", "CPU-s")):
                bench.note(
                    f"{format_of(name)}, first token after {length}",
                    ours[clock],
                    taken[name][clock],
                    name,
                    unit=unit,
                    larger_is_better=False,
                )


def _each(read: Callable[..., Any], spans: Sequence[Any], *others: Any) -> None:
    for span in spans:
        read(span, *others)


@numba.njit(parallel=True, fastmath=True)  # type: ignore[untyped-decorator]
def _sum(numbers: Any) -> Any:
    """Each thread reads one part from its beginning to its end."""
    total = 0
    for place in numba.prange(len(numbers)):
        total += numbers[place]
    return total


@numba.njit(parallel=True, fastmath=True)  # type: ignore[untyped-decorator]
def _sum_of_fours(numbers: Any, threads: int) -> Any:
    """Each thread reads four parts side by side."""
    total, part = 0, len(numbers) // (4 * threads)
    for thread in numba.prange(threads):
        mine = numbers[4 * thread * part : 4 * (thread + 1) * part]
        one, two, three, four = mine[:part], mine[part : 2 * part], mine[2 * part : 3 * part], mine[3 * part :]
        for place in range(part):
            total += one[place] + two[place] + three[place] + four[place]
    return total


@numba.njit(parallel=True, fastmath=True)  # type: ignore[untyped-decorator]
def _sum_of_blocks(numbers: Any, threads: int) -> Any:
    """Threads read blocks of 48 KiB in turn, as large as one of a matrix of ours in int8."""
    total, size = 0, 6144
    for thread in numba.prange(threads):
        for first in range(thread * size, len(numbers), threads * size):
            for place in range(first, min(first + size, len(numbers))):
                total += numbers[place]
    return total


def _read_by_a_step(decoder: compiled.CompiledDecoder, itemsize: int) -> list[Any]:
    """The decoder's matrices where they lie, as few arrays of numbers as they allow: memory is not everywhere as fast."""
    net = decoder._net  # noqa: SLF001  # where they lie is nobody else's business
    layers = net.layer[: net.layers]
    matrices = [getattr(layer, name) for layer in layers for name in ("query_key_value", "output", "inner", "outer")]
    spans: list[tuple[int, int]] = []
    for matrix in sorted([*matrices, net.head], key=lambda matrix: matrix.weight):
        blocks, words = -(-matrix.outputs // compiled.BLOCK), -(-matrix.inputs * itemsize // 4)
        end = matrix.weight + 4 * blocks * words * compiled.BLOCK
        begins = spans.pop()[0] if spans and matrix.weight - spans[-1][1] < GAP else matrix.weight
        spans.append((begins, end))
    return [np.ctypeslib.as_array((ctypes.c_int64 * ((end - begin) // 8)).from_address(begin)) for begin, end in spans]


def _share_of_limit(bench: SideBySide, model: Transformer, prompt: int, formats: Sequence[WeightFormat]) -> None:
    """One text, steps only, in turns with only reading the same bytes, in the order that is read fastest.

    Memory may be twice as fast from one second to the next, so steps are compared with what was read in the same turn.
    """
    for weights in formats:
        decoder = compiled.decoder(model, weights)
        if not isinstance(decoder, compiled.CompiledDecoder):
            print("the share of the limit is left out: there is no C compiler")
            return
        numbers = _read_by_a_step(decoder, BYTES[weights])
        cache = decoder.cache()
        decoder.prefill(cache, 0, list(range(prompt)))
        threads = torch.get_num_threads()
        works: dict[str, Work] = {
            "steps": partial(decoder.step, cache, (0,), (0,)),
            "parts": partial(_each, _sum, numbers),
            "fours": partial(_each, _sum_of_fours, numbers, threads),
            "blocks": partial(_each, _sum_of_blocks, numbers, threads),
        }
        turns: list[dict[str, float]] = []
        for turn in range(2 * bench.repeats):
            first = turn % len(works)
            turns.append({name: _median_step(works[name]) for name in [*works][first:] + [*works][:first]})
        _, *orders = works
        best = min(orders, key=lambda name: statistics.median(turn[name] for turn in turns))
        pairs = sorted(((turn["steps"], turn[best]) for turn in turns), key=lambda pair: pair[1] / pair[0])
        step, read = pairs[len(pairs) // 2]
        gigabytes = sum(span.nbytes for span in numbers) / 1e9
        bench.note(
            f"{weights}, batch 1, a step of the median turn",
            gigabytes / step,
            gigabytes / read,
            "reading memory",
            unit="GB/s",
            larger_is_better=True,
        )


def _median_step(work: Work) -> float:
    """Seconds, after a pause and one that is not counted."""
    time.sleep(PAUSE)
    work()
    taken = []
    for _ in range(STEPS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Compare and show."""
    parser = argparse.ArgumentParser(prog="bench/generation.py", add_help=False)
    parser.add_argument("--weights", nargs="+", choices=tuple(BYTES), default=tuple(BYTES))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--repeats", type=int)
    given, others = parser.parse_known_args()
    bench = SideBySide("generation", others)
    bench.repeats = given.repeats or bench.repeats
    shape = NAMED_SHAPES["gpt2-small"]
    if bench.quick:
        shape = ModelShape(layers=6, heads=6, channels=384, vocabulary=8192)
    model = _model(shape)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        huggingface.save(model, _tokenizer(shape.vocabulary), folder)
        made = peers(bench, model, folder, torch.get_num_threads(), given.weights) if given.parts != ["limit"] else {}
        contenders: dict[str, Generate] = {
            f"ours, {weights}": _ours(model, weights) for weights in given.weights
        } | made
        if "float32" in given.weights:
            _check(contenders, shape.vocabulary)
        for part, batch in (("one", 1), ("eight", 8)):
            if part in given.parts and not (bench.quick and batch > 1):
                _compare(bench, contenders, batch, *((32, 32) if bench.quick else (128, given.new)))
        if "first" in given.parts:
            _first_token(bench, contenders, 200 if bench.quick else 900)
    if "limit" in given.parts:
        _share_of_limit(bench, model, 32 if bench.quick else 128, given.weights)
    bench.finish()


def _check(contenders: Mapping[str, Generate], vocabulary: int) -> None:
    """End where a peer in float32 draws other tokens than ours."""
    ids = torch.randint(vocabulary, (2, 24), generator=compute.generator("check")).tolist()
    expected = contenders["ours, float32"](ids, 8)
    for peer, generate in contenders.items():
        if format_of(peer) == "float32" and agreeing(expected, generate(ids, 8)) < 1:
            raise SystemExit(f"{peer} draws other tokens than ours")


if __name__ == "__main__":
    main()
