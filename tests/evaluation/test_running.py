"""Evaluation end to end on a small random model, and the arithmetic of scores with a model whose answers are known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from selftaught import compute, storage
from selftaught.checkpoint import native
from selftaught.cli import evaluate as cli
from selftaught.corpus import documents
from selftaught.corpus.documents import Document
from selftaught.errors import InputError, MismatchError, UsageError
from selftaught.evaluation import lambada, measuring
from selftaught.evaluation.answers import StretchAnswer
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.evaluation.running import evaluate
from selftaught.inference.joining import LogProb
from selftaught.inference.language_model import LanguageModel
from selftaught.model.initial import initialise
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.report.records import Score
from selftaught.tasks.examples import Choice, Passage, Text
from selftaught.tokenizer.learning import learn_tokenizer

STORY = " ".join(
    f"Anna carried the heavy basket number {number} across the garden while Peter painted another wooden basket slowly. "
    f"Maria found letters near the market and Clara sold kettles, lanterns, ribbons near the harbour garden."
    for number in range(60)
)


class Known(LanguageModel):
    """Gives each character of a continuation the probability 1/4, and half of that if it is an `x`."""

    def __init__(self) -> None:
        self.name, self.precision = "known", "float32"

    context = 1000
    parameters = 7

    def trimmed(self, context: str, _: Sequence[str]) -> str:
        return context

    def log_probs(
        self,
        pairs: Sequence[tuple[str, str]],
        advance: Callable[[float], None] | None = None,
        *,
        barred: Sequence[str] = (),
    ) -> list[LogProb]:
        return [self._of(continuation) for _, continuation in pairs]

    def document_log_probs(
        self,
        texts: Sequence[str],
        *,
        stride: int | None = None,
        filled: bool = False,
        advance: Callable[[float], None] | None = None,
    ) -> list[LogProb]:
        return [self._of(text) for text in texts]

    @staticmethod
    def _of(text: str) -> LogProb:
        by_token = tuple(-math.log(8 if sign == "x" else 4) for sign in text)
        return LogProb(
            total=sum(by_token),
            by_token=by_token,
            greedy=tuple(sign != "x" for sign in text),
            allowed=tuple(sign not in "xy" for sign in text),
        )


def test_arithmetic_of_choices_words_and_texts() -> None:
    questions = [
        Choice(id="1", contexts=("c", "c"), continuations=(" xx", " ab"), candidates=("xx", "ab"), answer=1),
        Choice(id="2", contexts=("c", "c"), continuations=(" a", " abc"), candidates=("a", "abc"), answer=1),
    ]
    answers = measuring.choices(Known(), questions, advance=lambda _: None)
    assert [one.chosen for one in answers] == [1, 0]
    assert answers[0].log_probs == pytest.approx((-math.log(4 * 64), -math.log(64)))
    assert measuring.mark_choices(answers, "p")[0].mark.value == 0.5
    words = [Passage(id="1", context="c", word=" abc"), Passage(id="2", context="c", word=" x")]
    answered = measuring.last_words(Known(), words, advance=lambda _: None)
    accuracy, perplexity = measuring.mark_last_words(answered, "p")
    assert accuracy.mark.value == 0.5
    assert perplexity.mark.value == pytest.approx(math.sqrt(4**4 * 4 * 8))
    words = [Passage(id=word, context="c", word=word) for word in (" xa", " ya", " ax", " aa")]
    answered = measuring.last_words(Known(), words, advance=lambda _: None)
    (accuracy, _), (filtered, last) = (
        measuring.mark_last_words(answered, "p"),
        lambada.mark_other_readings(answered, "p"),
    )
    assert [one.mark.value for one in (accuracy, filtered, last)] == [0.5, 0.25, 0.75]
    (text,) = measuring.texts(Known(), [Text(id="1", text="abcd", units=2)], stride=0, advance=lambda _: None)
    assert text.nats / text.units / math.log(2) == pytest.approx(4)
    long = [StretchAnswer(id=f"t@{place}", nats=1000 * math.log(4), tokens=1000) for place in (0, 1000)]
    nats = measuring.mark_long_text(long, 500)
    assert (nats.value, nats.error, nats.n) == (pytest.approx(4 * math.log(4)), pytest.approx(0, abs=1e-9), 500)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = learn_tokenizer([STORY], vocabulary_size=300)
    network = Transformer(ModelShape(layers=1, heads=2, channels=16, context=64, vocabulary=300))
    initialise(network, compute.generator("test"))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    native.save(network, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for split, count in (("train", 3), ("heldout", 2)):
        rows = [Document(id=f"{split}{number}", text=STORY[number * 50 :]) for number in range(count)]
        storage.write_jsonl(documents.split_file(folder, split), rows)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = {
        "lambada/lambada_test.jsonl": [{"text": "“He sold the basket,” and then Anna carried the basket"}] * 3,
        "winograd/wsc273.jsonl": [
            {
                "id": "w1",
                "candidates": ["Anna", "Peter"],
                "label": 0,
                "sentences": [
                    "Anna thanked Peter because Anna was glad.",
                    "Anna thanked Peter because Peter was glad.",
                ],
            }
        ],
    }
    for name, lines in rows.items():
        storage.write_jsonl(folder / name, lines)
    storage.write_text(
        folder / "wikitext2" / "wiki.test.tokens", " \n = Title = \n \n Anna sold 5 @,@ 000 kettles . \n"
    )
    return folder


def test_every_task_runs_and_leaves_scores_and_answers(model: Path, corpus: Path, data: Path, tmp_path: Path) -> None:
    scores = evaluate(model, corpus=corpus, data=data, out=tmp_path, settings=EvaluateSettings(most_bytes=4000))
    assert storage.read_json(tmp_path / "results.json", list[Score]) == scores
    assert list(dict.fromkeys(score.task for score in scores)) == [
        "heldout", "train", "lastword", "cloze", "lambada", "wikitext2", "winograd"
    ]  # fmt: skip
    for score in scores:
        assert (score.model, score.parameters > 0, score.n > 0) == ("tiny", True, True)
        assert math.isfinite(score.value)
        assert score.protocol
        answers = (tmp_path / f"answers-{score.task}.jsonl").read_text(encoding="utf-8").splitlines()
        assert all(json.loads(line)["id"] for line in answers)
    found = {(score.task, score.metric): score for score in scores}
    assert found["lambada", "accuracy"].n == 3
    assert 1 < found["heldout", "bits_per_byte"].value < 12
    assert "(14)" in found["wikitext2", "perplexity"].protocol


def test_an_untrained_model_answers_cloze_by_chance(model: Path, corpus: Path, tmp_path: Path) -> None:
    (score,) = evaluate(model, "cloze", corpus=corpus, out=tmp_path)
    assert score.value < 0.1 + 4 * max(score.error, 0.1)


def test_finished_tasks_are_not_run_again(model: Path, corpus: Path, tmp_path: Path) -> None:
    evaluate(model, ["heldout"], corpus=corpus, out=tmp_path)
    before = (tmp_path / "scores-heldout.json").stat().st_mtime_ns
    scores = evaluate(model, ["heldout", "lastword"], corpus=corpus, out=tmp_path)
    assert (tmp_path / "scores-heldout.json").stat().st_mtime_ns == before
    assert {score.task for score in scores} == {"heldout", "lastword"}


def test_results_hold_all_tasks_of_the_folder(model: Path, corpus: Path, tmp_path: Path) -> None:
    evaluate(model, "lastword", corpus=corpus, out=tmp_path)
    assert {score.task for score in evaluate(model, "heldout", corpus=corpus, out=tmp_path)} == {"heldout"}
    assert {score.task for score in storage.read_json(tmp_path / "results.json", list[Score])} == {
        "heldout",
        "lastword",
    }


def test_kept_scores_are_not_taken_for_another_models(model: Path, corpus: Path, tmp_path: Path) -> None:
    evaluate(model, "lastword", corpus=corpus, out=tmp_path / "o")
    network = Transformer(ModelShape(layers=1, heads=2, channels=16, context=64, vocabulary=300))
    initialise(network, compute.generator("another"))
    native.save(network, LanguageModel.load(model).tokenizer, tmp_path / "tiny")
    with pytest.raises(MismatchError, match="another model"):
        evaluate(tmp_path / "tiny", "lastword", corpus=corpus, out=tmp_path / "o")
    with pytest.raises(MismatchError, match="seed: 1 -> 2"):
        evaluate(model, "lastword", corpus=corpus, out=tmp_path / "o", settings=EvaluateSettings(seed=2))


def test_the_verb_adds_tasks_to_a_finished_folder(model: Path, corpus: Path, tmp_path: Path) -> None:
    words = [str(model), "--corpus", str(corpus), "--out", str(tmp_path / "o")]
    for task, expected in (("lastword", {"lastword"}), ("cloze", {"lastword", "cloze"})):
        cli.run([words[0], task, *words[1:]])
        assert {score.task for score in storage.read_json(tmp_path / "o" / "results.json", list[Score])} == expected
    before = (tmp_path / "o" / "run.json").stat().st_mtime_ns
    cli.run([words[0], "cloze", *words[1:]])
    assert (tmp_path / "o" / "run.json").stat().st_mtime_ns == before


def test_long_tasks_run_if_they_are_named(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.write_text(tmp_path / "d" / "enwik8" / "enwik8_prefix.bin", "<page> Anna &amp; Peter </page>\n" * 20)
    storage.write_text(tmp_path / "d" / "lm1b" / "1b_benchmark.test.tokens", "Anna sold kettles .\nPeter , too .\n")
    storage.write_text(tmp_path / "d" / "wikitext103" / "wiki.test.tokens", " = Title = \n Anna sold <unk> . \n")
    with pytest.raises(InputError, match="nothing to run by itself"):
        evaluate(model, data=tmp_path / "d", out=tmp_path / "o")
    scores = evaluate(model, ["enwik8", "1bw", "wikitext103"], data=tmp_path / "d", out=tmp_path / "o")
    assert {(score.task, score.metric, score.n) for score in scores} == {
        ("enwik8", "bits_per_byte", 640),
        ("1bw", "perplexity", 10), ("1bw", "bits_per_byte", 10),
        ("wikitext103", "perplexity", 9), ("wikitext103", "bits_per_byte", 9),
    }  # fmt: skip
    settings = EvaluateSettings(sentences_alone=True, stride=0)
    score, _ = evaluate(model, "1bw", data=tmp_path / "d", out=tmp_path / "alone", settings=settings)
    assert score.n == 2
    assert "each sentence alone" in score.protocol
    storage.write_text(tmp_path / "d" / "lambada" / "lambada_test.jsonl", '{"text": "a good line here"}\n')
    evaluate(model, data=tmp_path / "d", out=tmp_path / "named")
    assert "run if named: wikitext103, 1bw, enwik8" in capsys.readouterr().out


def test_a_folder_without_data_sets_says_what_was_looked_for(
    model: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d").mkdir()
    settings = EvaluateSettings(most_bytes=2000, most_questions=2)
    evaluate(model, corpus=corpus, data=tmp_path / "d", out=tmp_path / "o", settings=settings)
    assert "looked for lambada/lambada_test.jsonl, wikitext2/" in capsys.readouterr().out


def test_each_choice_is_in_the_protocol(model: Path, data: Path, tmp_path: Path) -> None:
    settings = EvaluateSettings(
        detokeniser="none", unknown="replace", units="words", clean_lambada=False, stride=16, limit=4
    )
    scores = evaluate(model, ["lambada", "wikitext2"], data=data, out=tmp_path, settings=settings)
    protocol = {score.task: score.protocol for score in scores}
    for words in ("as it is tokenised", "<unk> replaced", "per original word (10)", "scoring 16 tokens", "first 4"):
        assert words in protocol["wikitext2"]
    assert "text as it is" in protocol["lambada"]


def test_wrong_requests_say_what_to_type(model: Path, corpus: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lambada"):
        evaluate(model, "lambda", data=data, out=tmp_path)
    with pytest.raises(UsageError, match="--data DIR"):
        evaluate(model, "lambada", corpus=corpus, out=tmp_path)
    with pytest.raises(UsageError, match="nothing to evaluate on"):
        evaluate(model, out=tmp_path)
    with pytest.raises(InputError, match="cbt is not in"):
        evaluate(model, "cbt", data=data, out=tmp_path)


def test_a_malformed_data_set_is_named(model: Path, tmp_path: Path) -> None:
    storage.write_text(
        tmp_path / "d" / "lambada" / "lambada_test.jsonl", '{"text": "a good line here"}\n{"txt": "bad"}\n'
    )
    with pytest.raises(InputError, match="line 2"):
        evaluate(model, "lambada", data=tmp_path / "d", out=tmp_path / "o")
