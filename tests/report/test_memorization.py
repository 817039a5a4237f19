"""What the page says about memorisation is what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from selftaught.report import memorization
from selftaught.report.page import write_report
from selftaught.report.records import Difference
from tests.report import fake_demo

FOUND = [fake_demo.memorization(name) for name in fake_demo.SIZES]


def test_tables_hold_the_numbers() -> None:
    lines = memorization.share_lines(FOUND[:1])
    values = FOUND[0].shares[1].by_document
    assert lines[1].cells[:3] == ("samples 1x32", "10", f"{100 * sum(values) / 10:.2f} %")
    assert [line.cells[0] for line in memorization.recall_lines(FOUND[:1])] == ["40", "3", "1", "0 (unseen)"]
    assert memorization.recall_lines(FOUND[:1])[0].cells[3:7] == ("12", "12", "12", "12")
    assert memorization.gap_lines(FOUND[:1])[0].cells[0] == f"{2.718281828**4:,.2f}"
    assert memorization.diversity_lines(FOUND[:1])[0].cells[-1] == "0.100"


def test_words_follow_the_intervals() -> None:
    one = FOUND[0]
    assert "share less with the training text" in memorization.difference_words(one)
    unsure = replace(one, more_copied=Difference(value=0.0, low=-0.1, high=0.1))
    assert "no different" in memorization.difference_words(unsure)
    assert "too few documents" in memorization.gap_words(one)
    assert "underfitting" in memorization.gap_words(replace(one, gap=replace(one.gap, high=0.05)))
    assert "better" in memorization.gap_words(replace(one, gap=replace(one.gap, low=0.05)))


def test_figures_run_over_sizes_and_end_at_one() -> None:
    shares = memorization.share_figure(FOUND)
    assert shares is not None
    assert [one.label for one in shares.series] == ["real", "1x32", "4x192"]
    assert all(one.points[-1].y == 1.0 for one in shares.series)
    gap = memorization.gap_figure(FOUND)
    assert gap is not None
    assert [point.x for point in gap.series[0].points] == [float(size) for size in fake_demo.SIZES.values()]
    assert memorization.gap_figure(FOUND[:1]) is None
    assert memorization.all_figures([]) == []


def test_smallest_and_largest_stand_beside_the_real_text() -> None:
    rows = memorization.side_by_side(FOUND)
    assert [title.split(",")[0] for title, _ in rows[0].texts] == ["real", "1x32", "4x192"]
    other = replace(FOUND[0], continued=FOUND[0].continued[::-1])
    assert memorization.side_by_side([other, FOUND[-1]]) == []
    assert [row.context for row in memorization.recalled(FOUND)] == ["held by 40", "held by 3"]


def test_the_page_shows_copies_with_their_places(tmp_path: Path) -> None:
    fake_demo.make_memorization(tmp_path / "m", "4x192", minute=1)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "from d3 at word 1,234" in page
    assert "Does it copy?" in page
    assert "<script>" not in page
