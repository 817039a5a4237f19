"""Data sets from the hub, with a hub that is pretended."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selftaught import storage
from selftaught.cli import evaluate as cli
from selftaught.errors import DamagedFileError, InputError, MissingExtraError, UsageError
from selftaught.evaluation import hub, remotes
from selftaught.evaluation.heuristics import HEURISTICS
from selftaught.evaluation.registry import TASKS
from selftaught.tasks import cloze, conversations, modelling, passages, questions, summaries, translation, winograd
from selftaught.tasks.examples import Choice
from selftaught.tasks.rows import read_lines

COQA = {
    "id": "1",
    "source": "mctest",
    "story": "A cat.",
    "questions": {"input_text": ["who?", "what?"]},
    "answers": {"input_text": ["a cat", "it"], "span_start": [0, 1]},
    "additional_answers": {
        "1": {"input_text": ["y", "v"]}, "0": {"input_text": ["x", "u"]}, "2": {"input_text": ["z", "w"]}
    },
}  # fmt: skip
CLOZE = {
    "sentences": [f"Sentence {number} ." for number in range(20)],
    "question": "The XXXXX .",
    "answer": "cat",
    "options": ["cat", "dog"],
}
ROWS: dict[str, list[dict[str, Any]]] = {
    "EleutherAI/lambada_openai": [{"text": "“a passage of words”"}],
    "Salesforce/wikitext": [{"text": ""}, {"text": " = Title = \n"}, {"text": ""}, {"text": " Text <unk> . \n"}],
    "cam-cst/cbt": [CLOZE, CLOZE],
    "EleutherAI/coqa": [COQA],
    "abisee/cnn_dailymail": [{"id": "1", "article": "A.", "highlights": "b\nc", "more": 1}],
    "wmt/wmt14": [{"translation": {"en": "a\u00a0b", "fr": "c\nd"}}],
    "lighteval/winograd_wsc": [
        {
            "text": "The cat saw the dog because it was awake.",
            "pronoun": "it",
            "pronoun_loc": 28,
            "options": ["The cat", "The dog"],
            "label": 1,
            "source": "x",
        }
    ],
    "afmck/text8": [{"text": " anarchism or"}, {"text": "iginated "}, {"text": "as a term"}],
    "google-research-datasets/nq_open": [{"question": "who", "answer": ["a", "b"]}] * 3,
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """What is asked of the hub, which has a few rows of everything."""
    heard: list[tuple[str, str, str]] = []

    def load_dataset(repository: str, configuration: str, *, split: str) -> list[dict[str, Any]]:
        heard.append((repository, configuration, split))
        return ROWS[repository]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    for task, files in remotes.REMOTES.items():
        fewer = tuple(dataclasses.replace(one, rows=len(ROWS[one.repository]), sha256="", md5="") for one in files)
        monkeypatch.setitem(remotes.REMOTES, task, fewer)
    return heard


READ: dict[str, Callable[[Path], Any]] = {
    "lambada": lambda data: passages.read_lambada(data)[0].word,
    "wikitext2": lambda data: (
        modelling.read_wikitext(data / modelling.WIKITEXT2_FILE, modelling.Reading()).texts[0].text
    ),
    "wikitext103": lambda data: read_lines(data / modelling.WIKITEXT103_FILE),
    "cbt": lambda data: {name: len(found) for name, found in cloze.read_cbt(data).items()},
    "coqa": lambda data: conversations.read_coqa(data)[0].turns[1].answers,
    "cnndm": lambda data: summaries.read_articles(data)[0].highlights,
    "wmt14-en-fr": lambda data: translation.read_sentences(data, "en", examples=0, seed=1).asked[0].target,
    "wmt14-fr-en": lambda data: translation.read_sentences(data, "fr", examples=0, seed=1).asked[0].target,
    "winograd": lambda data: winograd.read_schemas(data / winograd.WSC273_FILE, "partial"),
    "text8": lambda data: (data / modelling.TEXT8_FILE).read_text(encoding="ascii"),
    "nq": lambda data: questions.read_questions(data, examples=2, seed=1).trained,
}
EXPECTED = {
    "lambada": ' words"',
    "wikitext2": "\n= Title =\n\nText <unk>.\n",
    "wikitext103": [" ", " = Title = ", " ", " Text <unk> . "],
    "cbt": {"CN": 2, "NE": 2, "P": 2, "V": 2},
    "coqa": ["it", "u", "v", "w"],
    "cnndm": "b\nc",
    "wmt14-en-fr": "c d",
    "wmt14-fr-en": "a\u00a0b",
    "winograd": [
        Choice(
            id="wsc273-1/partial",
            contexts=("The cat saw the dog because the cat", "The cat saw the dog because the dog"),
            continuations=(" was awake.",) * 2,
            candidates=("the cat", "the dog"),
            answer=1,
        )
    ],
    "text8": " anarchism originated as a term",
    "nq": True,
}


@pytest.mark.parametrize("task", remotes.REMOTES)
def test_what_is_fetched_can_be_read(asked: list[tuple[str, str, str]], tmp_path: Path, task: str) -> None:
    new = hub.fetch([task], tmp_path)
    assert READ[task](tmp_path) == EXPECTED[task]
    assert len(asked) == len(new) == len(remotes.REMOTES[task])
    assert hub.fetch([task], tmp_path) == []
    assert len(asked) == len(new)


def test_a_fetched_file_that_has_changed_is_refused(asked: list[tuple[str, str, str]], tmp_path: Path) -> None:
    hub.fetch(["lambada"], tmp_path)
    storage.write_text(tmp_path / passages.LAMBADA_FILE, '{"text": "other words here"}\n')
    with pytest.raises(DamagedFileError, match="has changed"):
        hub.fetch(["lambada"], tmp_path)


def test_the_users_own_files_are_left_alone(asked: list[tuple[str, str, str]], tmp_path: Path) -> None:
    storage.write_text(tmp_path / passages.LAMBADA_FILE, '{"text": "my own words"}\n')
    assert hub.fetch(["lambada"], tmp_path) == []
    assert not asked


def test_a_data_set_that_is_another_is_refused(
    asked: list[tuple[str, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (remote,) = remotes.REMOTES["lambada"]
    monkeypatch.setitem(remotes.REMOTES, "lambada", (dataclasses.replace(remote, rows=5153),))
    with pytest.raises(InputError, match=r"5,153 rows.*got 1"):
        hub.fetch(["lambada"], tmp_path)
    monkeypatch.setitem(ROWS, "EleutherAI/lambada_openai", [{"words": 3}])
    monkeypatch.setitem(remotes.REMOTES, "lambada", (remote,))
    with pytest.raises(InputError, match="other columns"):
        hub.fetch(["lambada"], tmp_path)
    assert not (tmp_path / passages.LAMBADA_FILE).exists()
    monkeypatch.setitem(ROWS, "EleutherAI/lambada_openai", [{"text": "some words"}])
    monkeypatch.setitem(remotes.REMOTES, "lambada", (dataclasses.replace(remote, sha256="0" * 64),))
    hub.fetch(["lambada"], tmp_path)
    assert "not byte for byte" in capsys.readouterr().out


def test_without_a_network_or_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=unreachable))
    with pytest.raises(InputError, match=r"cannot be fetched.*no route"):
        hub.fetch(["nq"], tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"selftaught\[hub\]"):
        hub.fetch(["nq"], tmp_path)
    with pytest.raises(UsageError, match="task on the hub"):
        hub.fetch(["heldout"], tmp_path)


def test_a_copy_that_others_made_has_to_be_the_authors_text(
    asked: list[tuple[str, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (remote,) = remotes.REMOTES["text8"]
    known = hashlib.md5(EXPECTED["text8"].encode(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(remotes.REMOTES, "text8", (dataclasses.replace(remote, md5="0" * 32),))
    with pytest.raises(InputError, match="not the text that is meant"):
        hub.fetch(["text8"], tmp_path)
    assert not (tmp_path / modelling.TEXT8_FILE).exists()
    monkeypatch.setitem(remotes.REMOTES, "text8", (dataclasses.replace(remote, md5=known),))
    assert hub.fetch(["text8"], tmp_path) == [tmp_path / modelling.TEXT8_FILE]
    assert asked[-1] == ("afmck/text8", "default", "train+validation+test")
    monkeypatch.setitem(ROWS, "lighteval/winograd_wsc", [{**ROWS["lighteval/winograd_wsc"][0], "pronoun": "he"}])
    with pytest.raises(InputError, match=r"other columns.*another pronoun"):
        hub.fetch(["winograd"], tmp_path)


@pytest.mark.parametrize("task", remotes.ELSEWHERE)
def test_what_is_not_on_the_hub_is_said_to_be_elsewhere(tmp_path: Path, task: str) -> None:
    assert any(remotes.ELSEWHERE[task].startswith(f"{file}: ") for file in TASKS[task].files)
    with pytest.raises(UsageError, match=f"{task} is not on the hub. Bring {tmp_path}/"):
        hub.fetch([task], tmp_path)


def test_every_data_set_of_the_paper_is_fetched_or_placed() -> None:
    """Those of GPT-1's heuristics are fine-tuning's."""
    assert {*remotes.REMOTES, *remotes.ELSEWHERE} | {*HEURISTICS} == {
        name for name, task in TASKS.items() if task.files
    }


def test_nothing_is_fetched_unless_tasks_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="named tasks"):
        cli.run(["model", "--data", str(tmp_path), "--out", str(tmp_path / "o"), "--hub"])


def test_known_hashes_are_of_the_real_files(shared_data: Path) -> None:
    """What is written from the rows of the hub has the bytes that its authors published."""
    (remote,) = remotes.REMOTES["wikitext103"]
    path = shared_data / "zeroshot" / remote.file
    assert storage.sha256(path) == remote.sha256
    rows = [{"text": "" if line == " " else f"{line}\n"} for line in read_lines(path)]
    assert len(rows) == remote.rows
    storage_text = "".join(f"{line}\n" for line in remote.lines(rows))
    assert storage_text.encode() == path.read_bytes()
