from __future__ import annotations

from itertools import product

import pytest
import torch

from selftaught.errors import UsageError
from selftaught.inference import beam, compiled
from selftaught.inference.decoding import Decoder
from tests.reference.networks import network


def log_prob(decoder, prompt, text):
    logits_TV = decoder.prefill(decoder.cache(), 0, [*prompt, *text[:-1]], every=True)[len(prompt) - 1 :]
    return float(logits_TV.log_softmax(-1)[torch.arange(len(text)), torch.tensor(text)].sum())


def test_with_enough_beams_it_finds_the_best_of_all_texts():
    decoder = compiled.decoder(network(vocabulary=5))
    everything = {text: log_prob(decoder, [1, 2], list(text)) for text in product(range(5), repeat=4)}
    best = sorted(everything, key=everything.__getitem__, reverse=True)[:10]
    found = beam.search(decoder, [1, 2], beams=200, most=4)
    assert [one.tokens for one in found[:10]] == best
    assert [one.log_prob for one in found[:10]] == pytest.approx([everything[text] for text in best], abs=1e-4)


@pytest.mark.parametrize("beams", [1, 2, 3, 6])
@pytest.mark.parametrize("end", [None, 7])
def test_it_finds_what_transformers_finds(beams, end):
    import transformers

    model = network(vocabulary=12)
    config = transformers.GPT2Config(
        vocab_size=12, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=None
    )
    theirs = transformers.GPT2LMHeadModel(config).eval()
    theirs.load_state_dict(renamed(model))
    for prompt in ([3], [1, 2, 3, 4, 5, 6]):
        found = beam.search(Decoder(model), prompt, beams=beams, most=12, end=end)
        expected = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt)),
            num_beams=beams,
            num_return_sequences=beams,
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=0,
            early_stopping=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
        padded = [list(one.tokens) + [0] * (12 - len(one.tokens)) for one in found]
        texts = expected.sequences[:, len(prompt) :]
        texts = torch.nn.functional.pad(texts, (0, 12 - texts.shape[1])).tolist()
        assert padded == texts
        if beams > 1:
            assert [one.score for one in found] == pytest.approx(expected.sequences_scores.tolist(), abs=1e-4)


def renamed(model):
    """Our weights under transformers' names, whose matrices stand the other way round."""
    names = {
        "attention_norm": "ln_1",
        "feed_norm": "ln_2",
        "attention.query_key_value": "attn.c_attn",
        "attention.output": "attn.c_proj",
        "feed.inner": "mlp.c_fc",
        "feed.outer": "mlp.c_proj",
    }
    found = {}
    for name, weight in model.state_dict().items():
        path, _, last = name.rpartition(".")
        if path.startswith("blocks."):
            _, number, rest = path.split(".", 2)
            turned = weight.T if weight.ndim == 2 else weight
            found[f"transformer.h.{number}.{names[rest]}.{last}"] = turned
        else:
            found[f"transformer.{ {'tokens': 'wte', 'positions': 'wpe', 'norm': 'ln_f'}[path] }.{last}"] = weight
    found["lm_head.weight"] = found["transformer.wte.weight"]
    return found


@pytest.mark.parametrize("wrong", [{"beams": 0, "most": 3}, {"beams": 2, "most": 0}, {"beams": 2, "most": 32}])
def test_what_cannot_be_searched_is_refused(wrong):
    with pytest.raises(UsageError):
        beam.search(Decoder(network()), [1, 2], **wrong)
