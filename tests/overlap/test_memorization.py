"""Memorisation of models whose memory is known: one that recites its corpus up to a point, and a tiny real one."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.checkpoint import native
from selftaught.cli import memorize as verb
from selftaught.corpus import documents
from selftaught.corpus.documents import Document, FunnelRow
from selftaught.corpus.ngrams import words
from selftaught.errors import InputError, MismatchError, UsageError
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.rules import SamplingSettings
from selftaught.overlap import contexts, indexing
from selftaught.overlap.drawing import ANSWERS_FILE, Answers
from selftaught.overlap.memorization import REAL, measure_memorization
from selftaught.overlap.plan import MemorizeSettings, OverlapSettings
from selftaught.overlap.recall import recalled
from selftaught.report.overlap_records import MEMORIZATION_FILE, Memorization
from selftaught.report.records import Piece, Sample
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference.networks import network

TOKENIZER = Tokenizer(files.from_merges([(b"t", b"h"), (b"th", b"e"), (b" ", b"the")]))
FAMOUS = "four score and seven years ago our fathers brought forth on this continent a new nation conceived in liberty"
RULES = MemorizeSettings(
    contexts=3,
    context_tokens=60,
    tokens=120,
    diverse=1,
    completions=2,
    prompts=2,
    prompt_words=6,
    following_words=4,
    recall_tokens=60,
    draws=1,
    text_bytes=3000,
)


def prose(seed: int, count: int = 60) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefghijklmnop", k=5)) for _ in range(count))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    train = [f"{prose(seed)}. {FAMOUS if seed < 6 else ''} {prose(50 + seed)}" for seed in range(12)]
    heldout = [f"{prose(100, 16)} {prose(3)[:65]} {prose(103)}", prose(101, 80), prose(102, 80), "short"]
    for split, texts in (("train", train), ("heldout", heldout)):
        rows = [Document(id=f"{split}-{number}", text=text, url=f"u{number}") for number, text in enumerate(texts)]
        storage.write_jsonl(documents.split_file(folder, split), rows)
    counts = [FunnelRow(stage="split", reason="train", count=12), FunnelRow(stage="split", reason="heldout", count=4)]
    storage.write_json(folder / documents.FUNNEL_FILE, counts)
    return folder


class Parrot(LanguageModel):
    """Recites what follows a prompt in the corpus, greedily for ever and drawn for three words; else copies a training text."""

    asked = 0

    def __init__(self, corpus: Path) -> None:
        super().__init__(network(vocabulary=TOKENIZER.vocabulary_size), TOKENIZER, name="parrot")
        self.texts = [row.text for row in documents.read(corpus)]

    def sample(
        self, prompt: str, *, max_new_tokens: int = 200, sampling: SamplingSettings | None = None, seed: int = 1
    ) -> Sample:
        self.asked += 1
        rules = sampling or SamplingSettings()
        following = next((text.partition(prompt)[2] for text in self.texts if prompt in text), "")
        pieces = [f" {word}" for word in following.split()] or [f" {word}" for word in self.texts[7].split()[5:25]]
        if following and rules.temperature:
            pieces = [*pieces[:3], " zzz", f" {seed}"]
        pieces = pieces[:max_new_tokens]
        rows = [Piece(text=piece, probability=0.5) for piece in pieces]
        return Sample(
            model=self.name, parameters=1, prompt=prompt, text="".join(pieces), pieces=rows, settings=rules.words()
        )


def test_what_a_parrot_remembers_is_measured_exactly(corpus: Path, tmp_path: Path) -> None:
    found = measure_memorization(Parrot(corpus), corpus, out=tmp_path, settings=RULES)
    real, drawn = found.shares
    assert (real.name, drawn.name) == (REAL, "samples parrot")
    assert drawn.by_document == [1.0, 1.0, 1.0]
    assert sorted(real.by_document)[:2] == [0.0, 0.0]
    assert 0 < max(real.by_document) < 1
    assert found.more_copied.value == pytest.approx(1 - sum(real.by_document) / 3)
    copies = [span for span in found.copies if span.name == "samples parrot"]
    assert [(span.sample, span.words, span.document, span.position) for span in copies] == [
        (number, 20, "train-7", 5) for number in range(3)
    ]
    assert [one.documents for one in found.passages] == [6, 1, 1, 0, 0]
    famous = found.passages[0]
    assert famous.prompt in FAMOUS
    truth = next(row.text for row in documents.read(corpus)).partition(famous.prompt)[2]
    for passage in found.passages[:3]:
        greedy, sampled = passage.recalls
        assert (sampled.words, sampled.tokens, sampled.left) == (3, 3, True)
        assert not greedy.left
    assert famous.recalls[0].words == len(words(truth)[:60])
    assert [recall.words for passage in found.passages[3:] for recall in passage.recalls] == [0, 0, 0, 0]
    assert storage.read_json(tmp_path / MEMORIZATION_FILE, Memorization) == found


def test_texts_that_are_shown_are_those_of_the_corpus(corpus: Path, tmp_path: Path) -> None:
    found = measure_memorization(Parrot(corpus), corpus, out=tmp_path, settings=RULES)
    texts = {row.id: row.text for row in documents.read(corpus, "heldout")}
    assert len(found.continued) == 3
    for row in found.continued:
        assert texts[row.document].startswith(row.context + row.real)
        assert len(TOKENIZER.encode(row.context)) <= 60 < len(TOKENIZER.encode(row.context)) + 10
        assert len(TOKENIZER.encode(row.real)) == 120
    assert len(found.diversity) == 1
    assert found.diversity[0].self_bleu == pytest.approx(1.0)


def test_a_killed_run_asks_only_for_what_is_missing(corpus: Path, tmp_path: Path) -> None:
    whole = Parrot(corpus)
    first = measure_memorization(whole, corpus, out=tmp_path, settings=RULES)
    kept = (tmp_path / ANSWERS_FILE).read_bytes()
    rows = kept.split(b"\n")
    samples = sum(b'"sample":{' in row for row in rows[:5])
    (tmp_path / ANSWERS_FILE).write_bytes(b"\n".join(rows[:5]) + b"\n" + rows[5][:20])
    again = Parrot(corpus)
    second = measure_memorization(again, corpus, out=tmp_path, settings=RULES)
    assert again.asked == whole.asked - samples > 0
    assert (second.passages, second.continued, second.gap) == (first.passages, first.continued, first.gap)
    assert (tmp_path / ANSWERS_FILE).read_bytes() == kept


def test_answers_of_another_model_are_refused(corpus: Path, tmp_path: Path) -> None:
    Answers(Parrot(corpus), tmp_path, seed=1)
    other = LanguageModel(network(vocabulary=TOKENIZER.vocabulary_size, layers=3), TOKENIZER, name="other")
    with pytest.raises(MismatchError, match="another model"):
        Answers(other, tmp_path, seed=1)


def test_an_index_that_is_there_is_used_and_must_be_of_the_corpus(corpus: Path, tmp_path: Path) -> None:
    plain = measure_memorization(Parrot(corpus), corpus, out=tmp_path / "plain", settings=RULES)
    indexing.filter_of(corpus, tmp_path / "index", OverlapSettings())
    indexed = measure_memorization(Parrot(corpus), corpus, out=tmp_path / "o", index=tmp_path / "index", settings=RULES)
    assert not (tmp_path / "o" / "filter.npy").exists()
    assert indexed.shares == plain.shares
    indexing.filter_of(corpus, tmp_path / "seven", OverlapSettings(words=7))
    (tmp_path / "t.txt").write_text(prose(1))
    indexing.filter_of(tmp_path / "t.txt", tmp_path / "other", OverlapSettings())
    for name, got in {"seven": "7-grams", "other": "another text"}.items():
        with pytest.raises(MismatchError, match=got):
            measure_memorization(Parrot(corpus), corpus, out=tmp_path / "p", index=tmp_path / name, settings=RULES)


def drawn(text: str) -> Sample:
    pieces = [Piece(text=text[start : start + 3], probability=0.5) for start in range(0, len(text), 3)]
    return Sample(model="m", parameters=1, prompt="", text=text, pieces=pieces, settings="greedy")


@pytest.mark.parametrize(
    ("text", "truths", "expected"),
    [
        (" one two three", [" one two four"], (2, 3, True)),
        (" one two thr", [" one two three"], (2, 3, False)),
        (" one two thr.", [" one two three"], (2, 3, True)),
        (" ONE,\n two", [" one two four"], (2, 4, False)),
        (" one two three", [" one"], (1, 2, False)),
        ("x", [" one"], (0, 0, True)),
        ("", [" one"], (0, 0, False)),
        (" one two three", [" one x", " one two x", " y"], (2, 3, True)),
    ],
)
def test_where_a_continuation_leaves_the_text(text: str, truths: list[str], expected: tuple[int, int, bool]) -> None:
    found = recalled(drawn(text), truths)
    assert (found.words, found.tokens, found.left) == expected


def test_too_short_documents_give_no_context_and_all_too_short_is_an_error() -> None:
    rows = [Document(id="a", text="tiny"), Document(id="b", text="é" * 20 + " the words go on and on and on")]
    (one,) = contexts.choose(rows, TOKENIZER, tokens=44, following=10, most=9, seed=1)
    assert one.document.id == "b"
    assert one.text + one.following == rows[1].text[: len(one.text + one.following)]
    assert one.following.startswith(" ")
    with pytest.raises(InputError, match="no held-out document is long enough; expected 1,000 tokens"):
        contexts.choose(rows, TOKENIZER, tokens=900, following=100, most=9, seed=1)


def test_settings_that_measure_nothing_are_refused() -> None:
    for name in ("contexts", "tokens", "prompts", "words", "completions"):
        with pytest.raises(UsageError, match=f"--{name} is too small"):
            MemorizeSettings(**{name: 0})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    native.save(network(vocabulary=TOKENIZER.vocabulary_size), TOKENIZER, tmp_path / "model")
    return tmp_path / "model"


def flags() -> list[str]:
    given = ("contexts", "context_tokens", "tokens", "diverse", "completions", "prompts", "prompt_words")
    given += ("following_words", "recall_tokens", "draws", "text_bytes")
    return [word for name in given for word in (f"--{name.replace('_', '-')}", str(getattr(RULES, name)))]


def test_the_verb_tells_its_findings_and_is_finished_the_second_time(
    corpus: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(model), str(corpus), "--out", str(tmp_path / "o"), *flags()]
    verb.run(argv)
    shown = capsys.readouterr().out
    for part in ("samples model", "(unseen)", "self-BLEU", "Perplexity per token"):
        assert part in shown
    verb.run([*argv, "--json"])
    said = capsys.readouterr().out
    assert json.loads(said[said.index("{") :])["model"] == "model"
    assert "is finished" in said


def test_what_is_no_corpus_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a corpus folder"):
        measure_memorization(model, tmp_path, out=tmp_path / "o")
