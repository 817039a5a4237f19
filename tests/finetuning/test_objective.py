"""Losses and gradients: beside a slow twin, and beside transformers where the computation is the same."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from selftaught.compute import generator
from selftaught.finetuning import inputs, objective
from selftaught.finetuning.heads import Classifier, HeadShape, head_shape
from selftaught.finetuning.inputs import Encoded
from selftaught.finetuning.lstm import UNIT_INPUT, Lstm, LstmShape, initialise
from selftaught.tasks.labelled import Labels
from tests.reference import finetuning
from tests.reference.networks import network

SCORES = Labels(low=1.0, high=5.0)
HEADS = {
    "classification": head_shape("classification", Labels(names=("a", "b", "c")), soft=True, dropout=0.1),
    "entailment": head_shape("entailment", Labels(names=("a", "b")), soft=True, dropout=0.1),
    "similarity": head_shape("similarity", Labels(names=("a", "b")), soft=True, dropout=0.1),
    "soft-score": head_shape("similarity", SCORES, soft=True, dropout=0.1),
    "score": head_shape("similarity", SCORES, soft=False, dropout=0.1),
    "choice": head_shape("choice", Labels(), soft=True, dropout=0.1),
}


def classifier(head, net=None):
    model = Classifier(net or network(), head)
    draw = generator("test head", 1)
    model.initialise(draw)
    with torch.no_grad():
        for weight in model.output.parameters():
            weight.add_(torch.randn(weight.shape, generator=draw), alpha=0.3)
    return model.eval()


def examples(head, count=7):
    rows = {"similarity": 2, "choice": 3}.get(head.kind, 1)
    draw = generator("test examples", head.kind, head.answer)

    def number(low, high):
        return int(torch.randint(low, high, (), generator=draw))

    def label():
        if head.scored:
            return number(10, 51) / 10
        return number(0, 3 if head.kind == "choice" else head.outputs)

    return [
        Encoded(rows=tuple(tuple(number(0, 50) for _ in range(number(3, 20))) for _ in range(rows)), label=label())
        for _ in range(count)
    ]


def ours(model, batch_of, weight, *, tokens=10_000):
    rows = sum(len(one.rows) for one in batch_of)
    total = 0.0
    for part in inputs.micro_batches(batch_of, tokens):
        task, language = objective.losses(
            model, inputs.collate(part, padding=49, scored=model.shape.scored), language=weight > 0
        )
        loss = task / len(batch_of) + weight * language / rows
        loss.backward()
        total += float(loss.detach())
    return total


def gradients(model):
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("tokens", [10_000, 60])
@pytest.mark.parametrize("weight", [0.5, 0.0])
@pytest.mark.parametrize("name", HEADS)
def test_batched_losses_and_gradients_are_the_slow_twins(name, weight, tokens, monkeypatch):
    monkeypatch.setattr(objective, "CHUNK", 50)
    model, batch = classifier(HEADS[name]), examples(HEADS[name])
    loss = ours(model, batch, weight, tokens=tokens)
    got = gradients(model)
    expected = finetuning.objective(model, batch, weight)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), abs=1e-5)
    wanted = gradients(model)
    assert got.keys() == wanted.keys()
    for key in got:
        torch.testing.assert_close(got[key], wanted[key], atol=1e-5, rtol=1e-4, msg=key)


def test_the_lstm_goes_through_the_same_objective():
    lstm = Lstm(LstmShape(units=12, channels=16, context=32, vocabulary=50))
    initialise(lstm, generator("lstm", 1))
    model, batch = classifier(HEADS["similarity"], lstm), examples(HEADS["similarity"])
    loss = ours(model, batch, 0.5, tokens=60)
    got = gradients(model)
    finetuning.objective(model, batch, 0.5).backward()
    assert loss == pytest.approx(float(finetuning.objective(model, batch, 0.5).detach()), abs=1e-5)
    for key, value in gradients(model).items():
        torch.testing.assert_close(got[key], value, atol=1e-5, rtol=1e-4, msg=key)


def test_a_new_lstm_soon_learns_which_token_follows_which():
    shape = LstmShape(units=64, channels=32, context=32, vocabulary=64, input_scale=UNIT_INPUT)
    lstm, draw = Lstm(shape), generator("walk", 1)
    initialise(lstm, generator("lstm", 1))
    optimizer = torch.optim.Adam(lstm.parameters(), 3e-3)
    following_V = torch.randperm(64, generator=draw)
    for _ in range(60):
        columns = [torch.randint(64, (8,), generator=draw)]
        for _ in range(32):
            columns.append(following_V[columns[-1]])
        ids_BT = torch.stack(columns, 1)
        loss = functional.cross_entropy(lstm.logits(lstm(ids_BT[:, :-1])).flatten(0, 1), ids_BT[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1  # 4.2 is chance; with embeddings that the gates hardly see it is 1.9


def test_the_shares_of_a_score_are_those_of_its_neighbours():
    found = objective.shared_out(torch.tensor([3.8, 1.0, 5.0, 2.5]), HEADS["soft-score"])
    expected = [[0, 0, 0.2, 0.8, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0.5, 0.5, 0, 0]]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)


def test_all_answers_of_a_question_share_their_dropout():
    model = classifier(HEADS["choice"]).train()
    batch = inputs.collate([Encoded(rows=((1, 2, 3),) * 3, label=0)] * 4, padding=0)
    torch.manual_seed(1)
    outputs_EL, _ = model(batch)
    assert torch.equal(outputs_EL[:, :1].expand(4, 3), outputs_EL)
    assert len(set(outputs_EL[:, 0].tolist())) > 1


_THEIRS = {
    "attention_norm": "ln_1",
    "attention.query_key_value": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feed_norm": "ln_2",
    "feed.inner": "mlp.c_fc",
    "feed.outer": "mlp.c_proj",
}
_OUTER = {"tokens": "wte", "positions": "wpe", "norm": "ln_f"}


def their_names(model):
    """Our name of each weight of a network -> theirs, and whether it is turned."""
    names = {}
    for name in model.network.state_dict():
        head, _, kind = name.rpartition(".")
        if head in _OUTER:
            names[name] = f"transformer.{_OUTER[head]}.{kind}", False
            continue
        _, number, inner = head.split(".", 2)
        names[name] = f"transformer.h.{number}.{_THEIRS[inner]}.{kind}", kind == "weight" and "norm" not in inner
    return names


def transposed(model):
    """Weights of a Hugging Face network: name -> tensor."""
    state = model.network.state_dict()
    return {theirs: (state[name].T if turned else state[name]) for name, (theirs, turned) in their_names(model).items()}


def test_classification_is_transformers_gpt2_for_sequence_classification():
    transformers = pytest.importorskip("transformers")
    model, batch_of = classifier(HEADS["classification"]), examples(HEADS["classification"])
    with torch.no_grad():
        model.output.bias.zero_()  # theirs has none
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2, num_labels=3, pad_token_id=49
    )
    other = transformers.GPT2ForSequenceClassification(config).eval()
    state = transposed(model) | {"score.weight": model.output.weight}
    missing = other.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert not missing.missing_keys
    batch_of = [Encoded(rows=(tuple(n % 49 for n in one.rows[0]),), label=one.label) for one in batch_of]
    batch = inputs.collate(batch_of, padding=49)
    theirs = other(input_ids=batch.ids, attention_mask=(batch.ids != 49).long(), labels=batch.labels)
    outputs_EL, _ = model(batch)
    torch.testing.assert_close(outputs_EL, theirs.logits, atol=1e-5, rtol=0)
    theirs.loss.backward()
    assert ours(model, batch_of, 0.0) == pytest.approx(float(theirs.loss.detach()), abs=1e-5)
    got, wanted = gradients(model), gradients(other)
    torch.testing.assert_close(got["output.weight"], wanted["score.weight"], atol=1e-5, rtol=1e-4)
    for name, (theirs_name, turned) in their_names(model).items():
        grad = got[f"network.{name}"]
        torch.testing.assert_close(grad.T if turned else grad, wanted[theirs_name], atol=1e-5, rtol=1e-4, msg=name)


def test_choice_with_the_auxiliary_loss_is_transformers_double_heads_model():
    transformers = pytest.importorskip("transformers")
    model = classifier(HEADS["choice"], network(norm="after"))
    config = transformers.OpenAIGPTConfig(
        vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2, afn="gelu", num_labels=1
    )
    other = transformers.OpenAIGPTDoubleHeadsModel(config).eval()
    names = {"transformer.wte": "transformer.tokens_embed", "transformer.wpe": "transformer.positions_embed"}
    state = {}
    for name, value in transposed(model).items():
        head, _, kind = name.rpartition(".")
        state[f"{names.get(head, head)}.{kind}"] = value
    state["lm_head.weight"] = state["transformer.tokens_embed.weight"]
    state |= {
        "multiple_choice_head.summary.weight": model.output.weight,
        "multiple_choice_head.summary.bias": model.output.bias,
    }
    assert not other.load_state_dict(state, strict=False).unexpected_keys
    # Their auxiliary loss is a mean over tokens, ours over rows: the same for rows of one length.
    draw = generator("double heads", 1)
    ids = torch.randint(50, (5, 3, 11), generator=draw)
    batch_of = [Encoded(rows=tuple(map(tuple, one.tolist())), label=n % 3) for n, one in enumerate(ids)]
    theirs = other(
        input_ids=ids,
        mc_token_ids=torch.full((5, 3), 10),
        labels=ids,
        mc_labels=torch.tensor([one.label for one in batch_of]),
    )
    total = theirs.mc_loss + 0.5 * theirs.loss
    total.backward()
    assert ours(model, batch_of, 0.5) == pytest.approx(float(total.detach()), abs=1e-5)
    got, wanted = gradients(model), gradients(other)
    torch.testing.assert_close(
        got["network.tokens.weight"], wanted["transformer.tokens_embed.weight"], atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        got["output.weight"], wanted["multiple_choice_head.summary.weight"], atol=1e-5, rtol=1e-4
    )
    inner = "blocks.0.attention.query_key_value.weight"
    torch.testing.assert_close(
        got[f"network.{inner}"].T, wanted["transformer.h.0.attn.c_attn.weight"], atol=1e-5, rtol=1e-4
    )


def test_heads_fit_their_labels():
    assert HEADS["soft-score"].outputs == 5
    assert HEADS["score"].outputs == HEADS["choice"].outputs == 1
    assert head_shape("similarity", Labels(low=0.0, high=1.5), soft=True, dropout=0).answer == "score"
    assert isinstance(HEADS["score"], HeadShape)
