"""Exported classifiers compute in transformers what they do here, from the text on."""

from __future__ import annotations

import json

import pytest
import torch

from selftaught.checkpoint import loading
from selftaught.cli.main import main
from selftaught.compute import generator
from selftaught.errors import MismatchError, UsageError
from selftaught.finetuning import exporting, inputs, networks, saving
from selftaught.finetuning.heads import Classifier, head_shape
from selftaught.finetuning.inputs import Encoder, Specials
from selftaught.finetuning.plan import FinetuningPlan
from selftaught.finetuning.saving import Description, Finetuned
from selftaught.tasks.labelled import Columns, Labelled, Labels
from tests.finetuning.conftest import TOKENIZER
from tests.reference.networks import network

transformers = pytest.importorskip("transformers")
EXAMPLES = [
    Labelled(id=str(n), first=f"{'x ' * n}go baba", second=f"{'y' * n}b", options=("go", "ba")) for n in range(1, 5)
]


def finetuned(kind, labels=None, plan=None, **changes):
    labels = labels or (Labels() if kind == "choice" else Labels(names=("no", "maybe", "yes")))
    pretrained = network(vocabulary=TOKENIZER.vocabulary_size, **changes)
    plan = plan or FinetuningPlan()
    model = Classifier(networks.begin(plan, pretrained, seed=1), head_shape(kind, labels, soft=False, dropout=0.1))
    draw = generator("export", kind)
    model.initialise(draw)
    with torch.no_grad():
        for weight in model.output.parameters():
            weight.add_(torch.randn(weight.shape, generator=draw))
    about = Description(
        task="toy", name="tiny", network=plan.network, head=model.shape, context=32,
        specials=Specials.after(TOKENIZER.vocabulary_size), columns=Columns(first=("text",)),
    )  # fmt: skip
    return Finetuned(model=model.eval(), tokenizer=TOKENIZER, description=about)


def as_text(row, specials):
    names = dict(zip((specials.start, specials.delimiter, specials.extract), inputs.SPECIAL_TOKENS, strict=True))
    return "".join(names.get(number) or TOKENIZER.decode([number]) for number in row)


@torch.no_grad()
@pytest.mark.parametrize("norm", ["before", "after"])
@pytest.mark.parametrize("kind", ["classification", "entailment", "similarity", "choice", "score"])
def test_transformers_computes_the_same_outputs(tmp_path, kind, norm):
    scored = Labels(low=0.0, high=5.0) if kind == "score" else None
    found = finetuned("similarity" if kind == "score" else kind, scored, norm=norm)
    exporting.export(found, tmp_path)
    other = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(other).__name__ == exporting._CLASSES[norm]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    about = found.description
    encoded = [Encoder(TOKENIZER, about.head.kind, about.specials, 32).encode(one) for one in EXAMPLES]
    ours, _ = found.model(inputs.collate(encoded, padding=0))
    texts = [as_text(row, about.specials) for one in encoded for row in one.rows]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    assert [
        ids[: len(row)]
        for ids, row in zip(batch["input_ids"].tolist(), [r for one in encoded for r in one.rows], strict=True)
    ] == [list(row) for one in encoded for row in one.rows]
    theirs = other(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    theirs = theirs.view(len(EXAMPLES), -1, theirs.shape[-1])
    theirs = theirs.squeeze(-1) if kind == "choice" else theirs.sum(1)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


def test_names_of_classes_go_along(tmp_path):
    exporting.export(finetuned("classification"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_bytes())
    assert config["id2label"] == {"0": "no", "1": "maybe", "2": "yes"}
    found = transformers.pipeline("text-classification", str(tmp_path))("<|start|>go<|extract|>")
    assert found[0]["label"] in ("no", "maybe", "yes")


def test_networks_without_a_class_are_refused(tmp_path):
    with pytest.raises(MismatchError, match="an LSTM"):
        exporting.export(finetuned("classification", plan=FinetuningPlan(network="lstm", lstm_units=8)), tmp_path)
    with pytest.raises(MismatchError, match="lower rank"):
        found = finetuned("classification")
        with torch.no_grad():
            found.model.output.weight.zero_()
        exporting.export(found, tmp_path)


def test_the_verb(tmp_path, capsys):
    saving.save(finetuned("classification"), tmp_path / "model")
    words = ["convert", str(tmp_path / "model"), str(tmp_path / "hf")]
    assert main([*words, "--vocabulary", "50304"]) == UsageError.exit_code
    assert not (tmp_path / "hf").exists()
    assert main(words) == 0
    assert json.loads((tmp_path / "hf/config.json").read_bytes())["architectures"] == ["GPT2ForSequenceClassification"]
    assert loading.load(tmp_path / "model").model.shape.vocabulary == TOKENIZER.vocabulary_size + 3


def test_the_verb_takes_a_run_as_predict_does(tmp_path):
    saving.save(finetuned("classification"), tmp_path / "run" / "toy" / "full" / "seed-1" / saving.BEST)
    assert main(["convert", str(tmp_path / "run"), str(tmp_path / "hf")]) == 0
    assert json.loads((tmp_path / "hf/config.json").read_bytes())["architectures"] == ["GPT2ForSequenceClassification"]
