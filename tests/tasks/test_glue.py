"""Readers of the twelve tasks and of one's own files: official forms, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from selftaught.errors import InputError, UsageError
from selftaught.tasks import agreement, glue
from selftaught.tasks.labelled import held_out
from selftaught.tasks.own import OwnData, read_own


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def tabs(*cells: object) -> str:
    return "\t".join(map(str, cells))


def one_by_one(examples):
    return [(one.first, one.second, one.label) for one in examples]


SENTENCES = ("It 's fine", 'a "quoted" mess')
MNLI = (
    "index",
    "promptID",
    "pairID",
    "genre",
    "b1",
    "b2",
    "p1",
    "p2",
    "sentence1",
    "sentence2",
    "label1",
    "gold_label",
)


def mnli(label: str) -> str:
    return tabs(0, 1, "1e", "fiction", "( b )", "( b )", "(p)", "(p)", *SENTENCES, "neutral", label)


PAIRS = {
    "mnli": {
        "MNLI/train.tsv": [tabs(*MNLI), mnli("entailment"), mnli("contradiction"), mnli("-")],
        "MNLI/dev_matched.tsv": [tabs(*MNLI), mnli("neutral")],
        "MNLI/dev_mismatched.tsv": [tabs(*MNLI), mnli("entailment")],
    },
    "snli": {
        f"snli_1.0/snli_1.0_{split}.jsonl": [
            json.dumps({"gold_label": label, "sentence1": SENTENCES[0], "sentence2": SENTENCES[1]})
            for label in ("entailment", "contradiction", "-")
        ]
        for split in ("train", "dev", "test")
    },
    "qnli": {
        f"QNLI/{split}.tsv": [tabs("index", "question", "sentence", "label")]
        + [tabs(0, *SENTENCES, label) for label in ("entailment", "not_entailment")]
        for split in ("train", "dev")
    },
    "rte": {
        f"RTE/{split}.tsv": [tabs("index", "sentence1", "sentence2", "label")]
        + [tabs(0, *SENTENCES, label) for label in ("entailment", "not_entailment")]
        for split in ("train", "dev")
    },
    "scitail": {
        f"SciTailV1.1/tsv_format/scitail_1.0_{split}.tsv": [tabs(*SENTENCES, label) for label in ("entails", "neutral")]
        for split in ("train", "dev", "test")
    },
    "mrpc": {
        f"MRPC/msr_paraphrase_{split}.txt": ["\ufeff" + tabs("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")]
        + [tabs(label, 1, 2, *SENTENCES) for label in (1, 0, 1, 0)]
        for split in ("train", "test")
    },
    "qqp": {
        f"QQP/{split}.tsv": [tabs("id", "qid1", "qid2", "question1", "question2", "is_duplicate")]
        + [tabs(1, 2, 3, *SENTENCES, label) for label in (1, 0)]
        for split in ("train", "dev")
    },
    "stsb": {
        f"STS-B/{split}.tsv": [
            tabs(
                "index",
                "genre",
                "filename",
                "year",
                "old_index",
                "source1",
                "source2",
                "sentence1",
                "sentence2",
                "score",
            )
        ]
        + [tabs(0, "g", "f", 2012, 1, "s", "s", *SENTENCES, score) for score in ("3.800", "0.000")]
        for split in ("train", "dev")
    },
}
LABELS = {"mnli": [0, 2], "snli": [0, 2], "mrpc": [1, 0, 1, 0], "qqp": [1, 0], "stsb": [3.8, 0.0]}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_read_from_their_official_files(name, tmp_path):
    for path, lines in PAIRS[name].items():
        write(tmp_path / path, *lines)
    task = glue.read_task(name, tmp_path)
    found = sorted([*task.splits.train, *(task.splits.dev if name == "mrpc" else [])], key=lambda one: one.id)
    assert [one.label for one in found] == LABELS.get(name, [0, 1])
    assert {(one.first, one.second) for one in found} == {SENTENCES}
    others = {"mnli": ["mismatched"], "snli": ["test"], "scitail": ["test"], "mrpc": ["test"]}
    assert list(task.splits.others) == others.get(name, [])
    assert any("without a label" in note for note in task.splits.notes) == (name in ("mnli", "snli"))


def test_single_sentences_are_read_from_their_official_files(tmp_path):
    for split in ("train", "dev"):
        write(tmp_path / f"SST-2/{split}.tsv", tabs("sentence", "label"), tabs(SENTENCES[0], 1), tabs(SENTENCES[1], 0))
        write(tmp_path / f"CoLA/{split}.tsv", tabs("gj04", 1, "", SENTENCES[0]), tabs("gj04", 0, "*", SENTENCES[1]))
    write(tmp_path / "SST-2/test.tsv", tabs("index", "sentence"), tabs(0, "no label here"))
    for name in ("sst2", "cola"):
        splits = glue.read_task(name, tmp_path).splits
        assert one_by_one(splits.train) == one_by_one(splits.dev) == [(SENTENCES[0], "", 1), (SENTENCES[1], "", 0)]
        assert not splits.others


def test_json_lines_with_numbers_or_names_as_labels(tmp_path):
    rows = [{"sentence1": "a", "sentence2": "b", "label": label} for label in (0, 1, "entailment", "not_entailment")]
    write(tmp_path / "RTE/train.jsonl", *map(json.dumps, rows))
    write(tmp_path / "RTE/dev.jsonl", *map(json.dumps, rows))
    assert [one.label for one in glue.read_task("rte", tmp_path / "RTE").splits.train] == [0, 1, 0, 1]


PASSAGE = {
    "id": "high1.txt",
    "article": "Some text.",
    "questions": ["Who?", "What _ ?"],
    "options": [["a", "b", "c", "d"], ["e", "f", "g", "h"]],
    "answers": ["B", "D"],
}


@pytest.mark.parametrize("unpacked", [True, False])
def test_race_is_read_as_unpacked_and_as_json_lines(tmp_path, unpacked):
    for split in ("train", "dev", "test"):
        for level in ("middle", "high"):
            name = f"RACE/{split}/{level}/1.txt" if unpacked else f"RACE/{split}-{level}.jsonl"
            write(tmp_path / name, json.dumps(PASSAGE))
    splits = glue.read_task("race", tmp_path).splits
    assert [(one.second, one.options[one.label]) for one in splits.train[:2]] == [("Who?", "b"), ("What _ ?", "h")]
    assert (len(splits.train), len(splits.dev)) == (4, 4)
    assert {name: len(rows) for name, rows in splits.others.items()} == {"test": 4, "middle": 2, "high": 2}
    write(
        tmp_path / "RACE" / ("train/high/1.txt" if unpacked else "train-high.jsonl"),
        json.dumps(PASSAGE | {"answers": ["B"]}),
    )
    with pytest.raises(InputError, match="equally many"):
        glue.read_task("race", tmp_path)


STORY = ",".join(
    (
        "InputStoryid",
        *(f"InputSentence{number}" for number in range(1, 5)),
        *(f"RandomFifthSentenceQuiz{number}" for number in (1, 2)),
        "AnswerRightEnding",
    )
)


def test_story_cloze_is_split_as_openai_split_it(tmp_path):
    def stories(count):
        return [STORY, *(f'{n},"One, {n}.",Two.,Three.,Four.,good{n},bad{n},{1 + n % 2}' for n in range(count))]

    write(tmp_path / "StoryCloze/cloze_test_val__spring2016 - cloze_test_ALL_val.csv", *stories(1871))
    write(tmp_path / "StoryCloze/cloze_test_test__spring2016 - cloze_test_ALL_test.csv", *stories(5))
    splits = glue.read_task("storycloze", tmp_path).splits
    assert (len(splits.train), len(splits.dev), len(splits.others["test"])) == (1497, 374, 5)
    order = np.random.RandomState(3535999445).permutation(1871)
    assert [one.options[0] for one in splits.dev[:5]] == [f"good{n}" for n in order[:5]]
    assert [one.options[0] for one in splits.train[:5]] == [f"good{n}" for n in order[374:379]]
    first = splits.others["test"][1]
    assert (first.first, first.options, first.label) == ("One, 1. Two. Three. Four.", ("good1", "bad1"), 1)
    write(tmp_path / "StoryCloze/x_val.csv", STORY, "1,a,b,c,d,e,f,3")
    (tmp_path / "StoryCloze/cloze_test_val__spring2016 - cloze_test_ALL_val.csv").unlink()
    with pytest.raises(InputError, match=r"x_val.csv, line 2 .*1 or 2"):
        glue.read_task("storycloze", tmp_path)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([tabs("sentence", "labels"), tabs("fine", 1)], "no training examples"),
        ([tabs("text", "label"), tabs("fine", 1)], r"line 2 .*column sentence.*columns text, label"),
        ([tabs("sentence", "label"), tabs("fine", 1), tabs("good", 7)], r"line 3 .*negative, positive.*'7'"),
        ([tabs("sentence", "label"), tabs("fine", 1), tabs(" ", 0)], r"line 3 .*empty"),
        ([tabs("sentence", "label"), tabs("fine", 1), tabs("good", 1)], "one label.*positive"),
        ([""], "holds no rows"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_by_line(tmp_path, lines, words):
    write(tmp_path / "SST-2/train.tsv", *lines)
    write(tmp_path / "SST-2/dev.tsv", tabs("sentence", "label"), tabs("fine", 1))
    with pytest.raises(InputError, match=words):
        glue.read_task("sst2", tmp_path)


def test_a_score_out_of_range_is_refused(tmp_path):
    for score in ("5.5", "nan", "much"):
        write(tmp_path / "STS-B/train.tsv", tabs("sentence1", "sentence2", "score"), tabs("a", "b", score))
        with pytest.raises(InputError, match=r"line 2 .*score from 0 to 5"):
            glue.read_task("stsb", tmp_path)


def test_unusable_rows_are_left_out_and_counted_if_asked(tmp_path):
    header = tabs("id", "qid1", "qid2", "question1", "question2", "is_duplicate")
    write(
        tmp_path / "QQP/train.tsv",
        header,
        tabs(1, 2, 3, "a", "b", 1),
        tabs(1, 2),
        tabs(1, 2, 3, "", "b", 1),
        tabs(1, 2, 3, "a", "b", 0),
    )
    write(tmp_path / "QQP/dev.tsv", header, tabs(1, 2, 3, "a", "b", 1))
    with pytest.raises(InputError, match="line 3"):
        glue.read_task("qqp", tmp_path)
    splits = glue.read_task("qqp", tmp_path, skip_unusable=True).splits
    assert len(splits.train) == 2
    assert "2 unusable rows left out" in splits.notes


def test_an_unknown_task_or_empty_folder(tmp_path):
    with pytest.raises(UsageError, match="Did you mean sst2"):
        glue.read_task("sst", tmp_path)
    for name in glue.TASKS:
        with pytest.raises(InputError, match=r"race|stor|" + name):
            glue.read_task(name, tmp_path)


def test_a_held_out_tenth_is_the_same_each_time(tmp_path):
    write(tmp_path / "a.csv", "text,label", *(f"text {n},{n % 2}" for n in range(50)))
    data = OwnData(train=tmp_path / "a.csv")
    task = read_own(data)
    assert (len(task.splits.train), len(task.splits.dev)) == (45, 5)
    assert task == read_own(data)
    whole = [*task.splits.train, *task.splits.dev]
    assert len({one.id for one in whole}) == 50
    assert held_out(whole, "other")[1] != task.splits.dev


def test_ones_own_files_with_named_columns(tmp_path):
    write(tmp_path / "a.csv", "stars,review", '3,"good, really"', "1,bad", "10,best")
    write(tmp_path / "b.jsonl", json.dumps({"stars": 10, "review": "x"}))
    data = OwnData(train=tmp_path / "a.csv", dev=tmp_path / "b.jsonl", text="review", label="stars")
    task = read_own(data)
    assert task.labels.names == ("1", "3", "10")
    assert one_by_one(task.splits.train) == [("good, really", "", 1), ("bad", "", 0), ("best", "", 2)]
    assert [one.label for one in task.splits.dev] == [2]
    write(tmp_path / "b.jsonl", json.dumps({"stars": 4, "review": "x"}))
    with pytest.raises(InputError, match=r"b.jsonl, line 1 .*1, 3, 10"):
        read_own(data)
    write(tmp_path / "c.jsonl", *(json.dumps({"q": "why", "a": ["x", "y"], "label": n}) for n in (0, "B")))
    choice = read_own(
        OwnData(train=tmp_path / "c.jsonl", dev=tmp_path / "c.jsonl", kind="choice", text="q", options=("a",))
    )
    assert [(one.options, one.label) for one in choice.splits.train] == [(("x", "y"), 0), (("x", "y"), 1)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": "star"}, r"line 2 .*column star.*columns stars, review"),
        ({"text": "texts"}, r"line 2 .*column texts"),
        ({"kind": "similarity"}, "--second"),
        ({"kind": "choice"}, "--options"),
        ({"second": "stars"}, "--kind"),
        ({"measure": "pearson"}, "--highest"),
        ({"measure": "f2"}, "unknown measure"),
        ({"train": None}, "--train"),
        ({"train": Path("nowhere.csv")}, "cannot read"),
    ],
)
def test_what_is_wrong_with_ones_own_files(tmp_path, changes, words):
    write(tmp_path / "a.csv", "stars,review", "3,good", "1,bad")
    values = {"train": tmp_path / "a.csv", "text": "review", "label": "stars"} | changes
    with pytest.raises((InputError, UsageError), match=words):
        read_own(OwnData(**values))


def test_one_label_only_is_refused(tmp_path):
    write(tmp_path / "a.csv", "label,text", "1,good", "1,bad")
    with pytest.raises(InputError, match="one label"):
        read_own(OwnData(train=tmp_path / "a.csv"))


def test_measures_agree_with_their_definitions():
    chosen, labels = [1, 0, 1, 1, 0, 1], [1, 1, 0, 1, 0, 1]
    assert agreement.MEASURES["f1"](chosen, labels).value == pytest.approx(2 * 3 / (4 + 4))
    matthews = (3 * 1 - 1 * 1) / (4 * 4 * 2 * 2) ** 0.5
    assert agreement.MEASURES["matthews"](chosen, labels).value == pytest.approx(matthews)
    scores, wanted = [0.1, 2.0, 1.5, 9.0, -3.0], [1.0, 2.0, 2.0, 5.0, 0.0]
    assert agreement.MEASURES["pearson"](scores, wanted).value == pytest.approx(np.corrcoef(scores, wanted)[0, 1])
    ranked = np.corrcoef([1, 3, 2, 4, 0], [1, 2.5, 2.5, 4, 0])[0, 1]
    assert agreement.MEASURES["spearman"](scores, wanted).value == pytest.approx(ranked)
    for name in ("pearson", "spearman", "f1", "matthews"):
        mark = agreement.MEASURES[name]([1] * 4, [1, 0, 1, 0])
        assert mark.value == (0.0 if name != "f1" else pytest.approx(2 / 3)), name
        assert agreement.MEASURES[name](chosen * 50, labels * 50).error < agreement.MEASURES[name](chosen, labels).error
    with pytest.raises(InputError, match="no numbers"):
        agreement.MEASURES["pearson"]([1.0, float("nan")], [1.0, 2.0])
    with pytest.raises(InputError, match="prediction for each"):
        agreement.MEASURES["f1"]([1], [1, 0])


def test_the_real_files_are_read_whole(shared_data):
    sizes = {"sst2": (67349, 872), "mrpc": (3668, 408), "rte": (2490, 277), "stsb": (5749, 1500)}
    for name, size in sizes.items():
        splits = glue.read_task(name, shared_data / "finetune").splits
        assert (len(splits.train), len(splits.dev)) == size
    race = glue.read_task("race", shared_data / "finetune").splits
    assert len(race.dev) == sum(len(rows) for rows in race.others.values()) == 4887
