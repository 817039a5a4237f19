"""What every script in bench/ shares: ours and the peers timed in turns in one process, medians, a table, a JSON file.

    bench = SideBySide("tokenizer")                     # reads --quick and --json FILE
    tiktoken = bench.peer("tiktoken")                   # None, and said so, where it is not installed
    bench.compare("encode", ours, {"tiktoken": theirs}, amount=megabytes, unit="MB/s")
    bench.finish()

Run by itself this file does nothing.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from selftaught import storage

Work = Callable[[], object]
Clock = Literal["cpu", "wall"]
CLOCKS: Mapping[Clock, Callable[[], float]] = {"cpu": time.process_time, "wall": time.perf_counter}
"""`cpu` adds up all threads of this process, so that a parallel peer does not look faster than it is."""
COLUMNS = ("case", "ours", "peer", "peer_name", "unit", "ratio")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row of the result: ours beside one peer."""

    case: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    ratio: float
    """More than 1: ours is better."""


class SideBySide:
    """Collects comparisons and shows them."""

    def __init__(self, name: str, argv: Sequence[str] | None = None) -> None:
        parser = argparse.ArgumentParser(prog=f"bench/{name}.py")
        parser.add_argument("--quick", action="store_true", help="less data and fewer repeats: under a minute")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the records there as a JSON list")
        given = parser.parse_args(argv)
        self.quick: bool = given.quick
        self.records: list[Record] = []
        self._json: Path | None = given.json
        self.repeats = 3 if self.quick else 5

    def peer(self, module: str) -> ModuleType | None:
        """Import a peer; where it is not installed say so and return None."""
        try:
            return importlib.import_module(module)
        except ImportError:
            print(f"{module} is not installed, so it is left out; type: pip install 'selftaught[bench]'")
            return None

    def compare(
        self,
        case: str,
        ours: Work,
        peers: Mapping[str, Work],
        *,
        amount: float = 0.0,
        unit: str = "s",
        clock: Clock = "cpu",
        repeats: int | None = None,
        warm: bool = True,
    ) -> None:
        """Time ours and each peer in turns and keep the medians.

        `amount` of work in `unit` a second makes a rate (larger is better); without it seconds are kept (smaller is
        better). `warm` runs each once before, so that compilation and caches are not counted.
        """
        named = {"": ours, **peers}
        if warm:
            for work in named.values():
                work()
        seconds = in_turns(named, CLOCKS[clock], repeats or self.repeats)
        rates = {name: amount / taken if amount else taken for name, taken in seconds.items()}
        for name in peers:
            self.note(case, rates[""], rates[name], name, unit=unit, larger_is_better=bool(amount))

    def note(self, case: str, ours: float, peer: float, peer_name: str, *, unit: str, larger_is_better: bool) -> None:
        """Keep one comparison whose two values were measured by the caller."""
        better, worse = (ours, peer) if larger_is_better else (peer, ours)
        ratio = better / worse if worse else float("inf")
        self.records.append(Record(case=case, ours=ours, peer=peer, peer_name=peer_name, unit=unit, ratio=ratio))

    def finish(self) -> None:
        """Print the table and write the JSON file that was asked for."""
        rows = [
            COLUMNS,
            *((r.case, f"{r.ours:.4g}", f"{r.peer:.4g}", r.peer_name, r.unit, f"{r.ratio:.2f}") for r in self.records),
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if self._json:
            storage.write_json(self._json, self.records)


def in_turns(works: Mapping[str, Work], clock: Callable[[], float], repeats: int) -> dict[str, float]:
    """Median seconds of each; the order turns round by one each time, so that nobody always runs on a warm machine."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            start = clock()
            works[name]()
            taken[name].append(clock() - start)
    return {name: max(statistics.median(times), 1e-9) for name, times in taken.items()}
