"""What the page says about fine-tuning is what was measured, beside what GPT-1's paper prints."""

from __future__ import annotations

from pathlib import Path

from selftaught import storage
from selftaught.report import finetuning
from selftaught.report.collecting import collect
from selftaught.report.page import render
from selftaught.report.records import FINETUNED_FILE, FineTuned
from tests.report import fake_demo


def row(
    task: str, variant: str, value: float, *, split: str = "dev", metric: str = "accuracy", seeds: int = 3
) -> FineTuned:
    values = tuple(value + 0.01 * number for number in range(seeds))
    return FineTuned(
        model="4x192",
        parameters=2_616_386,
        task=task,
        variant=variant,
        split=split,
        metric=metric,
        median=values[len(values) // 2],
        lowest=values[0],
        highest=values[-1],
        by_seed=values,
        error=0.015,
        n=872,
        seconds=60.0,
        protocol="best of 3 epochs by dev <b>",
    )


FOUND = [
    row("sst2", "full", 0.74),
    row("sst2", "full", 0.75, split="test"),
    row("sst2", "full", 0.9, split="train"),
    row("sst2", "from-scratch", 0.7),
    row("mrpc", "full", 0.8, metric="f1", seeds=1),
    row("mrpc", "full", 0.7, metric="accuracy", seeds=1),
    row("own", "full", 0.5),
    *(
        row("sst2", f"layers-{number}", 0.6 + number / 100, split=split)
        for number in (1, 0, 2)
        for split in ("dev", "train")
    ),
]


def test_variants_stand_side_by_side_above_the_printed_numbers() -> None:
    found = finetuning.lines(FOUND)
    assert [(line.model, line.cells[0], line.cells[2]) for line in found] == [
        ("4x192", "SST-2", "dev"),
        ("4x192", "SST-2", "test"),
        ("GPT-1 paper, 117 M", "SST-2", "test"),
        ("4x192", "MRPC", "dev"),
        ("GPT-1 paper, 117 M", "MRPC", "test"),
        ("4x192", "MRPC", "dev"),
        ("4x192", "own files", "dev"),
    ]
    assert found[0].cells[4:] == ("75.0\n74.0 to 76.0", "", "71.0\n70.0 to 72.0", "")
    assert found[2].cells[4:] == ("91.3", "92.0", "84.0", "90.5")
    assert found[3].cells[4] == "80.0"
    assert all(len(line.cells) == len(finetuning.COLUMNS) for line in found)


def test_layers_are_drawn_in_their_order() -> None:
    (figure,) = finetuning.layer_figures(FOUND)
    assert [series.label for series in figure.series] == ["dev", "train"]
    assert [point.x for point in figure.series[0].points] == [0, 1, 2]
    assert finetuning.layer_figures(FOUND[:7]) == []


def test_the_page_has_the_section_where_there_is_something_to_show(tmp_path: Path) -> None:
    fake_demo.make_memorization(tmp_path / "m", "4x192", minute=1)
    assert 'id="finetuning"' not in render(collect(tmp_path))
    storage.write_json(tmp_path / "f" / storage.RUN_FILE, fake_demo.record("finetune", minute=2, seconds=1.0))
    storage.write_json(tmp_path / "f" / FINETUNED_FILE, FOUND)
    page = render(collect(tmp_path))
    assert 'id="finetuning"' in page
    assert "75.0<br><small>74.0 to 76.0</small>" in page
    assert "by dev &lt;b&gt;" in page
    assert "layers transferred" in page
