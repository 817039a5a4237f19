"""Batches: a pure function of shards, seed and number; every window once an epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.errors import InputError, UsageError
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.batches import Batches, Mixture
from selftaught.tokens.packing import pack
from selftaught.tokens.shards import Index, Shard, Shards, SplitIndex, open_shards


@pytest.fixture(scope="session")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Shards of the tokens 0, 1, 2 ... 1002 in three files, so that a token tells its place."""
    folder, parts = tmp_path_factory.mktemp("counted"), np.split(np.arange(1003, dtype="<u2"), [400, 401])
    shards = []
    for number, part in enumerate(parts):
        (folder / f"train-{number:05}.tokens").write_bytes(part.tobytes())
        shards.append(Shard(name=f"train-{number:05}.tokens", tokens=len(part), sha256=""))
    side = SplitIndex(tokens=1003, documents=1, bytes=1, shards=tuple(shards))
    index = Index(fingerprint="", vocabulary_size=1003, end_of_text=1002, dtype="uint16", splits={"train": side})
    return Shards(folder, index, "train")


def starts(batches: Batches, first: int, count: int) -> list[int]:
    """First tokens of `count` windows from number `first` on, as the batches deal them out."""
    rows = [row for k in range((first + count) // batches.batch_size + 1) for row in batches[k][0][:, 0].tolist()]
    return rows[first : first + count]


def test_targets_are_the_next_tokens(counted: Shards) -> None:
    ids_BT, targets_BT = Batches(counted, seed=1, batch_size=8, context=16)[3]
    assert ids_BT.shape == targets_BT.shape == (8, 16)
    assert ids_BT.dtype == torch.int64
    assert torch.equal(targets_BT, ids_BT + 1)
    assert torch.equal(ids_BT, ids_BT[:, :1] + torch.arange(16))


@pytest.mark.parametrize("context", [1, 7, 16, 501])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_every_epoch_shows_every_window_once(counted: Shards, context: int, batch_size: int) -> None:
    batches = Batches(counted, seed=3, batch_size=batch_size, context=context)
    epochs = [starts(batches, epoch * batches.windows, batches.windows) for epoch in range(3)]
    for epoch in epochs:
        assert np.all(np.diff(sorted(epoch)) == context)
        assert 0 <= min(epoch) < context
        assert max(epoch) + context < 1003
    assert batches.windows < 3 or epochs[0] != epochs[1] != epochs[2]
    assert batches.windows * context > 1003 - 2 * context


@given(st.integers(0, 10**6), st.integers(0, 2**62), st.data())
@settings(deadline=None, max_examples=50)
def test_rows_are_slices_and_asking_again_changes_nothing(k: int, seed: int, data: st.DataObject) -> None:
    shards = _kept[0]
    batches = Batches(shards, seed=seed, batch_size=12, context=10)
    ids_BT, targets_BT = batches[k]
    first = data.draw(st.integers(0, 11))
    count = data.draw(st.integers(1, 12 - first))
    some_BT, next_BT = Batches(shards, seed=seed, batch_size=12, context=10).rows(k, first, count)
    assert torch.equal(some_BT, ids_BT[first : first + count])
    assert torch.equal(next_BT, targets_BT[first : first + count])


_kept: list[Shards] = []


@pytest.fixture(autouse=True)
def _keep(counted: Shards) -> None:
    """For hypothesis, which wants no fixture that lasts for one example."""
    _kept[:] = [counted]


def test_another_seed_is_another_order(counted: Shards) -> None:
    one, two = (starts(Batches(counted, seed=seed, batch_size=4, context=8), 0, 40) for seed in (1, 2))
    assert one != two


def test_how_the_shards_are_cut_changes_nothing(corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    made = []
    for size in (60, 1 << 20):
        pack(corpus, tokenizer, tmp_path / str(size), shard_tokens=size)
        made.append(Batches(open_shards(tmp_path / str(size)), seed=1, batch_size=4, context=32))
    for k in range(12):
        assert torch.equal(made[0][k][0], made[1][k][0])


def test_too_few_tokens_are_refused(counted: Shards) -> None:
    assert Batches(counted, seed=1, batch_size=1, context=501)[0][0].shape == (1, 501)
    with pytest.raises(
        InputError, match="has too few train tokens; expected at least 1004 for a context of 502; got 1003"
    ):
        Batches(counted, seed=1, batch_size=1, context=502)


@pytest.mark.parametrize(("batch_size", "context"), [(0, 8), (8, 0), (-1, 8)])
def test_empty_batches_are_refused(counted: Shards, batch_size: int, context: int) -> None:
    with pytest.raises(UsageError, match="at least 1 of each"):
        Batches(counted, seed=1, batch_size=batch_size, context=context)


class Numbered:
    """A corpus whose every token is its number."""

    folder, split, tokens, bytes = Path("numbered"), "train", 2000, 1

    def __init__(self, number: int) -> None:
        self.number = number

    def slice(self, start: int, count: int) -> np.ndarray:
        return np.arange(start, start + count) + 10_000 * self.number


def mixture(*shares: float, seed: int = 1, batch_size: int = 6) -> Mixture:
    corpora = [Batches(Numbered(n), seed=n, batch_size=1, context=8) for n in range(len(shares))]
    return Mixture(list(zip(corpora, shares, strict=True)), seed=seed, batch_size=batch_size)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.25, 0.05), (0.999, 0.001), (1.0,)])
def test_a_mixture_has_its_shares_and_takes_each_corpus_in_its_own_order(shares: tuple[float, ...]) -> None:
    """Slow twin: rows dealt out one by one to the corpora, each going on where it was."""
    mixed = mixture(*shares)
    rows = [row for k in range(500) for row in mixed[k][0]]
    sources = np.array([int(row[0]) // 10_000 for row in rows])
    for source, share in enumerate(shares):
        assert np.sum(sources == source) == round(3000 * share)
        alone = Batches(Numbered(source), seed=source, batch_size=1, context=8)
        for number, place in enumerate(np.flatnonzero(sources == source)):
            assert torch.equal(rows[place], torch.from_numpy(alone.window(number)[:-1]))


def test_a_mixture_is_a_function_of_seed_and_number() -> None:
    later = mixture(0.6, 0.4)
    asked = [later.rows(400, 2, 3)[0], later.rows(3, 2, 3)[0], later.rows(400, 2, 3)[0]]
    assert torch.equal(asked[0], mixture(0.6, 0.4)[400][0][2:5])
    assert torch.equal(asked[0], asked[2])
    assert torch.equal(mixture(0.6, 0.4, batch_size=3)[800][0], mixture(0.6, 0.4)[400][0][:3])
    assert not torch.equal(mixture(0.6, 0.4, seed=2)[3][0], later[3][0])
