"""Continuing many prompts side by side, against continuing each alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.inference import completion, generation, prompting, sampling
from selftaught.inference.completion import Asked, complete
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.prompting import Prompt
from selftaught.inference.rules import SamplingSettings
from selftaught.model.initial import initialise
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.learning import learn_tokenizer
from tests.reference import sampler

VOCABULARY, CONTEXT = 60, 48
GREEDY, DRAWN = SamplingSettings(temperature=0), SamplingSettings(top_k=3, temperature=0.8)


@pytest.fixture(scope="module")
def network() -> Transformer:
    model = Transformer(ModelShape(layers=2, heads=2, channels=24, context=CONTEXT, vocabulary=VOCABULARY))
    initialise(model, compute.generator("completion"))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)  # so that one token is clearly more probable than the next
    return model.eval()


def generator(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def alone(network: Transformer, asked: Asked, rules: SamplingSettings, stop: set[int]) -> list[generation.Drawn]:
    """One prompt, token by token, without sliding; gives an example up where rounding would decide what is drawn."""
    drawn = generation.draw(network, asked.prompt, rules, asked.generator, VOCABULARY - 5)
    found: list[generation.Drawn] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(generation, "choose", clearly_chosen)
        while len(found) < asked.limit and len(asked.prompt) + len(found) <= CONTEXT:
            found.append(next(drawn))
            if found[-1].token in stop:
                break
    return found


def clearly_chosen(logits: torch.Tensor, rules: SamplingSettings, numbers: torch.Generator, *texts: list[int]) -> int:
    assume(sampler.is_clear(logits.tolist(), rules.temperature, rules.top_k, numbers))
    return sampling.choose(logits, rules, numbers, *texts)


PROMPT = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=CONTEXT)


@settings(max_examples=30)
@given(
    beginning=st.lists(st.integers(0, VOCABULARY - 1), max_size=30),
    ends=st.lists(st.tuples(st.booleans(), PROMPT, st.integers(0, 12)), min_size=1, max_size=9),
    greedy=st.booleans(),
)
def test_company_changes_nothing(
    network: Transformer, beginning: list[int], ends: list[tuple[bool, list[int], int]], greedy: bool
) -> None:
    prompts = [([*beginning, *end] if shares else end)[:CONTEXT] for shares, end, _ in ends]
    rules, stop = GREEDY if greedy else DRAWN, {3, 4, 5}

    def asked() -> list[Asked]:
        return [
            Asked(prompt=prompt, limit=limit, generator=generator(number))
            for number, (prompt, (_, _, limit)) in enumerate(zip(prompts, ends, strict=True))
        ]

    told: list[int] = []
    found = complete(network, asked(), rules, stop=stop, vocabulary=VOCABULARY - 5, advance=told.append)
    assert sum(told) == len(prompts)
    for each, one in zip(asked(), found, strict=True):
        slow = alone(network, each, rules, stop)
        assert list(one.tokens) == [drawn.token for drawn in slow]
        assert torch.tensor(one.log_probs).exp().tolist() == pytest.approx(
            [drawn.probability for drawn in slow], abs=1e-4
        )
        assert one.stopped == bool(slow and slow[-1].token in stop)


def test_a_conversation_is_read_once(network: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [number % 50 for number in range(40)]
    read: list[int] = []
    forward = Transformer.forward

    def counted(self, ids_BT, *rest, **named):  # type: ignore[no-untyped-def]
        read.append(ids_BT.numel())
        return forward(self, ids_BT, *rest, **named)

    monkeypatch.setattr(Transformer, "forward", counted)
    asked = [Asked(prompt=whole[:end], limit=1, generator=generator(0)) for end in range(20, 41)]
    complete(network, asked, GREEDY, stop=set())
    assert read == [40]


def test_small_batches_change_nothing(network: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Asked(prompt=[number, *range(20), number], limit=6, generator=generator(1)) for number in range(9)]
    together = complete(network, asked, DRAWN, stop=set())
    monkeypatch.setitem(completion.REMEMBERED, "cpu", 40)
    asked = [Asked(prompt=one.prompt, limit=6, generator=generator(1)) for one in asked]
    assert [one.tokens for one in complete(network, asked, DRAWN, stop=set())] == [one.tokens for one in together]


def test_a_bias_counts_where_the_most_probable_token_is_taken(network: Transformer) -> None:
    asked = [Asked(prompt=[1, 2, 3], limit=4, generator=generator(0))]
    rules = SamplingSettings(temperature=0, logit_bias=((7, 100.0),))
    assert list(complete(network, asked, rules, stop=set())[0].tokens) == [7] * 4


@pytest.mark.parametrize("prompt", [[], list(range(CONTEXT + 1))])
def test_prompts_that_do_not_fit_are_refused(network: Transformer, prompt: list[int]) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        complete(network, [Asked(prompt=prompt, limit=1, generator=generator(0))], GREEDY, stop=set())


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    tokenizer = learn_tokenizer(["the cat sat\n\non the é mat\n" * 9], vocabulary_size=280)
    model = Transformer(ModelShape(layers=1, heads=2, channels=16, context=32, vocabulary=280))
    initialise(model, compute.generator("prompting"))
    return LanguageModel(model, tokenizer)


def test_continuations_end_before_a_newline(lm: LanguageModel) -> None:
    newlines = prompting.newline_tokens(lm.tokenizer)
    assert {lm.tokenizer.decode([token]) for token in newlines} >= {"\n"}
    assert all("\n" in lm.tokenizer.decode([token]) for token in newlines)
    (newline,) = lm.tokenizer.encode("\n")
    with torch.no_grad():
        lm.model.tokens.weight[newline] *= 0
        lm.model.norm.bias.copy_(lm.model.tokens.weight[newline] + 1)
        lm.model.tokens.weight[newline] += 1  # the newline is now the most probable token always
    (one,) = prompting.complete(lm, [Prompt(text="the", limit=5)])
    assert (one.text, one.stopped, one.log_prob_text) == ("", True, 0.0)
    assert one.log_prob < 0
    (one,) = prompting.complete(lm, [Prompt(text="the" * 90, limit=5)], lines=False)
    assert (one.text, one.stopped, one.log_prob_text) == ("\n" * 5, False, one.log_prob)


def test_beginnings_are_cut_between_characters(lm: LanguageModel) -> None:
    text = "ééé the cat"
    assert prompting.length(lm, text) == len(lm.tokenizer.encode(text))
    for tokens in range(prompting.length(lm, text) + 2):
        part = prompting.beginning(lm, text, tokens)
        assert text.startswith(part)
        assert prompting.length(lm, part) <= tokens
        end = prompting.ending(lm, text, tokens)
        assert text.endswith(end)
        assert prompting.length(lm, end) <= tokens
    assert part == end == text
