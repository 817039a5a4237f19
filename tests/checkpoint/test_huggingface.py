from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from selftaught import compute
from selftaught.checkpoint import huggingface, loading, native
from selftaught.errors import DamagedFileError, InputError
from selftaught.inference.language_model import LanguageModel
from selftaught.model.cache import Cache
from selftaught.model.initial import initialise
from selftaught.model.shape import NAMED_SHAPES, ModelShape
from selftaught.model.transformer import Transformer, Watch
from selftaught.tokenizer import files
from selftaught.tokenizer.gpt1 import GPT1Tokenizer
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
    mapping = huggingface.places(ours.shape)
    for name, value in ours.named_parameters():
        got = value.grad.T if mapping[name].turned else value.grad
        torch.testing.assert_close(got, wanted[mapping[name].name], atol=1e-4, rtol=1e-4, msg=name)


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


OPTIONS = {
    "plain": {},
    "own head": {"tied": False},
    "another width": {"inner": 40},
    "exact GELU": {"activation": "gelu"},
    "another epsilon": {"norm_epsilon": 1e-2},
    "scaled by layer": {"scale_by_layer": True},
    "float32 attention": {"attention_float32": True},
    "all": {"tied": False, "inner": 8, "activation": "gelu", "scale_by_layer": True, "norm_epsilon": 1e-3, "layers": 3},
    "GPT-1": {"norm": "after"},
    "GPT-1 with an own head and another epsilon": {"norm": "after", "tied": False, "norm_epsilon": 1e-2},
    "dropout": {"dropout": 0.1},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@torch.no_grad()
def test_every_option_goes_out_computes_the_same_and_comes_back(tmp_path, options):
    ours = model(**options)
    huggingface.save(ours, TOKENIZER, tmp_path / "hf")
    kind = transformers.OpenAIGPTLMHeadModel if ours.shape.norm == "after" else transformers.GPT2LMHeadModel
    other = kind.from_pretrained(tmp_path / "hf").eval()
    torch.testing.assert_close(other(IDS).logits, ours.logits(ours(IDS)), atol=1e-4, rtol=0)
    back = loading.load(tmp_path / "hf").model
    assert back.shape == ours.shape
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), ours.parameters(), strict=True))
    other.save_pretrained(tmp_path / "again")
    TOKENIZER.save(tmp_path / "again")
    again = loading.load(tmp_path / "again").model
    assert again.shape == ours.shape
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), ours.parameters(), strict=True))


@pytest.mark.parametrize("name", NAMED_SHAPES)
@torch.no_grad()
def test_every_published_depth_computes_the_same(tmp_path, name):
    published = NAMED_SHAPES[name]
    shape = {
        "layers": published.layers,
        "heads": published.heads,
        "channels": 4 * published.heads,
        "norm": published.norm,
    }
    # Large random weights grow from block to block; these are as at the beginning of training.
    ours = Transformer(ModelShape(**shape, context=32, vocabulary=TOKENIZER.vocabulary_size))
    initialise(ours, compute.generator(name), spread=0.2)
    ours.eval()
    huggingface.save(ours, TOKENIZER, tmp_path)
    kind = transformers.OpenAIGPTLMHeadModel if published.norm == "after" else transformers.GPT2LMHeadModel
    expected, got = kind.from_pretrained(tmp_path).eval()(IDS).logits, ours.logits(ours(IDS))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
    assert torch.equal(got.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("options", [{}, {"norm": "after"}, {"scale_by_layer": True, "attention_float32": True}])
@torch.no_grad()
def test_hidden_states_attentions_and_masked_heads_are_transformers(tmp_path, options):
    ours = model(**options)
    huggingface.save(ours, TOKENIZER, tmp_path)
    kind = transformers.OpenAIGPTLMHeadModel if ours.shape.norm == "after" else transformers.GPT2LMHeadModel
    other = kind.from_pretrained(tmp_path, attn_implementation="eager").eval()
    theirs = other(IDS, output_hidden_states=True, output_attentions=True)
    watch = Watch()
    hidden = ours(IDS, watch=watch)
    torch.testing.assert_close(ours.logits(hidden), theirs.logits, atol=1e-4, rtol=0)
    for got, wanted in zip(watch.attention, theirs.attentions, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
    # Theirs has its last state after the last normalisation, ours before it.
    for got, wanted in zip([*watch.hidden[:-1], hidden], theirs.hidden_states, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_head_that_is_masked_says_nothing():
    ours = model()
    mask = torch.ones(2, 2)
    mask[1, 0] = 0
    masked = ours(IDS, watch=Watch(head_mask=mask))
    ours.blocks[1].attention.output.weight[:, :8] = 0
    torch.testing.assert_close(masked, ours(IDS), atol=1e-5, rtol=0)
    assert not torch.allclose(masked, model()(IDS), atol=1e-3)


@torch.no_grad()
def test_watching_changes_nothing_and_works_with_a_cache():
    ours = model()
    cache, watch = Cache(ours.shape, batch=3, length=32), Watch()
    first = ours(IDS[:, :20], cache)
    second = ours(IDS[:, 20:], cache, watch=watch)
    torch.testing.assert_close(torch.cat([first, second], 1), ours(IDS), atol=2e-5, rtol=0)
    assert watch.attention[0].shape == (3, 2, 12, 32)


@pytest.mark.slow
@torch.no_grad()
def test_the_real_shape_of_gpt2_small_computes_the_same(tmp_path):
    shape = NAMED_SHAPES["gpt2-small"]
    ours = Transformer(shape)
    initialise(ours, compute.generator("small"))
    other = transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval()
    state = {
        place.name: ours.state_dict()[name].T if place.turned else ours.state_dict()[name]
        for name, place in huggingface.places(shape).items()
    }
    other.load_state_dict(state, strict=False)
    ids = torch.randint(50257, (1, 64), generator=compute.generator("ids"))
    expected, got = other(ids).logits, ours.eval().logits(ours(ids))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
    assert torch.equal(got.argmax(-1), expected.argmax(-1))


def test_gpt1s_own_tokenizer_goes_along(tmp_path):
    letters = [chr(point) for point in range(97, 123)]
    tokens = ["<unk>", *letters, *(f"{letter}</w>" for letter in letters), "th", "the</w>", "\n</w>"]
    ids = {token.encode(): place for place, token in enumerate(tokens) if place}
    made = GPT1Tokenizer(
        files.Vocabulary(ids=ids, merges=((b"t", b"h"), (b"th", b"e</w>")), end_of_text=0, kind="gpt1")
    )
    huggingface.save(network(vocabulary=len(tokens), norm="after"), made, tmp_path)
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert other.encode("the cat", add_special_tokens=False) == made.encode("the cat")
    assert loading.load(tmp_path).tokenizer.fingerprint == made.fingerprint


def test_a_bare_network_without_its_prefix_is_read(tmp_path):
    huggingface.save(model(), TOKENIZER, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(
        {name.removeprefix("transformer."): value for name, value in tensors.items()}, tmp_path / "model.safetensors"
    )
    loaded = loading.load(tmp_path).model
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model().parameters(), strict=True))


def test_all_that_does_not_fit_is_said_at_once(tmp_path):
    huggingface.save(model(), TOKENIZER, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["transformer.h.1.mlp.c_fk.weight"] = tensors.pop("transformer.h.1.mlp.c_fc.weight")
    tensors["transformer.wpe.weight"] = tensors["transformer.wpe.weight"][:5].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError) as found:
        loading.load(tmp_path)
    assert "transformer.wpe.weight is 5 x 16 where 32 x 16 was expected" in str(found.value)
    assert "h.1.mlp.c_fc.weight is missing (there is transformer.h.1.mlp.c_fk.weight)" in str(found.value)


def test_tensors_left_over_are_told(tmp_path, capsys):
    huggingface.save(model(), TOKENIZER, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    extras = {
        "score.weight": torch.zeros(2),
        "transformer.h.0.attn.bias": torch.zeros(1),
        "lm_head.weight": torch.zeros(1),
    }
    save_file(tensors | extras, tmp_path / "model.safetensors")
    loading.load(tmp_path)
    said = "".join(capsys.readouterr())
    assert "score.weight" in said
    assert "attn.bias" not in said


@pytest.mark.parametrize("parts", [1, 2])
def test_pickled_weights_are_read_by_the_loader_that_runs_nothing(tmp_path, parts):
    huggingface.save(model(), TOKENIZER, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    names = sorted(tensors)
    cut = [names] if parts == 1 else [names[:7], names[7:]]
    paths = ["pytorch_model.bin"] if parts == 1 else ["pytorch_model-1.bin", "pytorch_model-2.bin"]
    for path, part in zip(paths, cut, strict=True):
        torch.save({name: tensors[name] for name in part}, tmp_path / path)
    if parts == 2:
        weight_map = {name: path for path, part in zip(paths, cut, strict=True) for name in part}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    loaded = loading.load(tmp_path).model
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model().parameters(), strict=True))


def test_half_precision_weights_become_float32(tmp_path):
    huggingface.save(model(), TOKENIZER, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name: value.bfloat16() for name, value in tensors.items()}, tmp_path / "model.safetensors")
    for got, wanted in zip(loading.load(tmp_path).model.parameters(), model().parameters(), strict=True):
        assert torch.equal(got, wanted.bfloat16().float())


def test_weights_as_stored_are_the_same_numbers_still_in_their_file(tmp_path):
    wide = network(vocabulary=TOKENIZER.vocabulary_size, channels=256, heads=4)
    huggingface.save(wide, TOKENIZER, tmp_path)
    stored = loading.load(tmp_path, as_stored=True).model
    assert all(torch.equal(a, b) for a, b in zip(stored.parameters(), wide.parameters(), strict=True))
    assert stored.get_parameter("blocks.1.feed.inner.weight").T.is_contiguous()
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name: value.bfloat16() for name, value in tensors.items()}, tmp_path / "model.safetensors")
    stored = loading.load(tmp_path, as_stored=True).model
    assert {weight.dtype for weight in stored.parameters()} == {torch.bfloat16}


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
        {"scale_attn_weights": False},
        {"add_cross_attention": True},
        {"afn": "relu"},
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
    with pytest.raises((DamagedFileError, InputError), match="768 was expected"):
        loading.load(exported)  # GPT-2 small was meant, and these are not its weights


def test_gpt1s_class_has_no_such_options(tmp_path):
    with pytest.raises(InputError, match="transformers' GPT-1"):
        huggingface.save(model(norm="after", activation="gelu"), TOKENIZER, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("format_", ["hf", "native"])
def test_loading_holds_the_weights_hardly_more_than_once(tmp_path, format_):
    made = network(layers=8, channels=512, heads=8, vocabulary=TOKENIZER.vocabulary_size)
    {"hf": huggingface.save, "native": native.save}[format_](made, TOKENIZER, tmp_path / "it")
    size = (tmp_path / "it" / "model.safetensors").stat().st_size
    program = (
        "import resource, sys, torch, safetensors.torch; from selftaught.checkpoint import loading;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024;"
        "torch.zeros(8) @ torch.zeros(8); before = peak(); loading.load(sys.argv[1]); print(peak() - before)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "it")], capture_output=True, text=True, check=True
    )
    assert int(said.stdout) < 1.2 * size


def test_a_model_of_the_hub_is_fetched_by_its_name_alone(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    huggingface.save(model(), TOKENIZER, tmp_path)
    asked = []
    monkeypatch.setattr(
        hub, "snapshot_download", lambda *name, **more: asked.append((*name, more["revision"])) or tmp_path
    )
    loaded = loading.load("hf://someone/some-gpt2@v1.0")
    assert asked == [("someone/some-gpt2", "v1.0")]
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), model().parameters(), strict=True))
    assert loading.load(Path("hf://someone/some-gpt2")).model.shape == model().shape
    with pytest.raises(InputError, match="hf://OWNER/NAME"):
        loading.load("hf://one-word")

    def fails(*_name, **_more):
        raise OSError("no way")

    monkeypatch.setattr(hub, "snapshot_download", fails)
    with pytest.raises(InputError, match="cannot fetch"):
        loading.load("hf://someone/some-gpt2")


def test_a_model_in_the_hubs_cache_is_called_as_there(exported, tmp_path):
    revision = tmp_path / "models--someone--some-gpt2" / "snapshots" / "0123456789abcdef"
    revision.parent.mkdir(parents=True)
    exported.rename(revision)
    assert loading.load(revision).name == "some-gpt2"
