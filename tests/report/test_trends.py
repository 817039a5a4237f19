"""Verdicts, headlines, formats, comparisons, shades and the thinning of curves."""

from __future__ import annotations

import pytest

from selftaught.corpus.documents import FunnelRow
from selftaught.report import charts, published, tables
from selftaught.report.collecting import Material
from selftaught.report.records import LearningPoint, Piece, Score
from selftaught.report.trends import Trend, answers, formatted, headline, trends
from tests.report import fake_demo


def scores(values: list[float], *, task: str = "cloze", metric: str = "accuracy", error: float = 0.01) -> list[Score]:
    return [
        Score(
            model=f"m{n}",
            parameters=10**n,
            task=task,
            protocol="",
            metric=metric,
            value=value,
            error=error,
            n=9,
            seconds=1.0,
        )
        for n, value in enumerate(values, start=3)
    ]


def trend(values: list[float], metric: str = "accuracy", error: float = 0.01) -> Trend:
    return Trend(task="cloze", metric=metric, scores=scores(values, metric=metric, error=error))


@pytest.mark.parametrize(
    ("values", "metric", "verdict", "direction"),
    [
        ([0.1, 0.2, 0.3], "accuracy", "better at every step", "better"),
        ([0.1, 0.3, 0.2], "accuracy", "better, not at every step", "better"),
        ([0.1, 0.3, 0.105], "accuracy", "no clear change", "unclear"),
        ([0.3, 0.2, 0.1], "accuracy", "worse", "worse"),
        ([0.3, 0.3], "accuracy", "no clear change", "unclear"),
        ([3.0, 2.0, 1.0], "perplexity", "better at every step", "better"),
        ([1.0, 2.0, 1.5], "bits_per_byte", "worse", "worse"),
        ([1.0], "perplexity", "", ""),
    ],
)
def test_verdict(values: list[float], metric: str, verdict: str, direction: str) -> None:
    assert trend(values, metric).verdict == verdict
    assert trend(values, metric).direction == direction


def test_a_fall_within_the_error_is_not_called_worse() -> None:
    assert trend([0.513, 0.511, 0.512], error=0.03).verdict == "no clear change"


def test_answers_have_each_task_once_and_no_training_text() -> None:
    rows = [score for name in fake_demo.SIZES for score in fake_demo.scores(name)]
    found = answers(trends(rows))
    assert [one.task for one in found] == ["heldout", "lastword", "cloze", "lambada", "wikitext2", "winograd"]
    assert found[0].metric == "bits_per_byte"


@pytest.mark.parametrize(
    ("better", "worse", "words"),
    [
        (3, 0, "at everything measured"),
        (2, 1, "most of"),
        (1, 2, "some of"),
        (0, 2, "no better here"),
        (0, 0, "What was learned"),
    ],
)
def test_headline_is_as_strong_as_the_data(better: int, worse: int, words: str) -> None:
    shown = [trend([0.1, 0.2])] * better + [trend([0.2, 0.1])] * worse
    assert words in headline(shown, 2).title


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (0.1234, "accuracy_CN", "12.3 %"),
        (1.23456, "bits_per_byte", "1.235"),
        (8.631, "perplexity", "8.63"),
        (123.46, "perplexity", "123.5"),
        (88_000.4, "perplexity", "88,000"),
    ],
)
def test_formatted(value: float, metric: str, text: str) -> None:
    assert formatted(value, metric) == text


def test_comparisons_put_the_same_data_first_and_say_what_the_others_are_beside() -> None:
    rows = [score for name in fake_demo.SIZES for score in fake_demo.scores(name)]
    found = tables.comparisons(trends(rows), tables.models(rows))
    assert [row.same_data for row in found] == sorted((row.same_data for row in found), reverse=True)
    winograd = next(row for row in found if row.ours_title.startswith("Winograd"))
    assert winograd.theirs == ["", "", "", "70.7 %"]
    cloze = next(row for row in found if row.ours_title.startswith("Cloze"))
    assert "Children's Book Test" in cloze.theirs_title
    assert cloze.theirs[0] == "87.7 %"


def test_published_numbers_are_the_papers() -> None:
    assert [one.value for one in published.printed("wikitext103", "perplexity")] == [37.50, 26.37, 22.05, 17.48]
    assert published.nearest("lambada", "perplexity", 2_000_000_000) == "8.63 (1542M)"
    assert published.nearest("heldout", "perplexity", 1) == ""
    assert published.nearest("cnndm", "rouge_lede3_average", 1) == "0.3155 (1542M)"


def test_the_mean_of_table_6_is_the_papers() -> None:
    shares = published.OVERLAP_WITH_WEBTEXT.values()
    assert len(shares) == 6
    assert round(100 * sum(shares) / len(shares), 1) == 3.2


def test_shades_grow_as_probability_falls_and_long_samples_are_cut() -> None:
    pieces = [Piece(text="word ", probability=p) for p in (1.0, 0.6, 0.3, 0.2, 0.05, 0.02, 0.005, 0.0001)]
    assert [one.shade for one in tables.shaded(pieces, 100)] == list(range(8))
    broken = tables.shaded([Piece(text="\n", probability=1.0)] * 90, 1000)
    assert len(broken) < 30
    cut = tables.shaded(pieces, 12)
    assert [one.text for one in cut] == ["word ", "word ", " ..."]


@pytest.mark.parametrize(
    ("probability", "words"),
    [(1.0, "100 %"), (0.25, "25 %"), (0.0004, "1 in 2,500"), (0.0, "less than 1 in a million million")],
)
def test_probability_words(probability: float, words: str) -> None:
    assert tables.probability_words(probability) == words


def test_funnel_orders_reasons_by_count_and_keeps_stages_together() -> None:
    rows = [
        ("a", "", 10),
        ("a", "rare", 1),
        ("a", "often", 6),
        ("a", "kept", 3),
        ("split", "train", 2),
        ("split", "heldout", 1),
    ]
    lines = tables.funnel([FunnelRow(stage=stage, reason=reason, count=count) for stage, reason, count in rows])
    assert [line.text for line in lines] == ["came in", "often", "rare", "kept", "train", "held out"]
    assert [line.stage for line in lines] == ["a", "", "", "", "split", ""]
    assert [line.share for line in lines[:2]] == [1.0, 0.6]
    assert tables.funnel([]) == []


def test_training_curves_are_means_and_held_out_ones_as_measured() -> None:
    points = [
        LearningPoint(
            step=n,
            tokens=100 * n,
            loss=4.0 + (-1) ** n,
            rate=0.1,
            gradient_norm=1,
            tokens_per_second=1,
            seconds=n,
            heldout_bits_per_byte=2.0 if n % 100 == 0 else None,
        )
        for n in range(1, 5001)
    ]
    training, heldout = charts.loss_figures(Material(stages=[], curves={"a": points}))
    drawn = training.series[0].points
    assert len(drawn) < 60
    assert [p.x for p in drawn] == sorted(p.x for p in drawn)
    assert all(p.y == pytest.approx(4.0, abs=0.1) for p in drawn[-12:])
    assert [p.x for p in heldout.series[0].points] == [100.0 * n for n in range(100, 5001, 100)]


def test_learning_curves_go_from_the_smallest_model_to_the_largest() -> None:
    curves = {name: fake_demo.learning(name) for name in reversed(fake_demo.SIZES)}
    rows = [score for name in fake_demo.SIZES for score in fake_demo.scores(name)]
    for known in (rows, []):
        figure = charts.loss_figures(Material(stages=[], scores=known, curves=curves))[-1]
        assert [series.label for series in figure.series] == list(fake_demo.SIZES)


def test_cumulated_overlap_ends_at_all_texts() -> None:
    figure = charts.overlap_figure(fake_demo.overlaps())
    assert figure is not None
    assert [series.label for series in figure.series] == ["held out", "1x32", "4x192"]
    for series in figure.series:
        assert (series.points[-1].x, series.points[-1].y) == (1.0, 1.0)
        assert [p.y for p in series.points] == sorted(p.y for p in series.points)
    shares = sorted(fake_demo.overlaps()[0].by_document)
    assert figure.series[0].points[2].x == shares[0]
    assert figure.series[0].points[2].y == pytest.approx(1 / len(shares))
