"""Several processes on one machine: the same steps and runs as one process, within rounding, whoever continues them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selftaught import compute
from selftaught.checkpoint import loading, native
from selftaught.compute import Machine
from selftaught.errors import UsageError
from selftaught.training import parallel
from selftaught.training.pretraining import pretrain
from tests.training import programs
from tests.training.conftest import plan
from tests.training.test_pretraining import rows

MACHINE = Machine(device="cpu", precision="float32", threads=1)
ROOT = Path(__file__).parent.parent.parent


def torchrun(processes: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a module in several processes on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*launcher, "-m", *words],
        cwd=ROOT,
        env=compute.environment_with({"OMP_NUM_THREADS": "1"}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return {name: programs.stepped("ddp", name) for name in ("adamw", "muon")}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_steps_are_those_of_one_process_but_for_rounding(processes, alone, tmp_path):
    done = torchrun(processes, "tests.training.programs", "steps", str(tmp_path / "found.pt"))
    assert done.returncode == 0, done.stderr[-3000:]
    for kind, found in torch.load(tmp_path / "found.pt").items():
        expected = alone[kind.split()[1]]
        torch.testing.assert_close(
            torch.tensor(found["losses"]), torch.tensor(expected["losses"]), rtol=1e-5, atol=1e-5
        )
        for name, weight in expected["weights"].items():
            # The bias of the keys changes no loss: its gradient is rounding alone, which AdamW makes as large as any other.
            if not name.endswith("query_key_value.bias"):
                torch.testing.assert_close(found["weights"][name], weight, rtol=0, atol=2e-4, msg=f"{kind}: {name}")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_a_run_goes_from_one_process_to_several_and_back(processes, tokens, tmp_path, monkeypatch, capsys):
    whole = tmp_path / "whole"
    pretrain(plan(dropout=0.0), tokens=tokens, out=whole)
    with monkeypatch.context() as patch:
        patch.setattr(programs.pretraining, "train_step", programs.pretraining.train_step)
        for kind in ("ddp", "fsdp"):
            programs.stop_in(8)
            with pytest.raises(SystemExit):
                pretrain(plan(dropout=0.0), tokens=tokens, out=tmp_path / kind)
            patch.undo()
    done = torchrun(processes, "tests.training.programs", "runs", str(tokens), str(tmp_path), "7")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("continuing after step 8 of 24") == 2
    assert done.stdout.count("saved after step 16 of 24") == 2
    for kind in ("ddp", "fsdp"):
        assert native.is_sharded(loading.checkpoints(tmp_path / kind)[-1]) == (kind == "fsdp")
        assert loading.load(tmp_path / kind).model.shape.channels == 16
        pretrain(plan(parallel=kind, dropout=0.0), tokens=tokens, out=tmp_path / kind)
        one, other = rows(whole), rows(tmp_path / kind)
        assert [row["step"] for row in one] == [row["step"] for row in other]
        for name in ("loss", "gradient_norm", "heldout_bits_per_byte"):
            expected = [row[name] for row in one if row[name] is not None]
            assert [row[name] for row in other if row[name] is not None] == pytest.approx(expected, rel=2e-3), name


@pytest.mark.parametrize(("batch", "world"), [(8, 1), (8, 4), (5, 5), (6, 3)])
def test_the_rows_of_all_ranks_are_the_batch(batch, world):
    ranks = [replace(MACHINE, rank=rank, world_size=world) for rank in range(world)]
    assert [row for machine in ranks for row in parallel.rows(batch, machine)] == list(range(batch))


def test_refuses_a_batch_that_cannot_be_shared_evenly():
    with pytest.raises(UsageError, match="a multiple of 3"):
        parallel.rows(8, replace(MACHINE, world_size=3))


@pytest.mark.parametrize(("sizes", "players"), [([9, 1, 1, 1, 5, 5], 3), ([4] * 48, 5), ([], 2), ([3], 4)])
def test_matrices_are_dealt_out_once_and_evenly(sizes, players):
    owned = parallel._dealt(sizes, players)
    assert sorted(number for numbers in owned for number in numbers) == list(range(len(sizes)))
    held = [sum(sizes[number] for number in numbers) for numbers in owned]
    assert max(held) - min(held) <= max(sizes, default=0)


SMALL = (
    "--layers 1 --heads 2 --channels 16 --context 16 --steps 120 --batch-size 4 --log-every 1 --checkpoint-seconds 0.1"
)


def started(processes: int, tokens: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """`selftaught train` in one process, or in several under torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    words = ["selftaught", "train", "--tokens", str(tokens), "--out", str(out), *SMALL.split(), *more]
    return subprocess.Popen(
        [sys.executable, *(launcher if processes > 1 else ()), "-m", *words],
        env=compute.environment_with({"OMP_NUM_THREADS": "1"}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in tasks.read_text().split()]


def wait_for_checkpoint(out: Path, process: subprocess.Popen[str], *, after: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        folders = loading.checkpoints(out)
        if folders and int(folders[-1].name[5:]) > after:
            return
        time.sleep(0.01)
    raise AssertionError("no checkpoint")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the workers of torchrun in /proc")
def test_the_command_survives_kill_9_of_a_worker_and_of_the_launcher(tokens, tmp_path):
    """One process, killed; two, one worker killed; two, torchrun killed; then one process ends the run."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert started(1, tokens, whole).wait(120) == 0
    draw, more = random.Random(1), ("--parallel", "fsdp")
    for processes, victim in ((1, "itself"), (2, "worker"), (2, "launcher")):
        done = max((int(folder.name[5:]) for folder in loading.checkpoints(out)), default=0)
        with started(processes, tokens, out, *more) as process:
            wait_for_checkpoint(out, process, after=done)
            workers = children(process.pid) if processes > 1 else []
            time.sleep(draw.random() / 5)
            os.kill(workers[-1] if victim == "worker" else process.pid, signal.SIGKILL)
            assert process.wait(120) != 0
        # The workers of a killed launcher save what they have and end by themselves.
        for worker in workers:
            while Path(f"/proc/{worker}").exists() and Path(f"/proc/{worker}/stat").read_text().split()[2] != "Z":
                time.sleep(0.05)
    assert started(1, tokens, out, *more).wait(120) == 0
    expected, found = rows(whole), rows(out)
    assert [row["step"] for row in found] == list(range(1, 121))
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in expected], rel=5e-3)
