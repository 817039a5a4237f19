"""Questions asked of a small model that has learned something, against asking token by token."""

from __future__ import annotations

import pytest
import torch

from selftaught import compute
from selftaught.evaluation import measuring
from selftaught.inference.language_model import LanguageModel
from selftaught.model.initial import initialise
from selftaught.model.loss import loss_sum
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tasks.examples import Choice, Passage
from selftaught.tokenizer.learning import learn_tokenizer
from tests.reference import asking

TEXT = (
    "the cat sat on the mat and the dog sat on the log while a frog ate the fly on the wall near the old mill . " * 30
)
BARRED = [" the", " on", " unseen words"]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    tokenizer = learn_tokenizer([TEXT], vocabulary_size=290)
    network = Transformer(ModelShape(layers=2, heads=2, channels=32, context=48, vocabulary=290))
    initialise(network, compute.generator("measuring"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    ids_BT = torch.tensor(tokenizer.encode(TEXT)[: 48 * 8 + 1]).unfold(0, 49, 48)
    for _ in range(15):
        (loss_sum(network, ids_BT[:, :-1], ids_BT[:, 1:]) / ids_BT.numel()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return LanguageModel(network, tokenizer)


def test_choices_are_judged_as_one_by_one(lm: LanguageModel) -> None:
    context = "the cat sat on the"
    candidates = (" mat", " log", " wall", " frog and", " dog")
    question = Choice(
        id="1",
        contexts=(context,) * 5,
        continuations=tuple(f"{word} ." for word in candidates),
        candidates=candidates,
        answer=0,
    )
    (answer,) = measuring.choices(lm, [question], advance=lambda _: None)
    slow = [asking.log_prob(lm, context, continuation) for continuation in question.continuations]
    assert answer.log_probs == pytest.approx(slow, abs=1e-4)
    assert answer.chosen == slow.index(max(slow))


def test_last_words_with_and_without_barred_words(lm: LanguageModel) -> None:
    words = TEXT.split()[:24]
    asked = [
        Passage(id=str(end), context=" ".join(words[:end]), word=f" {word}")
        for end in range(3, 23)
        for word in ("the", words[end], words[end + 1])
    ]
    answers = measuring.last_words(lm, asked, advance=lambda _: None, barred=BARRED)
    for passage, answer in zip(asked, answers, strict=True):
        assert answer.right == asking.says(lm, passage.context, passage.word, [])
        assert answer.right_filtered == asking.says(lm, passage.context, passage.word, BARRED)
        assert answer.nats == pytest.approx(-asking.log_prob(lm, passage.context, passage.word), abs=1e-4)
    assert any(answer.right for answer in answers)
    assert any(answer.right_filtered and not answer.right for answer in answers)
    assert not any(answer.right_filtered for answer in answers if answer.word == "the")
