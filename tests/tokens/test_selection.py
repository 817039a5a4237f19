"""Some documents of a split as one text, beside a plain concatenation of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selftaught.errors import InputError, UsageError
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.packing import pack
from selftaught.tokens.selection import Selection, divide
from selftaught.tokens.shards import Shards, open_shards


@pytest.fixture(scope="module")
def shards(corpus: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    out = tmp_path_factory.mktemp("selection")
    pack(corpus, tokenizer, out, shard_tokens=60)
    return open_shards(out)


def joined(shards: Shards, documents: list[int]) -> np.ndarray:
    """Slow twin: the documents' tokens, one after another."""
    starts = [*shards.document_starts(), shards.tokens]
    return np.concatenate([shards.slice(starts[n], starts[n + 1] - starts[n]) for n in documents])


@given(st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reads_as_the_documents_one_after_another(shards, data):
    numbers = st.integers(0, shards.documents - 1)
    chosen = sorted(data.draw(st.sets(numbers, min_size=1)))
    selection, expected = Selection(shards, np.array(chosen)), joined(shards, chosen)
    assert selection.tokens == len(expected)
    start = data.draw(st.integers(0, len(expected)))
    count = data.draw(st.integers(0, len(expected) - start))
    assert np.array_equal(selection.slice(start, count), expected[start : start + count])


def test_two_parts_are_the_whole_and_a_seed_chooses(shards):
    large, small = divide(shards, 0.25, seed=1)
    assert large.tokens + small.tokens == shards.tokens
    assert large.bytes + small.bytes == pytest.approx(shards.bytes, abs=1)
    again, other = divide(shards, 0.25, seed=1)[1], divide(shards, 0.25, seed=2)[1]
    assert np.array_equal(small._starts, again._starts)
    assert not np.array_equal(small._starts, other._starts)
    assert not set(small._starts) & set(large._starts)


def test_refuses_what_is_not_there(shards):
    large, _ = divide(shards, 0.25, seed=1)
    with pytest.raises(UsageError, match="no tokens"):
        large.slice(large.tokens - 1, 2)
    single = Shards(shards.folder, shards.index, "train")
    single.documents = 1
    with pytest.raises(InputError, match="too few documents"):
        divide(single, 0.05, seed=1)
