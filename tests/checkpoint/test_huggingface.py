from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from selftaught.checkpoint import huggingface, loading
from selftaught.errors import DamagedFileError, InputError, MismatchError
from selftaught.inference.language_model import LanguageModel
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference.networks import network

transformers = pytest.importorskip("transformers")
TOKENIZER = Tokenizer(files.from_merges([(b"t", b"h"), (b"th", b"e"), (b" ", b"the")]))
IDS = torch.randint(250, (3, 32), generator=torch.Generator().manual_seed(1))


def model(**changes):
    return network(vocabulary=TOKENIZER.vocabulary_size, **changes)


@pytest.fixture
def exported(tmp_path):
    huggingface.save(model(), TOKENIZER, tmp_path / "hf")
    return tmp_path / "hf"


def theirs(folder):
    return transformers.GPT2LMHeadModel.from_pretrained(folder).eval()


@torch.no_grad()
def test_transformers_computes_the_same_logits(exported):
    ours = model()
    torch.testing.assert_close(theirs(exported)(IDS).logits, ours.logits(ours(IDS)), atol=1e-5, rtol=0)


def test_transformers_has_the_same_gradients(exported):
    ours, other = model(), theirs(exported)
    (ours.logits(ours(IDS)).logsumexp(-1).sum() / 100).backward()
    (other(IDS).logits.logsumexp(-1).sum() / 100).backward()
    wanted = {name: value.grad for name, value in other.named_parameters()}
    mapping = huggingface._names(ours.shape)
    for name, value in ours.named_parameters():
        their_name, turned = mapping[name]
        got = value.grad.T if turned else value.grad
        torch.testing.assert_close(got, wanted[their_name], atol=1e-4, rtol=1e-4, msg=name)


def test_a_round_trip_keeps_every_bit(exported, tmp_path):
    loaded = loading.load(exported)
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), model().parameters(), strict=True))
    assert loaded.tokenizer.fingerprint == TOKENIZER.fingerprint
    theirs(exported).save_pretrained(tmp_path / "again")
    TOKENIZER.save(tmp_path / "again")
    again = loading.load(tmp_path / "again").model
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model().parameters(), strict=True))


def test_transformers_reads_the_same_text(exported):
    other = transformers.AutoTokenizer.from_pretrained(exported)
    text = "the thing, then: été 42 \n\n  the"
    assert other.encode(text) == TOKENIZER.encode(text)
    assert other.eos_token_id == TOKENIZER.end_of_text


@torch.no_grad()
def test_greedy_text_is_transformers(exported):
    prompt = "the thing"
    ids = torch.tensor([TOKENIZER.encode(prompt)])
    other = theirs(exported).generate(
        ids, max_new_tokens=20, do_sample=False, pad_token_id=TOKENIZER.end_of_text, attention_mask=torch.ones_like(ids)
    )
    expected = other[0, ids.size(1) :].tolist()
    expected = expected[: expected.index(TOKENIZER.end_of_text)] if TOKENIZER.end_of_text in expected else expected
    ours = LanguageModel.load(exported).generate(prompt, max_new_tokens=20, temperature=0)
    assert ours == TOKENIZER.decode(expected)


@torch.no_grad()
def test_gpt1_computes_what_transformers_does():
    ours = model(norm="after")
    shape = ours.shape
    config = transformers.OpenAIGPTConfig(
        vocab_size=shape.vocabulary, n_positions=32, n_embd=16, n_layer=2, n_head=2, afn="gelu"
    )
    other = transformers.OpenAIGPTLMHeadModel(config).eval()
    names = {"transformer.wte": "transformer.tokens_embed", "transformer.wpe": "transformer.positions_embed"}
    state = {}
    for name, (their_name, turned) in huggingface._names(shape).items():
        if name in ours.state_dict():
            head, _, kind = their_name.rpartition(".")
            state[f"{names.get(head, head)}.{kind}"] = ours.state_dict()[name].T if turned else ours.state_dict()[name]
    state["lm_head.weight"] = state["transformer.tokens_embed.weight"]
    missing = other.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert not [name for name in missing.missing_keys if "bias" not in name or "position" in name]
    torch.testing.assert_close(other(IDS).logits, ours.logits(ours(IDS)), atol=1e-5, rtol=0)


def test_weights_in_several_files_are_read(exported):
    tensors = load_file(exported / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, inside in parts.items():
        save_file({name: tensors[name] for name in inside}, exported / file)
    weight_map = {name: file for file, inside in parts.items() for name in inside}
    (exported / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (exported / "model.safetensors").unlink()
    loaded = loading.load(exported)
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), model().parameters(), strict=True))
    weight_map[names[0]] = "../elsewhere.safetensors"
    (exported / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(DamagedFileError, match="elsewhere"):
        loading.load(exported)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "llama"},
        {"activation_function": "relu"},
        {"n_inner": 17},
        {"scale_attn_by_inverse_layer_idx": True},
        {"layer_norm_epsilon": 1e-6},
        {"tie_word_embeddings": False},
    ],
)
def test_another_network_is_refused_by_name(exported, change):
    config = json.loads((exported / "config.json").read_bytes())
    (exported / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=next(iter(change))):
        loading.load(exported)


def test_a_config_without_numbers_means_the_usual_ones(exported):
    config = json.loads((exported / "config.json").read_bytes())
    for name in ("activation_function", "layer_norm_epsilon", "tie_word_embeddings", "resid_pdrop"):
        config.pop(name, None)
    (exported / "config.json").write_text(json.dumps(config))
    loading.load(exported)
    (exported / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises((DamagedFileError, InputError), match=r"h\.2"):
        loading.load(exported)  # GPT-2 small was meant, and these are not its weights


def test_pickled_weights_are_not_read(exported):
    (exported / "model.safetensors").rename(exported / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickle"):
        loading.load(exported)


def test_gpt1_has_no_such_folder(tmp_path):
    with pytest.raises((InputError, MismatchError)):
        huggingface.save(model(norm="after"), TOKENIZER, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()
