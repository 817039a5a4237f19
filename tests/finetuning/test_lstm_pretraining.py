"""The LSTM is pre-trained on token shards, continued where it was interrupted, and then fine-tuned."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selftaught import storage
from selftaught.checkpoint import loading, native
from selftaught.corpus.documents import Document
from selftaught.errors import MismatchError
from selftaught.finetuning import lstm_pretraining
from selftaught.finetuning.lstm_pretraining import Progress, pretrain_lstm
from selftaught.finetuning.plan import FinetuningPlan
from selftaught.finetuning.running import LSTM_FOLDER, finetune
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.packing import pack
from tests.finetuning.conftest import TOKENIZER

PLAN = FinetuningPlan(
    network="lstm", lstm_units=12, lstm_steps=30, lstm_batch_size=4, lstm_rate=2e-2, epochs=1, precision="float32"
)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = tmp_path_factory.mktemp("lstm") / "corpus"
    storage.write_jsonl(corpus / "train.jsonl.zst", [Document(id=str(n), text="go bad " * 40) for n in range(9)])
    storage.write_jsonl(corpus / "heldout.jsonl.zst", [Document(id="h", text="go bad " * 40)])
    pack(corpus, TOKENIZER, corpus.parent / "tokens")
    return corpus.parent / "tokens"


def test_it_learns_and_an_interruption_changes_nothing(
    pretrained: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = loading.load(pretrained)
    whole = pretrain_lstm(PLAN, loaded, tokens=tokens, out=tmp_path / "a")
    assert storage.read_json(tmp_path / "a/pretraining.json", Progress).loss < 1.5  # from log(260) = 5.6
    before = lstm_pretraining._step

    def step(*arguments):
        result = before(*arguments)
        if result.step == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(lstm_pretraining, "_step", step)
        with pytest.raises(SystemExit):
            pretrain_lstm(PLAN, loaded, tokens=tokens, out=tmp_path / "b")
    assert storage.read_json(tmp_path / "b/pretraining.json", Progress).step == 11
    again = pretrain_lstm(PLAN, loaded, tokens=tokens, out=tmp_path / "b")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_fine_tuning_begins_with_it(pretrained: Path, tokens: Path, data: Path, tmp_path: Path) -> None:
    from selftaught.finetuning import networks

    plan = replace(PLAN, peak_rate=1e-9, epochs=1)
    rows = finetune(pretrained, "sst2", out=tmp_path, data=data, plan=plan, lstm_tokens=tokens)
    assert "not pre-trained" not in rows[0].protocol
    kept = native.read_tensors(tmp_path / LSTM_FOLDER / "model.safetensors")
    tuned = native.read_tensors(tmp_path / "sst2/lstm/seed-1/best/model.safetensors")
    size = len(kept["tokens.weight"])
    for name, weight in kept.items():
        torch.testing.assert_close(
            tuned[name][:size] if name == "tokens.weight" else tuned[name], weight, atol=1e-6, rtol=0
        )
    rows = finetune(pretrained, "sst2", out=tmp_path / "without", data=data, plan=plan)
    assert "the LSTM was not pre-trained" in rows[0].protocol
    loaded = loading.load(pretrained).model
    one = networks.begin(replace(plan, from_scratch=True), loaded, seed=1)
    other = networks.begin(plan, loaded, seed=1)
    assert torch.equal(one.tokens.weight, other.tokens.weight)


def test_what_does_not_belong_together_is_refused(pretrained: Path, tokens: Path, tmp_path: Path) -> None:
    loaded = loading.load(pretrained)
    pretrain_lstm(replace(PLAN, lstm_steps=2), loaded, tokens=tokens, out=tmp_path / "a")
    with pytest.raises(MismatchError, match="otherwise"):
        pretrain_lstm(replace(PLAN, lstm_steps=3), loaded, tokens=tokens, out=tmp_path / "a")
    with pytest.raises(MismatchError, match="otherwise"):
        pretrain_lstm(replace(PLAN, lstm_steps=2, lstm_units=13), loaded, tokens=tokens, out=tmp_path / "a")
    pack(tokens.parent / "corpus", Tokenizer(files.from_merges([(b"g", b"o")])), tmp_path / "other")
    with pytest.raises(MismatchError, match="another tokenizer"):
        pretrain_lstm(PLAN, loaded, tokens=tmp_path / "other", out=tmp_path / "b")
