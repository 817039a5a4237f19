"""Classification without training against slow twins, and what may be asked of it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch

from selftaught.errors import InputError, UsageError
from selftaught.evaluation.classification import Classifier, classify, mark
from selftaught.evaluation.templates import ClassifySettings, as_labels, parse_labels
from selftaught.inference.language_model import LanguageModel
from selftaught.tasks.labelled import Labelled
from selftaught.tokenizer.learning import learn_tokenizer
from tests.reference import labelling
from tests.reference.networks import network

STORY = (
    "Anna carried the heavy basket across the garden while Peter painted another wooden basket about sports and money."
)
TEXTS = ["Anna painted the garden", "", "the heavy basket of Peter " * 3, "  money ", "wooden money and sports\n"]
LABELS = {"s": "sports", "m": "money and garden", "0": "Peter"}
BETWEEN, AFTER = "\nThis is about ", "."
TEMPLATE = "{text}" + BETWEEN + "{label}" + AFTER


def model(context: int = 64, seed: int = 1) -> LanguageModel:
    tokenizer = learn_tokenizer([STORY * 3], vocabulary_size=300)
    return LanguageModel(network(context=context, vocabulary=300, seed=seed), tokenizer, name="tiny")


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return model()


def test_scores_are_those_of_a_loop_over_labels(lm: LanguageModel) -> None:
    found = classify(lm, TEXTS, LABELS, settings=ClassifySettings(template=TEMPLATE))
    assert [one.text for one in found] == TEXTS
    for one in found:
        if not one.text.strip():
            assert (one.label, one.scores, one.probabilities) == (None, {}, {})
            continue
        slow = labelling.log_probs(lm, one.text.strip(), list(LABELS.values()), BETWEEN, AFTER)
        assert list(one.scores.values()) == pytest.approx(slow, abs=1e-4)
        total = sum(map(math.exp, slow))
        shares = {name: math.exp(value) / total for name, value in zip(LABELS, slow, strict=True)}
        assert one.probabilities == pytest.approx(shares, abs=1e-4)
        assert one.label == max(shares, key=shares.__getitem__)


def test_calibration_divides_by_the_mean_probability_after_texts_without_content(lm: LanguageModel) -> None:
    empty = ("N/A", "", "nothing")
    settings = ClassifySettings(template=TEMPLATE, calibrate=True, content_free=empty)
    words = list(LABELS.values())
    free = [labelling.log_probs(lm, text, words, BETWEEN, AFTER) for text in empty]
    for one in classify(lm, TEXTS, LABELS, settings=settings):
        if one.label is not None:
            slow = labelling.calibrated(labelling.log_probs(lm, one.text.strip(), words, BETWEEN, AFTER), free)
            assert list(one.scores.values()) == pytest.approx(slow, abs=1e-4)
            assert sum(one.probabilities.values()) == pytest.approx(1)
    (same,) = classify(
        lm, ["N/A"], LABELS, settings=ClassifySettings(template=TEMPLATE, calibrate=True, content_free=("N/A",))
    )
    assert list(same.probabilities.values()) == pytest.approx([1 / 3] * 3, abs=1e-4)


@pytest.mark.parametrize("by", ["tokens", "bytes"])
def test_lengths_divide(lm: LanguageModel, by: str) -> None:
    settings = ClassifySettings(template=TEMPLATE, normalise=by)  # type: ignore[arg-type]
    (one,) = classify(lm, TEXTS[:1], LABELS, settings=settings)
    slow = labelling.log_probs(lm, TEXTS[0], list(LABELS.values()), BETWEEN, AFTER)
    for word, total, value in zip(LABELS.values(), slow, one.scores.values(), strict=True):
        tokens = len(lm.encode_pair(TEXTS[0] + BETWEEN, word + AFTER)[1])
        assert value == pytest.approx(total / (tokens if by == "tokens" else len(word) + len(AFTER)), abs=1e-4)


def test_neither_order_nor_company_matters(lm: LanguageModel) -> None:
    texts = [f"{word} number {place}" for place, word in enumerate(STORY.split() * 2)]
    classifier = Classifier(lm, LABELS)
    together = list(classifier.classify(texts))
    for rows in (1, 7):
        assert [one.label for one in classifier.classify(texts, rows=rows)] == [one.label for one in together]
    backwards = list(classifier.classify(texts[::-1], rows=5))[::-1]
    for one, other in zip(together, backwards, strict=True):
        assert list(one.scores.values()) == pytest.approx(list(other.scores.values()), abs=1e-4)


def test_texts_come_out_as_they_come_in(lm: LanguageModel) -> None:
    given = []

    def texts() -> object:
        for text in TEXTS:
            given.append(text)
            yield text

    told: list[float] = []
    found = Classifier(lm, LABELS).classify(texts(), rows=2, advance=told.append)  # type: ignore[arg-type]
    assert next(found).text == TEXTS[0]
    assert given == TEXTS[:2]
    assert [one.text for one in found] == TEXTS[1:]
    assert sum(told) == pytest.approx(len(TEXTS))


@pytest.mark.parametrize("keep", ["beginning", "end"])
def test_a_text_longer_than_the_context_is_cut_and_says_so(keep: str) -> None:
    lm, long = model(context=32), "Anna " * 40 + "basket " * 40
    settings = ClassifySettings(template=TEMPLATE, keep=keep)  # type: ignore[arg-type]
    found = classify(lm, [long, "Anna"], LABELS, settings=settings)
    assert [one.cut for one in found] == [True, False]
    assert found[0].text == long
    kept = ("Anna " * 40 if keep == "beginning" else "basket " * 40).split()
    rest = [" ".join(kept[:size]) for size in range(1, 30)]
    close = [
        text
        for text in rest
        if lm.log_prob(text + BETWEEN, "sports" + AFTER).total == pytest.approx(found[0].scores["s"], abs=1e-4)
    ]
    assert len(close) == 1  # what was read is a whole number of words from the right side


def test_a_template_without_room_for_text_is_refused() -> None:
    with pytest.raises(UsageError, match="leave no room"):
        classify(model(context=32), ["Anna"], {"a": "basket " * 40, "b": "b"})


@pytest.mark.parametrize(
    ("template", "said"),
    [("{label}", "cannot be filled"), ("{text}", "cannot be"), ("{label} {text}", "once"), ("{text}{text}{}", "once")],
)
def test_templates_that_cannot_be_filled_in(template: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ClassifySettings(template=template)


def test_braces_in_texts_and_templates_are_ordinary_characters(lm: LanguageModel) -> None:
    settings = ClassifySettings(template='{"a": 1} {text} is {}!')
    (one,) = classify(lm, ["a {label} {0}"], LABELS, settings=settings)
    slow = labelling.log_probs(lm, '{"a": 1} a {label} {0}', list(LABELS.values()), " is ", "!")
    assert list(one.scores.values()) == pytest.approx(slow, abs=1e-4)


def test_cosines_are_those_worked_out_by_hand(lm: LanguageModel) -> None:
    found = classify(lm, TEXTS, LABELS, settings=ClassifySettings(method="similarity", template="about {}"))
    for one in found:
        if one.text.strip():
            slow = [labelling.cosine(lm, one.text.strip(), f"about {word}") for word in LABELS.values()]
            assert list(one.scores.values()) == pytest.approx(slow, abs=1e-5)
            assert (one.label, one.probabilities) == (list(LABELS)[slow.index(max(slow))], {})


def test_calibrated_cosines(lm: LanguageModel) -> None:
    settings = ClassifySettings(method="similarity", template="{}", calibrate=True, content_free=("N/A", ""))
    (one,) = classify(lm, TEXTS[:1], LABELS, settings=settings)
    for word, score in zip(LABELS.values(), one.scores.values(), strict=True):
        text, *free = (labelling.cosine(lm, text, word) for text in (TEXTS[0], "N/A", ""))
        assert score == pytest.approx(text - sum(free) / 2, abs=1e-5)


@pytest.mark.parametrize("keep", ["beginning", "end"])
def test_only_as_much_is_represented_as_the_model_sees(keep: str) -> None:
    lm = model(context=8)
    long = STORY * 2
    settings = ClassifySettings(method="similarity", keep=keep, template="{}")  # type: ignore[arg-type]
    one, other = classify(lm, [long, "Anna"], ["Anna", "garden"], settings=settings)
    ids = lm.tokenizer.encode(long)
    part = lm.tokenizer.decode(ids[:7] if keep == "beginning" else ids[-7:])
    assert lm.tokenizer.encode(part) == (ids[:7] if keep == "beginning" else ids[-7:])
    assert (one.cut, other.cut) == (True, False)
    assert one.scores["Anna"] == pytest.approx(labelling.cosine(lm, part, "Anna"), abs=1e-5)


def test_company_changes_no_cosine(lm: LanguageModel) -> None:
    texts = [" ".join(STORY.split()[:size]) for size in range(1, 18)] * 2
    settings = ClassifySettings(method="similarity")
    together = classify(lm, texts, LABELS, settings=settings)
    for rows in (1, 5):
        alone = Classifier(lm, LABELS, settings=settings).classify(texts[::-1], rows=rows)
        for one, other in zip(together[::-1], alone, strict=True):
            assert list(one.scores.values()) == pytest.approx(list(other.scores.values()), abs=1e-5)


def test_what_similarity_cannot_be_asked() -> None:
    for wrong in ({"template": "{text} {}"}, {"template": "none"}, {"normalise": "tokens"}):
        with pytest.raises(UsageError):
            ClassifySettings(method="similarity", **wrong)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Said:
    probabilities: tuple[float, ...]
    truncated: int = 0


class Judge:
    """Says that a text entails a phrase by the share of the phrase's words that are in the text."""

    labels = ("neutral", "entailment")

    def predict(self, examples: Sequence[Labelled]) -> list[Said]:
        found = []
        for one in examples:
            words = one.second.rstrip(".").split()
            share = sum(word in one.first.split() for word in words) / len(words)
            found.append(Said((1 - share, share), truncated=int(len(one.first) > 30)))
        return found


def test_entailment_asks_for_each_label() -> None:
    labels = {"m": "money", "s": "sports and games"}
    asked = ClassifySettings(method="entailment", template="It is {}.")
    texts = ["It is money", "", "sports and games with words that are too many"]
    money, empty, sports = classify(Judge(), texts, labels, settings=asked)
    assert money.scores == pytest.approx({"m": 0.0, "s": math.log(2 / 5)})
    assert money.probabilities == pytest.approx({"m": 5 / 7, "s": 2 / 7})
    assert (money.label, money.cut, empty.label, sports.label, sports.cut) == ("m", False, None, "s", True)
    assert sports.scores["m"] == pytest.approx(math.log(sys.float_info.min))
    calibrated = ClassifySettings(method="entailment", template="It is {}.", calibrate=True, content_free=("It", ""))
    (one,) = classify(Judge(), texts[:1], labels, settings=calibrated)
    free = [(1 / 3) / (1 / 3 + 1 / 5), (1 / 5) / (1 / 3 + 1 / 5)]
    assert list(one.scores.values()) == pytest.approx([-math.log(free[0]), math.log(2 / 5) - math.log(free[1])])


def test_entailment_and_language_models_do_not_take_each_others_place(lm: LanguageModel) -> None:
    with pytest.raises(UsageError, match="fine-tuned on it"):
        classify(lm, ["a"], LABELS, settings=ClassifySettings(method="entailment"))
    with pytest.raises(UsageError, match="needs a language model"):
        classify(Judge(), ["a"], LABELS)
    other = Judge()
    other.labels = ("negative", "positive")
    with pytest.raises(UsageError, match="got negative, positive"):
        classify(other, ["a"], LABELS, settings=ClassifySettings(method="entailment"))
    for wrong in ({"keep": "end"}, {"calibrate": True, "content_free": ("",)}, {"template": "{text} {}"}):
        with pytest.raises(UsageError):
            ClassifySettings(method="entailment", **wrong)  # type: ignore[arg-type]


def test_labels_as_they_are_typed() -> None:
    assert parse_labels("a, b c ,0=very bad") == {"a": "a", "b c": "b c", "0": "very bad"}
    for wrong in ("a,,b", "a,b=", "=c,a", "a,a", ""):
        with pytest.raises(UsageError):
            parse_labels(wrong)
    for few in (["a"], [], {"a": "x", "b": "x"}, ["a", " "], ["a", "a "]):
        with pytest.raises(UsageError):
            as_labels(few)  # type: ignore[arg-type]


def test_a_model_that_gives_no_numbers() -> None:
    broken = model()
    with torch.no_grad():
        broken.model.tokens.weight.fill_(math.nan)
    with pytest.raises(InputError, match="gives no numbers"):
        classify(broken, ["Anna"], LABELS)
    with pytest.raises(InputError, match="without content"):
        Classifier(broken, LABELS, settings=ClassifySettings(calibrate=True))
    with pytest.raises(InputError, match="gives no numbers"):
        classify(broken, ["Anna"], LABELS, settings=ClassifySettings(method="similarity"))


def test_numbers_beside_the_most_frequent_label() -> None:
    accuracy, f1 = mark(("a", "b"), [("a", "a"), ("a", "b"), ("a", "a"), ("b", "b")], "how")
    assert (accuracy.metric, accuracy.mark.value, accuracy.mark.n) == ("accuracy", 0.75, 4)
    assert accuracy.protocol == "how"
    assert f1.mark.value == pytest.approx((0.8 + 2 / 3) / 2)
    beside = [one.baseline for one in (accuracy, f1) if one.baseline is not None]
    assert [(one.what, one.value) for one in beside] == [("always a", 0.75), ("always a", pytest.approx((6 / 7) / 2))]
    assert mark(("a", "b"), [], "how") == []
