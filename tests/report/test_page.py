"""The page: self-contained, well-formed, escaped, honest about what is missing, and equal to the data."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from selftaught import errors, storage
from selftaught.cli.main import main
from selftaught.report.collecting import collect
from selftaught.report.page import duration, render, write_report
from selftaught.report.records import Score
from tests.report import fake_demo

VOID = {"meta", "br", "link", "img", "hr", "input"}
SECTIONS = ["answer", "tasks", "loss", "samples", "overlap", "memorization", "corpus", "paper", "runs"]


class Reader(HTMLParser):
    """Checks nesting and gathers text, attributes and sections."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def ids(self) -> list[str]:
        return [value for tag, name, value in self.attributes if (tag, name) == ("section", "id")]


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_demo.make_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def page(demo: Path) -> str:
    return write_report(demo).read_text(encoding="utf-8")


def test_is_well_formed_and_has_every_section(page: str) -> None:
    assert read(page).ids == SECTIONS


def test_loads_nothing_from_outside(page: str) -> None:
    reader = read(page)
    assert reader.scripts == 0
    for tag, name, value in reader.attributes:
        assert name not in ("src", "srcset", "data", "action", "poster", "xlink:href") or tag == "svg", (tag, name)
        if name == "href":
            assert value.startswith("#")
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_escapes_text_from_outside(page: str) -> None:
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "{{ 7 * 7 }}" in read(page).text
    assert page.count("</style>") == 1


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evil = '"><img src=x onerror=alert(1)>'
    scores = [
        Score(**{**msgspec.to_builtins(s), "model": evil + s.model, "task": evil})
        for name in fake_demo.SIZES
        for s in fake_demo.scores(name)[:1]
    ]
    record = fake_demo.record("evaluate", minute=1, seconds=1.0, words=(evil,), git=evil, versions={evil: evil})
    storage.write_json(tmp_path / "e" / storage.RUN_FILE, record)
    storage.write_json(tmp_path / "e" / "results.json", scores)
    storage.write_json(tmp_path / "t" / storage.RUN_FILE, fake_demo.record("train", minute=1, seconds=1.0))
    storage.write_jsonl(tmp_path / "t" / storage.LOG_FILE, fake_demo.learning("1x32"))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "<img" not in page
    assert "onerror=alert(1)>" in read(page).text


def test_answers_before_anything_else(page: str) -> None:
    text = read(page).text
    assert "larger models do better at most of what was measured" in text
    assert "Five of six improve from the smallest model to the largest." in text
    assert text.index("better at every step") < text.index("Score against size")


def test_figures_hold_the_numbers_of_the_data(demo: Path, page: str) -> None:
    scores = [score for name in fake_demo.SIZES for score in fake_demo.scores(name)]
    drawn = {(int(float(x)), float(y)) for x, y in re.findall(r'data-x="([^"]+)" data-y="([^"]+)"', page)}
    for score in scores:
        if score.metric != "accuracy_full":
            assert any(x == score.parameters and y == pytest.approx(score.value) for x, y in drawn), score
    errors_drawn = {float(value) for value in re.findall(r'data-error="([^"]+)"', page)}
    assert {0.041, 0.013, 0.03} <= errors_drawn


def test_tables_hold_ours_and_theirs(page: str) -> None:
    text = read(page).text
    assert "These are not the same work" in text
    for number in ("63.2 %", "18.34", "70.7 %", "52.66 %"):
        assert number in text
    assert "88,000" in text
    assert "± 0.041" in text
    assert "paper: LAMBADA, accuracy" in text


def test_scores_are_shown_on_examples_with_and_without_overlap(page: str) -> None:
    text = read(page).text
    cells = " ".join(["12.5 %"] * len(fake_demo.SIZES))
    assert f"Last words of held-out passages accuracy without overlap 115 {cells} with overlap 1,208 75.0 %" in text
    assert "bits per byte without overlap 0 with overlap 23 1.500" in text  # nothing without overlap: no value
    assert "from perplexity 8.6 to 8.7 and from 63.2 to 62.9 % accuracy" in text


def test_shades_tokens_by_probability(demo: Path, page: str) -> None:
    for name in ("1x32", "4x192"):
        pieces = fake_demo.samples(name)[1].pieces
        shades = [
            sum(piece.probability < step for step in (0.8, 0.5, 0.25, 0.1, 0.03, 0.01, 0.002)) for piece in pieces
        ]
        row = "".join(
            rf'<span class="p{shade}" title="[^"]+ (?:%|[0-9,]+)">{re.escape(piece.text)}</span>'
            for shade, piece in zip(shades[:30], pieces, strict=False)
        )
        assert re.search(row, page)


def test_names_command_versions_hashes_times_and_memory_of_every_stage(demo: Path, page: str) -> None:
    assert page.count("<details>") == len(collect(demo).stages) + 1
    text = read(page).text
    for words in (
        "selftaught corpus build",
        "torch 2.13.0+cpu",
        "73a714dc" * 8,
        "9 min 50 s",
        "584 MiB",
        "26dc7bca1f78",
    ):
        assert words in text


def test_funnel_lists_counts_and_reasons(page: str) -> None:
    text = read(page).text
    for words in ("karma below 3", "449", "near duplicate", "held out"):
        assert words in text


def test_results_are_flat_and_merged(demo: Path, page: str) -> None:
    rows = storage.read_json(demo / "results.json", list[dict[str, object]])
    fields = ["model", "parameters", "task", "protocol", "metric", "value", "error", "n", "seconds"]
    fields += ["baseline", "baseline_words", "float32_difference", "float32_n"]
    assert all(list(row) == fields for row in rows)
    assert len(rows) == sum(len(fake_demo.scores(name)) for name in fake_demo.SIZES)
    sizes = [int(str(row["parameters"])) for row in rows]
    assert sizes == sorted(sizes)


PARTS: dict[str, Callable[[Path], None]] = {
    "corpus": fake_demo.make_corpus,
    "train": lambda folder: fake_demo.make_training(folder, "2x64", minute=1),
    "evaluate": lambda folder: fake_demo.make_evaluation(folder, "2x64", minute=1),
    "generate": lambda folder: fake_demo.make_samples(folder, "2x64", minute=1),
    "overlap": lambda folder: fake_demo.make_overlap(folder, minute=1),
}
MISSING = {
    "corpus": "selftaught corpus local",
    "train": "selftaught train laptop --tokens TOKENS",
    "evaluate": "Nothing was evaluated here",
    "generate": "generate --model MODEL",
    "overlap": "selftaught overlap CORPUS",
}


@pytest.mark.parametrize("part", PARTS)
def test_one_run_alone_makes_a_page_that_says_what_to_type_for_the_rest(part: str, tmp_path: Path) -> None:
    PARTS[part](tmp_path)
    reader = read(write_report(tmp_path).read_text(encoding="utf-8"))
    assert reader.ids == SECTIONS
    for other, words in MISSING.items():
        assert (words in reader.text) == (other != part), other


def test_one_sample_is_not_shown_twice(tmp_path: Path) -> None:
    fake_demo.make_samples(tmp_path, "2x64", minute=1)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert page.count('<p class="text">') == 3


def test_keeps_the_results_of_an_evaluation_as_they_are(tmp_path: Path) -> None:
    fake_demo.make_evaluation(tmp_path, "2x64", minute=1)
    before = (tmp_path / "results.json").read_bytes()
    write_report(tmp_path)
    assert (tmp_path / "results.json").read_bytes() == before


def test_without_data_sets_it_compares_forms_and_says_how_to_add_them(tmp_path: Path) -> None:
    text = read(write_report(fake_demo.make_demo(tmp_path, data=False)).read_text(encoding="utf-8")).text
    assert "The same form of question, on other text" in text
    assert "The same data set" not in text
    assert "selftaught evaluate MODEL --data DATA" in text


def test_a_damaged_file_is_left_out_and_named(tmp_path: Path) -> None:
    fake_demo.make_demo(tmp_path)
    (tmp_path / "evaluation" / "2x64" / "results.json").write_text("[{", encoding="utf-8")
    (tmp_path / "overlap" / storage.RUN_FILE).write_bytes(b"\x00\xff")
    reader = read(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "evaluation/2x64/results.json cannot be read" in reader.text
    assert "overlap/run.json cannot be read" in reader.text
    assert "selftaught overlap CORPUS" in reader.text


def test_models_measured_on_different_tasks_stay_in_their_columns(tmp_path: Path) -> None:
    fake_demo.make_evaluation(tmp_path / "a", "1x32", minute=1, data=False)
    fake_demo.make_evaluation(tmp_path / "b", "4x192", minute=2)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    row = next(row for row in re.findall(r"<tr>.*?</tr>", page, flags=re.DOTALL) if "<td>WikiText-2</td>" in row)
    cells = re.findall(r'<td class="n">(.*?)</td>', row, flags=re.DOTALL)
    assert cells[0] == ""
    assert cells[1].startswith("1,151")


def test_a_second_measurement_replaces_the_first(tmp_path: Path) -> None:
    fake_demo.make_evaluation(tmp_path / "z", "1x32", minute=1)
    fake_demo.make_evaluation(tmp_path / "a", "1x32", minute=2)
    rows = [Score(**{**msgspec.to_builtins(score), "value": 9.0}) for score in fake_demo.scores("1x32")]
    storage.write_json(tmp_path / "a" / "results.json", rows)
    assert {score.value for score in collect(tmp_path).scores} == {9.0}
    assert len(collect(tmp_path).scores) == len(rows)


def test_a_log_that_is_being_written_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    fake_demo.make_training(tmp_path, "1x32", minute=1)
    with (tmp_path / storage.LOG_FILE).open("ab") as log:
        log.write(b'{"step": 7')
    assert len(collect(tmp_path).curves[tmp_path.name]) == 61


def test_is_the_same_whenever_it_is_made(demo: Path) -> None:
    assert render(collect(demo)) == render(collect(demo))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.44, "0.4 s"), (59.99, "1 min 0 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")]
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_verb_writes_both_files_and_says_where(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(demo, copy)
    assert main(["report", str(copy)]) == 0
    assert "report.html" in capsys.readouterr().out
    assert main(["report", str(copy), "--json"]) == 0
    assert len(msgspec.json.decode(capsys.readouterr().out)) == 48


@pytest.mark.parametrize("what", ["empty", "file", "absent"])
def test_nothing_to_report_is_one_clear_line(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / what
    if what == "empty":
        path.mkdir()
    if what == "file":
        path.write_text("x", encoding="utf-8")
    assert main(["report", str(path)]) == errors.InputError.exit_code
    shown = capsys.readouterr().err
    assert str(path) in shown
    assert shown.count("\n") == 1
