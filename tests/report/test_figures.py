"""Drawing: axes, ticks, labels that keep apart, values where the data is."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.report import figures
from selftaught.report.axes import Axis
from selftaught.report.figures import HEIGHT, WIDTH, Figure, Point, Series

POSITIVE = st.floats(1e-3, 1e9)


def drawn(figure: Figure) -> ET.Element:
    return ET.fromstring(figures.draw(figure))


def circles(svg: ET.Element) -> list[dict[str, str]]:
    return [dict(one.attrib) for one in svg.iter("circle")]


def a_figure(points: list[Point], **changes: object) -> Figure:
    values: dict[str, object] = {"title": "T", "x_label": "x", "y_label": "y", "series": [Series(points=points)]}
    return Figure(**(values | changes))  # type: ignore[arg-type]


@given(POSITIVE, POSITIVE)
def test_ticks_are_round_inside_and_in_order(a: float, b: float) -> None:
    low, high = sorted((a, b))
    for log in (False, True):
        ticks = Axis(low, high, (0.0, 1.0), log=log).ticks()
        assert ticks == sorted(ticks)
        assert all(low - 1e-6 * high <= tick <= high * (1 + 1e-6) for tick in ticks)
        if high > low * 1.5:
            assert 2 <= len(ticks) <= 12


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=6), st.booleans(), st.booleans())
def test_every_point_is_inside_the_drawing_and_keeps_its_value(
    values: list[tuple[float, float]], log_x: bool, log_y: bool
) -> None:
    points = [Point(x=x, y=y) for x, y in values]
    found = circles(drawn(a_figure(points, log_x=log_x, log_y=log_y)))
    assert len(found) == len(points)
    for point, circle in zip(points, found, strict=True):
        assert 0 <= float(circle["cx"]) <= WIDTH
        assert 0 <= float(circle["cy"]) <= HEIGHT
        assert float(circle["data-x"]) == pytest.approx(point.x)
        assert float(circle["data-y"]) == pytest.approx(point.y)


@pytest.mark.parametrize("values", [(-0.05, 0.2, 0.4), (-0.3, -0.2, -0.1), (0.0, 0.5, 1.0), (-0.1,)])
def test_correlations_below_zero_are_drawn_inside_the_axes(values: tuple[float, ...]) -> None:
    """Matthews' of a network that learned nothing, where other measures of a task are shares."""
    points = [Point(x=number, y=value, error=0.02) for number, value in enumerate(values)]
    svg = drawn(a_figure(points, percent_y=True))
    bottom = max(float(line.attrib["y1"]) for line in svg.iter("line") if line.attrib["class"] == "axis")
    tops = [float(circle["cy"]) for circle in circles(svg)]
    assert all(0 < top <= bottom for top in tops)
    assert len(set(tops)) == len(values)
    assert tops == sorted(tops, reverse=True)


def test_places_are_proportional_to_the_values() -> None:
    points = [Point(x=1, y=1.0), Point(x=10, y=2.0), Point(x=100, y=4.0)]
    first, second, third = circles(drawn(a_figure(points, log_x=True)))
    x = [float(one["cx"]) for one in (first, second, third)]
    y = [float(one["cy"]) for one in (first, second, third)]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    assert y[1] - y[2] == pytest.approx(2 * (y[0] - y[1]), abs=0.3)


def test_a_tick_stands_where_its_number_belongs() -> None:
    svg = drawn(a_figure([Point(x=0, y=0.0), Point(x=10, y=100.0)]))
    texts = {one.text: float(one.attrib["y"]) - 4 for one in svg.iter("text") if one.attrib["text-anchor"] == "end"}
    low, high = (float(one["cy"]) for one in circles(svg))
    assert texts["50"] == pytest.approx((low + high) / 2, abs=0.2)


def test_error_bars_reach_as_far_as_the_error() -> None:
    svg = drawn(a_figure([Point(x=1, y=1.0, error=0.5), Point(x=2, y=2.0, error=0.25)]))
    bars = [one for one in svg.iter("line") if one.attrib["class"].startswith("bar")]
    lengths = [float(one.attrib["y2"]) - float(one.attrib["y1"]) for one in bars]
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=0.3)
    assert [one.attrib["data-error"] for one in bars] == ["0.5", "0.25"]


@given(st.lists(st.floats(0, 200), min_size=2, max_size=6))
def test_labels_at_the_ends_of_lines_never_overlap(ends: list[float]) -> None:
    series = [Series(points=[Point(x=0, y=0.0), Point(x=1, y=end)], label=f"n{n}") for n, end in enumerate(ends)]
    svg = drawn(a_figure([], series=series))
    tops = sorted(float(one.attrib["y"]) for one in svg.iter("text") if one.attrib["class"].startswith("label"))
    assert len(tops) == len(ends)
    assert all(after - before >= 14.8 for before, after in pairwise(tops))


def test_labels_stay_inside_the_drawing_even_if_long() -> None:
    series = [Series(points=[Point(x=0, y=0.0), Point(x=1, y=1.0)], label="a-very-long-name-of-a-training-run")]
    svg = drawn(a_figure([], series=series))
    label = next(one for one in svg.iter("text") if one.attrib["class"].startswith("label"))
    assert label.text == "a-very-long-.."
    assert float(label.attrib["x"]) + 7 * len(label.text) <= WIDTH + 1


def test_numbers_in_percent_and_with_equal_decimals() -> None:
    assert list(figures.marks([0.05, 0.075, 0.1], percent=True).values()) == ["5.0 %", "7.5 %", "10.0 %"]
    assert list(figures.marks([1.8, 2.0, 2.2]).values()) == ["1.8", "2.0", "2.2"]
    assert list(figures.marks([500, 1000, 20000]).values()) == ["500", "1k", "20k"]


@pytest.mark.parametrize(
    ("value", "text"), [(999.9, "1k"), (152_032, "152k"), (1.5576e9, "1.56B"), (0.25, "0.25"), (0, "0")]
)
def test_short(value: float, text: str) -> None:
    assert figures.short(value) == text


def test_a_level_is_drawn_with_its_name() -> None:
    svg = drawn(a_figure([Point(x=1, y=0.4), Point(x=2, y=0.6)], level=0.5, percent_y=True))
    assert "chance" in [one.text for one in svg.iter("text")]
    line = next(one for one in svg.iter("line") if one.attrib["class"] == "level")
    low, high = (float(one["cy"]) for one in circles(svg))
    assert float(line.attrib["y1"]) == pytest.approx((low + high) / 2, abs=0.2)


def test_names_and_titles_are_escaped() -> None:
    nasty = '<b>"&'
    points = [Point(x=1, y=1.0, title=nasty, label=nasty), Point(x=2, y=2.0)]
    text = figures.draw(a_figure(points, title=nasty, x_label=nasty, y_label=nasty))
    assert "<b>" not in text
    ET.fromstring(text)


def test_a_drawing_tells_its_numbers_to_those_who_cannot_see_it() -> None:
    svg = drawn(a_figure([Point(x=1000, y=1.5), Point(x=2000, y=1.25)], title="Held-out text"))
    assert svg.attrib["role"] == "img"
    assert "Held-out text" in svg.attrib["aria-label"]
    assert "1.5 at 1k, 1.25 at 2k" in svg.attrib["aria-label"]


def test_nothing_is_drawn_of_nothing() -> None:
    assert figures.draw(a_figure([])) == ""


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], [3.0, 1.0]])
def test_sparks_stay_inside(values: list[float]) -> None:
    places = re.findall(r"([\d.]+),([\d.]+)", figures.spark(values))
    assert len(places) == len(values)
    assert all(0 <= float(x) <= 80 and 0 <= float(y) <= 24 for x, y in places)
