"""Beam search for words against an exact search."""

from __future__ import annotations

import pytest
import torch

from selftaught import compute
from selftaught.inference import next_words as searched
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.next_words import LONGEST_WORD, bare, kinds, next_words
from selftaught.model.initial import initialise
from selftaught.model.loss import loss_sum
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.learning import learn_tokenizer
from tests.reference.best_word import best_word

CONTEXT = 128
TEXT = (
    "the cat sat on the mattress and the dog sat on the lodge, while a frog ate the flying-fish near the oldest mill. "
)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    tokenizer = learn_tokenizer([TEXT * 30], vocabulary_size=275)
    network = Transformer(ModelShape(layers=2, heads=2, channels=32, context=CONTEXT, vocabulary=275))
    initialise(network, compute.generator("next words"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    ids_BT = torch.tensor(tokenizer.encode(TEXT * 30)[: CONTEXT * 8 + 1]).unfold(0, CONTEXT + 1, CONTEXT)
    for _ in range(40):
        (loss_sum(network, ids_BT[:, :-1], ids_BT[:, 1:]) / ids_BT.numel()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return LanguageModel(network, tokenizer)


CONTEXTS = [TEXT[: TEXT.index(word) - 1] for word in ("cat", "sat", "mattress", "dog", "lodge", "flying", "oldest")]


@pytest.mark.parametrize("barred", [frozenset(), frozenset({"the", "sat", "on"})])
def test_the_best_word_is_found(lm: LanguageModel, barred: frozenset[str], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    found = next_words(lm, CONTEXTS, width=64, barred=barred, advance=told.append)
    assert sum(told) == len(CONTEXTS)
    for context, word in zip(CONTEXTS, found, strict=True):
        assert word is not None
        text, log_prob = best_word(lm, context, barred)
        assert word.text == text
        assert word.log_prob == pytest.approx(log_prob, abs=1e-4)
        assert word.text.lower() not in barred
    monkeypatch.setitem(searched.TEXTS_TOGETHER, "cpu", 1)
    alone = next_words(lm, CONTEXTS, width=64, barred=barred)
    assert [one.text for one in alone if one] == [one.text for one in found if one]


def test_words_of_several_tokens_are_found(lm: LanguageModel) -> None:
    short = frozenset(word for word in TEXT.split() if len(word) <= 4)
    found = next_words(lm, CONTEXTS, width=64, barred=short)
    assert [word.text for word in found if word] == [best_word(lm, context, short)[0] for context in CONTEXTS]
    lengths = [len(lm.tokenizer.encode(f" {word.text}")) for word in found if word]
    assert max(lengths) >= 2


def test_where_every_word_is_barred_there_is_none(lm: LanguageModel) -> None:
    (word,) = next_words(lm, ["the"], width=1, barred=frozenset())
    assert word is not None
    assert next_words(lm, ["the"], width=1, barred=frozenset({word.text.lower()}))[0] != word


def test_a_long_context_leaves_room(lm: LanguageModel) -> None:
    (long,) = next_words(lm, ["ab " + TEXT * 5], width=4, barred=frozenset())
    ids = lm.tokenizer.encode((TEXT * 5).rstrip())[-(CONTEXT - LONGEST_WORD) :]
    (short,) = next_words(lm, [lm.tokenizer.decode(ids)], width=4, barred=frozenset())
    assert long is not None
    assert short is not None
    assert long.text == short.text


def test_what_begins_and_ends_a_word(lm: LanguageModel) -> None:
    found = kinds(lm.tokenizer)
    for text, begins, ends in (("t", True, False), (" ", False, True), (",", False, True), ("-", False, False)):
        (token,) = lm.tokenizer.encode(text)
        assert (bool(found.begins[token]), bool(found.ends[token])) == (begins, ends)
    assert bool(found.ends[lm.tokenizer.end_of_text])
    assert (bare(" \"Anna's-"), bare(" ..."), bare("")) == ("Anna's", "", "")
