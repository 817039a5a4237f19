from __future__ import annotations

from collections import Counter
from itertools import islice, product

import pytest
import torch

from selftaught import compute
from selftaught.errors import MismatchError, UsageError
from selftaught.inference import compiled, generation, sampling
from selftaught.inference.decoding import Decoder
from selftaught.inference.rules import SamplingSettings
from selftaught.inference.speculation import Speculator, settle
from tests.reference.networks import network

GREEDY = SamplingSettings(temperature=0)


def near(model, amount):
    """A network that mostly agrees with another."""
    other = network(seed=1)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(torch.randn(weight.shape, generator=compute.generator("near")), alpha=amount)
    return other


@pytest.mark.parametrize("length", [1, 20, 31, 32, 33, 80])
@pytest.mark.parametrize("draft", ["same", "near", "other", "short"])
def test_greedily_it_draws_the_same_tokens(length, draft):
    model = network()
    drafts = {
        "same": model,
        "near": near(model, 0.05),
        "other": network(seed=2, layers=1, norm="after"),
        "short": network(seed=3, context=8),
    }
    prompt = [(7 * number) % 50 for number in range(length)]
    speculator = Speculator(compiled.decoder(model), compiled.decoder(drafts[draft]))
    plain = generation.draw(model, prompt, GREEDY, compute.generator(1), 45, 2)
    speculative = speculator.draw(prompt, GREEDY, compute.generator(1), 45, 2)
    for found, expected in zip(islice(speculative, 90), islice(plain, 90), strict=True):
        assert found.token == expected.token
        assert found.log_prob == pytest.approx(expected.log_prob, abs=1e-4)
        assert found.top[0][0] == expected.top[0][0]
    if draft == "same":
        assert speculator.kept == speculator.proposed > 60
    else:
        assert 0 <= speculator.kept < speculator.proposed


@pytest.mark.parametrize(
    "rules",
    [
        SamplingSettings(top_k=0),
        SamplingSettings(top_k=3, temperature=0.7),
        SamplingSettings(top_k=0, top_p=0.8, repetition_penalty=1.5, frequency_penalty=1.0),
    ],
    ids=["plain", "top-k", "penalties"],
)
def test_the_distribution_of_texts_is_the_networks_own(rules):
    model, draft = network(vocabulary=5), network(seed=2, vocabulary=5, layers=1)
    decoder, prompt, count = Decoder(model), [1, 3], 3
    speculator = Speculator(compiled.decoder(model), compiled.decoder(draft))
    numbers = compute.generator("texts")
    draws = 1000
    found = Counter(
        tuple(one.token for one in islice(speculator.draw(prompt, rules, numbers), count)) for _ in range(draws)
    )
    surprise = 0.0
    cells = 0
    for text in product(range(5), repeat=count):
        chance = 1.0
        for place, token in enumerate(text):
            logits_V = decoder.prefill(decoder.cache(), 0, [*prompt, *text[:place]])
            chance *= float(sampling.distribution(logits_V, rules, prompt, text[:place])[token])
            if chance == 0:
                break
        if chance == 0:
            assert found[text] == 0
        else:
            cells += 1
            surprise += (found[text] - draws * chance) ** 2 / (draws * chance)
    # Chi-squared with `cells` - 1 degrees of freedom: mean cells - 1, variance twice that; here within four deviations.
    assert surprise < cells - 1 + 4 * (2 * cells) ** 0.5
    assert speculator.kept < 0.9 * speculator.proposed


def test_a_settled_token_is_distributed_as_wanted():
    wanted, guessed = torch.tensor([0.5, 0.0, 0.2, 0.3]), torch.tensor([0.1, 0.4, 0.2, 0.3])
    numbers = compute.generator("settled")
    found: Counter[int] = Counter()
    kept = 0
    for _ in range(4000):
        token, stayed = settle(wanted, guessed, sampling.pick(torch.arange(4), guessed, numbers), numbers)
        found[token] += 1
        kept += stayed
    assert [found[token] / 4000 for token in range(4)] == pytest.approx(wanted.tolist(), abs=0.03)
    assert kept / 4000 == pytest.approx(0.6, abs=0.03)  # 1 - half the sum of differences


def test_ids_that_no_text_has_are_not_drawn():
    model = network()
    speculator = Speculator(Decoder(model), Decoder(network(seed=2)))
    drawn = speculator.draw([1], SamplingSettings(top_k=0, temperature=5), compute.generator(3), 4)
    assert {one.token for one in islice(drawn, 80)} == {0, 1, 2, 3}


def test_a_draft_of_another_vocabulary_is_refused():
    with pytest.raises(MismatchError, match="50 ids"):
        Speculator(Decoder(network()), Decoder(network(vocabulary=49)))


def test_impossible_prompts_are_refused():
    speculator = Speculator(Decoder(network()), Decoder(network()))
    with pytest.raises(UsageError):
        next(speculator.draw([], GREEDY, compute.generator(1)))
