"""Windows of long texts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.errors import UsageError
from selftaught.inference.windows import windows
from tests.reference import sliding_window


@settings(deadline=None)
@given(length=st.integers(0, 100), context=st.integers(1, 20), data=st.data())
def test_windows_are_the_protocols(length, context, data):
    stride = data.draw(st.integers(1, context))
    found = windows(range(1, length + 1), 0, context, stride)
    assert list(found.pairs()) == [
        (tuple(range(start, first)), tuple(range(first, end)))
        for start, first, end in sliding_window.windows(length, context, stride)
    ]
    parts = found.stretches(data.draw(st.integers(1, 50)))
    assert [pair for part in parts for pair in found.pairs(part)] == list(found.pairs())


def test_windows_do_not_overlap_unless_asked():
    found = windows([1, 2, 3, 4, 5], 0, 2)
    assert list(found.pairs()) == [((0,), (1, 2)), ((2,), (3, 4)), ((4,), (5,))]
    assert found.stretches(3) == [range(2), range(2, 3)]
    for stride in (0, -1, 3):
        with pytest.raises(UsageError, match="1 to 2"):
            windows([1, 2, 3], 0, 2, stride)


def test_the_last_window_may_be_as_long_as_the_others():
    found = windows([1, 2, 3, 4, 5], 0, 2, filled=True)
    assert list(found.pairs())[-1] == ((3, 4), (5,))
