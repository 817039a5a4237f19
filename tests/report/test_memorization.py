"""What the page says about memorisation is what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selftaught.report import gaps, memorization
from selftaught.report.overlap_records import Difference, DocumentLoss, Gap
from selftaught.report.page import write_report
from tests.report import fake_demo

FOUND = [fake_demo.memorization(name) for name in fake_demo.SIZES]


def test_tables_hold_the_numbers() -> None:
    lines = memorization.share_lines(FOUND[:1])
    values = FOUND[0].shares[1].by_document
    assert lines[1].cells[:3] == ("samples 1x32", "10", f"{100 * sum(values) / 10:.2f} %")
    assert [line.cells[0] for line in memorization.recall_lines(FOUND[:1])] == ["40", "3", "1", "0 (unseen)"]
    assert memorization.recall_lines(FOUND[:1])[0].cells[3:7] == ("12", "12", "12", "12")
    assert gaps.gap_lines(FOUND[:1])[0].cells[0] == f"{2.718281828**4:,.2f}"
    assert memorization.diversity_lines(FOUND[:1])[0].cells[-1] == "0.100"


def test_words_follow_the_intervals() -> None:
    one = FOUND[0]
    assert "share less with the training text" in memorization.difference_words(one)
    unsure = replace(one, more_copied=Difference(value=0.0, low=-0.1, high=0.1))
    assert "do not differ" in memorization.difference_words(unsure)
    assert "too few documents" in gaps.gap_words(one)
    assert "underfitting" in gaps.gap_words(replace(one, gap=replace(one.gap, high=0.05)))
    assert "better" in gaps.gap_words(replace(one, gap=replace(one.gap, low=0.05)))


def test_figures_run_over_sizes_and_end_at_one() -> None:
    shares = memorization.share_figure(FOUND)
    assert shares is not None
    assert [one.label for one in shares.series] == ["real", "1x32", "4x192"]
    assert all(one.points[-1].y == 1.0 for one in shares.series)
    (gap,) = gaps.gap_figures(FOUND)
    assert [point.x for point in gap.series[0].points] == [float(size) for size in fake_demo.SIZES.values()]
    assert gaps.gap_figures(FOUND[:1]) == []
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


def test_the_gaps_of_two_sizes_are_compared_document_by_document() -> None:
    change = gaps.gap_change([FOUND[0], FOUND[-1]])
    assert change is not None
    gain = FOUND[0].gap.train - FOUND[-1].gap.train
    assert change.value == pytest.approx(0.1 * gain)
    # Every document is as much harder for one as for the other: nothing is left to be unsure of.
    assert change.high - change.low < 1e-6
    assert "is larger" in gaps.change_words(FOUND)
    other = replace(FOUND[0], gap=replace(FOUND[0].gap, train_documents=FOUND[0].gap.train_documents[::-1]))
    assert gaps.gap_change([other, FOUND[-1]]) is None
    assert gaps.change_words(FOUND[:1]) == ""


def test_the_interval_of_a_change_is_that_of_resampling_documents() -> None:
    draw = np.random.default_rng(1)
    tokens = draw.integers(50, 500, 300)
    hard = draw.normal(0, 0.5, 300)

    def gap(mean: float) -> Gap:
        losses = [
            DocumentLoss(document=str(n), nats=float(t * (mean + h + e)), tokens=int(t))
            for n, (t, h, e) in enumerate(zip(tokens, hard, draw.normal(0, 0.2, 300), strict=True))
        ]
        return replace(FOUND[0].gap, train_documents=tuple(losses[:150]), heldout_documents=tuple(losses[150:]))

    pair = [replace(FOUND[0], gap=gap(4.0)), replace(FOUND[0], gap=gap(3.0))]
    change = gaps.gap_change(pair)
    assert change is not None
    sides = [[(one.gap.train_documents, one.gap.heldout_documents)[side] for one in pair] for side in (0, 1)]
    resampled = []
    for _ in range(1000):
        found = []
        for small, large in sides:
            rows = draw.integers(0, 150, 150)
            ratios = [sum(one[r].nats for r in rows) / sum(one[r].tokens for r in rows) for one in (small, large)]
            found.append(ratios[1] - ratios[0])
        resampled.append(found[1] - found[0])
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert change.high - change.low == pytest.approx(high - low, rel=0.12)
