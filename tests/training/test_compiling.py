"""torch.compile with the backend that compiles nothing, which is fast; Inductor's kernels are tried in the slow test."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from selftaught.compute import Machine
from selftaught.model.transformer import Transformer
from selftaught.training.activations import checkpoint_blocks
from selftaught.training.compiling import compile_blocks
from selftaught.training.parallel import Processes
from selftaught.training.pretraining import pretrain
from tests.reference.networks import network
from tests.training.conftest import plan
from tests.training.test_pretraining import assert_same_run, rows

MACHINE = Machine(device="cpu", precision="float32", threads=1)
PLAN = plan(layers=3, channels=32, context=16, batch_size=4, micro_batch_size=4, dropout=0.0)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


def gradients(model: Transformer, *, end_of_text: int | None, machine: Machine = MACHINE) -> dict[str, torch.Tensor]:
    """Of one step, and its loss."""
    ids = torch.randint(50, (4, 17), generator=torch.Generator().manual_seed(2))
    processes = Processes(model, machine, end_of_text=end_of_text)
    loss = processes.add_gradients([(ids[:, :-1], ids[:, 1:])], 64)
    return {"loss": loss, **{name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("end_of_text", [None, 7])
def test_losses_and_gradients_are_those_of_plain_blocks(quickly: Any, checkpointing: bool, end_of_text: Any) -> None:
    plain, compiled = network(layers=3).train(), network(layers=3).train()
    if checkpointing:
        checkpoint_blocks(compiled)
    shape = plain.shape
    size = plan(channels=shape.channels, heads=shape.heads, context=16, dropout=0.0)
    assert compile_blocks(compiled, size, MACHINE, documents=end_of_text is not None)
    assert all(weight.grad is None for weight in compiled.parameters())
    expected, found = (gradients(model, end_of_text=end_of_text) for model in (plain, compiled))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_a_run_is_the_same_but_for_rounding_and_may_be_switched(
    quickly: Any, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = plan(dropout=0.0)
    pretrain(plain, tokens=tokens, out=tmp_path / "plain")
    pretrain(plan(dropout=0.0, compile=True), tokens=tokens, out=tmp_path / "compiled")
    assert "compiled the blocks in" in capsys.readouterr().out
    one, other = ([row["loss"] for row in rows(tmp_path / name)] for name in ("plain", "compiled"))
    assert other == pytest.approx(one, rel=1e-4)


def test_where_it_does_not_work_training_goes_on_without_it(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        def call(*_: Any) -> Any:
            raise RuntimeError("no compiler\nand many lines")

        return call

    pretrain(plan(), tokens=tokens, out=tmp_path / "plain")
    monkeypatch.setattr(torch, "compile", fails)
    pretrain(plan(compile=True), tokens=tokens, out=tmp_path / "run")
    assert "goes on without it (RuntimeError: no compiler)" in capsys.readouterr().out
    assert_same_run(tmp_path / "plain", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inductor_writes_kernels_that_agree() -> None:
    torch.compiler.reset()
    plain, compiled = network(layers=2).train(), network(layers=2).train()
    size = plan(channels=plain.shape.channels, heads=plain.shape.heads, context=16, dropout=0.0)
    if not compile_blocks(compiled, size, MACHINE):
        pytest.skip("Inductor finds no compiler here")
    expected, found = (gradients(model, end_of_text=None) for model in (plain, compiled))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
