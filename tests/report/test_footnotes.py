"""Lines below a table of scores."""

from __future__ import annotations

from dataclasses import replace

from selftaught.report.footnotes import footnotes
from selftaught.report.records import Score

ONE = Score(
    model="a", parameters=1, task="lambada", protocol="test; first 3; all tokens", metric="accuracy", value=0.5, error=0.1, n=3,
    seconds=1.0, baseline=0.1, baseline_words="chance",
)  # fmt: skip
OTHER = replace(ONE, metric="perplexity", protocol="test; first 3; the word", baseline_words="equally probable")


def test_what_a_task_s_metrics_share_is_said_once() -> None:
    assert list(footnotes([ONE, OTHER])) == [
        "baseline, lambada accuracy: chance",
        "baseline, lambada perplexity: equally probable",
        "protocol, lambada: test; first 3",
        "  accuracy: all tokens",
        "  perplexity: the word",
    ]
    apart = [replace(ONE, protocol="partial", baseline=None), replace(OTHER, protocol="full", baseline=None)]
    assert list(footnotes(apart)) == ["protocol, lambada:", "  accuracy: partial", "  perplexity: full"]
    alone = replace(ONE, task="cbt", protocol="blanks", baseline=None)
    assert list(footnotes([replace(ONE, task="nq"), alone])) == [
        "baseline, nq: chance",
        "protocol, nq: test; first 3; all tokens",
        "protocol, cbt: blanks",
    ]


def test_models_are_named_where_they_differ() -> None:
    second = [replace(ONE, model="b"), replace(OTHER, model="b")]
    assert list(footnotes([ONE, OTHER, *second])) == list(footnotes([ONE, OTHER]))
    cut = replace(second[1], protocol="test; first 3; the word; 2 cut")
    assert list(footnotes([ONE, OTHER, second[0], cut]))[2:] == [
        "protocol, lambada, a: test; first 3",
        "  accuracy: all tokens",
        "  perplexity: the word",
        "protocol, lambada, b: test; first 3",
        "  accuracy: all tokens",
        "  perplexity: the word; 2 cut",
    ]


def test_the_cells_of_a_grid_are_called_by_their_settings() -> None:
    cells = [
        replace(
            ONE, metric=f"perplexity (stride {stride})", protocol=f"test, stride {stride}; first 3{more}", baseline=None
        )
        for stride, more in ((32, "; of all 2 the nearest to the paper"), (0, ""))
    ]
    whole = replace(ONE, protocol="test; first 3", baseline=None)
    assert list(footnotes([whole, *cells])) == [
        "protocol, lambada: test; first 3",
        "  perplexity (stride 32): of all 2 the nearest to the paper",
    ]
