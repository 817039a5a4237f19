"""Dialogues agree with prompts that are read anew each time, and read what is new only."""

from __future__ import annotations

import pytest

from selftaught import compute
from selftaught.inference import prompting
from selftaught.inference.dialogue import Dialogues
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.prompting import Prompt
from selftaught.model.initial import initialise
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.learning import learn_tokenizer


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    tokenizer = learn_tokenizer(["Q: who is it?\nA: the white cat\n" * 9], vocabulary_size=280)
    network = Transformer(ModelShape(layers=2, heads=2, channels=16, context=96, vocabulary=280))
    initialise(network, compute.generator("dialogue"))
    return LanguageModel(network, tokenizer)


def test_each_turn_is_what_it_is_alone(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are not asked at every turn, a story that is cut, prompts too long, and one that is asked again."""
    read: list[int] = []
    prefill = lm.decoder.prefill

    def counting(cache, row, tokens, **more):
        read.append(len(tokens))
        return prefill(cache, row, tokens, **more)

    monkeypatch.setattr(lm.decoder, "prefill", counting)
    dialogues = Dialogues(lm, 3)
    texts = [f"the cat {'white ' * count}is it.\n\n" for count in (3, 9, 15)]
    sizes: list[int] = []
    for turn in range(6):
        asked = {}
        for row in range(3):
            if turn == 2 and row == 1:
                continue
            if turn == 4:
                texts[row] = texts[row][9:]
            texts[row] += f"Q: who is number {turn}?\nA:"
            asked[row] = Prompt(text=texts[row], limit=7)
        found = dialogues.complete(asked)
        expected = prompting.complete(lm, list(asked.values()))
        assert list(found) == list(asked)
        for row, one in zip(asked, expected, strict=True):
            assert (found[row].text, found[row].stopped) == (one.text, one.stopped)
            assert found[row].log_prob == pytest.approx(one.log_prob, abs=1e-4)
            assert found[row].log_prob_text == pytest.approx(one.log_prob_text, abs=1e-4)
            texts[row] += f"{one.text}\n"
            sizes.append(len(prompting.fitted(lm, asked[row])[0]))
    # The first turn, the one after a cut, and turns that have no room for all before are read from the beginning.
    assert len(read) == len(sizes)
    fresh = sum(new == size for new, size in zip(read, sizes, strict=True))
    assert fresh < len(sizes)
    assert all(new < 40 for new, size in list(zip(read, sizes, strict=True))[3:8] if size < 90)
    (again,) = dialogues.complete({0: asked[0]}).values()
    assert again.text == found[0].text
    assert read[-1] == 1
