"""How many tokens are read at a time, and what happens where memory runs out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.inference import likelihood, reading
from selftaught.inference.budget import PASSES, Budget
from tests.inference.test_likelihood import some_pairs
from tests.reference.networks import network

MODEL = network()
NO_MEMORY: dict[str, Callable[[], Exception]] = {
    "python": MemoryError,
    "torch, processor": lambda: RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
    ),
    "torch, windows": lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    "oneDNN": lambda: RuntimeError("could not create a primitive"),
    "torch, accelerator": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
}


def found(rate: Callable[[int], float], **bounds: int) -> list[int]:
    """The sizes that are tried where a pass of so many tokens a second is as fast as `rate` says, until nothing changes."""
    budget, tried = Budget(1024, **{"least": 256, "most": 1 << 14, **bounds}), []
    for _ in range(20):
        tried.append(budget.tokens)
        for _ in range(PASSES):
            budget.passed(budget.tokens, budget.tokens / rate(budget.tokens))
    assert len(set(tried[8:])) == 1
    return [*dict.fromkeys(tried), tried[-1]]


def test_goes_to_where_it_is_fastest() -> None:
    assert found(lambda size: 1 + size) == [1024, 2048, 4096, 8192, 1 << 14, 1 << 14]
    assert found(lambda size: 1 / size) == [1024, 2048, 512, 256, 256]
    assert found(lambda size: -abs(size - 2048) + 1e6) == [1024, 2048, 4096, 2048]
    assert found(lambda size: size, most=1024, least=1024) == [1024, 1024]


def test_small_passes_and_slow_ones_beside_a_fast_one_do_not_count() -> None:
    budget = Budget(1024, least=1024, most=4096)
    for _ in range(9):
        budget.passed(100, 1e9)
    assert budget.tokens == 1024
    budget.passed(1024, 1.0)
    budget.passed(1024, 9.0)
    assert budget.tokens == 2048
    budget.passed(2048, 99.0)
    budget.passed(2048, 1.0)
    assert budget.tokens == 4096


def test_no_more_than_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "free_memory_bytes", lambda _: 1_000_000)
    assert found(lambda size: size, token_bytes=200) == [1024, 2048, 2048]
    assert Budget(1024, least=512, most=2048, token_bytes=10_000).tokens == 32
    monkeypatch.setattr(compute, "free_memory_bytes", lambda _: None)
    assert Budget(1024, least=512, most=2048, token_bytes=10_000).tokens == 1024


def test_this_machine_tells_what_is_free() -> None:
    free = compute.free_memory_bytes("cpu")
    assert free is None or free > 1 << 20


class Cramped(reading.LineReader):
    """Has memory for so many tokens at a time."""

    def __init__(self, room: int, problem: Callable[[], Exception]) -> None:
        super().__init__(MODEL, "float32")
        self.room, self.problem, self.refused = room, problem, 0

    def read(self, batch, pairs):
        states = list(super().read(batch, pairs))
        yield states[0]
        if sum(tree.tokens for tree in batch) > self.room:  # after some of it was found
            self.refused += 1
            raise self.problem()
        yield from states[1:]


@pytest.mark.parametrize("problem", NO_MEMORY)
@pytest.mark.parametrize("room", [60, 150])
def test_where_memory_runs_out_no_answer_is_lost_and_none_changes(problem: str, room: int) -> None:
    pairs, told = some_pairs(64), list[int]()
    expected = likelihood.score(reading.reader(MODEL), pairs)
    reader = Cramped(room, NO_MEMORY[problem])
    scored = likelihood.score(reader, pairs, told.append)
    for one, other in zip(scored, expected, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)
        assert one.greedy == other.greedy
    assert sum(told) == len(pairs)
    assert reader.refused
    refused, reader.refused = reader.refused, 0
    likelihood.score(reader, pairs)
    assert reader.refused < refused  # what was learned is kept


def test_one_text_that_is_too_much_is_said() -> None:
    with pytest.raises(UsageError, match=r"not enough memory for.*got MemoryError"):
        likelihood.score(Cramped(3, MemoryError), some_pairs())


def test_other_problems_are_not_taken_for_it() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        likelihood.score(Cramped(3, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied")), some_pairs())
