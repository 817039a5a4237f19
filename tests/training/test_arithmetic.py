from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.compute import Machine
from selftaught.model import kernels
from selftaught.training import pretraining
from selftaught.training.arithmetic import PYTORCH, Arithmetic, arithmetic
from selftaught.training.checkpoints import TRAINING_FILE
from selftaught.training.pretraining import pretrain
from selftaught.training.progress import Progress
from tests.training.conftest import plan

HALVES = Machine(device="cpu", precision="bfloat16", threads=1)
OWN = Arithmetic(kernels="our own, version 1a2b3c4d", torch="2.0", processor="one")


def test_tells_our_kernels_from_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert arithmetic(replace(HALVES, precision="float32")).kernels == PYTORCH
    if kernels.library() is not None:
        assert arithmetic(HALVES).kernels.startswith("our own, version ")
    monkeypatch.setattr(kernels, "library", lambda: None)
    assert arithmetic(HALVES).kernels == PYTORCH
    assert arithmetic(HALVES, compiled=True).kernels != PYTORCH


def test_only_what_is_known_and_differs_is_a_change() -> None:
    assert OWN.changes(OWN) == OWN.changes(Arithmetic()) == []
    other = replace(OWN, kernels=PYTORCH, processor="two")
    assert other.changes(OWN) == ["kernels: our own, version 1a2b3c4d -> PyTorch's", "processor: one -> two"]


def test_a_run_that_goes_on_with_other_kernels_says_so(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = plan(steps=8, keep_every=4)
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "arithmetic", lambda *_, **__: OWN)
        last = pretrain(short, tokens=tokens, out=tmp_path)
        assert storage.read_json(last / TRAINING_FILE, Progress).arithmetic == OWN
        shutil.rmtree(last)
        pretrain(short, tokens=tokens, out=tmp_path)
    assert "warning" not in capsys.readouterr().out
    shutil.rmtree(last)
    pretrain(short, tokens=tokens, out=tmp_path)
    written = capsys.readouterr().out
    assert "losses are not to the bit those of a run without a break" in written
    assert "kernels: our own, version 1a2b3c4d -> PyTorch's" in written
    assert storage.read_json(last / TRAINING_FILE, Progress).arithmetic.kernels == PYTORCH
