"""Several processes on one machine: the same steps and runs as one process, within rounding, whoever continues them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selftaught import compute
from selftaught.checkpoint import loading, native
from selftaught.cli.main import main
from selftaught.compute import Machine
from selftaught.errors import UsageError
from selftaught.model import kernels
from selftaught.training import matrices, parallel
from selftaught.training.pretraining import pretrain
from tests.training import programs
from tests.training.conftest import plan
from tests.training.processes import PATIENCE_SECONDS, launch, together
from tests.training.test_pretraining import rows

OWN_KERNELS = 1e-4
MACHINE = Machine(device="cpu", precision="float32", threads=1)


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return {name: programs.stepped("ddp", name) for name in ("adamw", "muon")}


@pytest.mark.parametrize("count", [2, 4])
def test_steps_are_those_of_one_process_but_for_rounding(count, alone, tmp_path):
    together(count, programs.steps, str(tmp_path / "found.pt"), log=tmp_path / "log")
    found_by_way = torch.load(tmp_path / "found.pt")
    assert {way.split()[0] for way in found_by_way} == {"ddp", "fsdp", "hsdp"}
    for way, found in found_by_way.items():
        expected = alone[way.split()[1]]
        torch.testing.assert_close(
            torch.tensor(found["losses"]), torch.tensor(expected["losses"]), rtol=1e-5, atol=1e-5
        )
        for name, weight in expected["weights"].items():
            # The bias of the keys changes no loss: its gradient is rounding alone, which AdamW makes as large as any other.
            if not name.endswith("query_key_value.bias"):
                torch.testing.assert_close(found["weights"][name], weight, rtol=0, atol=2e-4, msg=f"{way}: {name}")


@pytest.mark.skipif(kernels.library() is None, reason="needs a processor that multiplies bfloat16, and a C compiler")
def test_steps_by_our_own_kernels_are_those_of_one_process_but_for_rounding(tmp_path):
    """Gradients are rounded to bfloat16 on their way through a block, so that what rounding changes is a share of 2**-9."""
    expected = programs.stepped("ddp", "muon", channels=32, precision="bfloat16")
    plain = programs.stepped("ddp", "muon", channels=32)
    together(2, programs.steps_by_own_kernels, str(tmp_path / "found.pt"), log=tmp_path / "log")
    assert expected["losses"] != plain["losses"]
    for way, found in torch.load(tmp_path / "found.pt").items():
        losses = torch.tensor(found["losses"]), torch.tensor(expected["losses"])
        torch.testing.assert_close(*losses, rtol=OWN_KERNELS, atol=0, msg=lambda words, way=way: f"{way}: {words}")


@pytest.mark.parametrize("count", [2, 4])
def test_a_run_goes_from_one_process_to_several_and_back(count, tokens, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    pretrain(plan(dropout=0.0), tokens=tokens, out=whole, watch=programs.looking(whole), watch_every=4)
    with monkeypatch.context() as patch:
        patch.setattr(programs.pretraining, "train_step", programs.pretraining.train_step)
        programs.stop_in(8)
        with pytest.raises(SystemExit):
            pretrain(plan(dropout=0.0), tokens=tokens, out=tmp_path / "ddp")
    for kind in ("fsdp", "hsdp"):
        shutil.copytree(tmp_path / "ddp", tmp_path / kind)
    written = together(count, programs.runs, str(tokens), str(tmp_path), 7, log=tmp_path / "log")
    assert written.count("continuing after step 8 of 24") == 3
    assert written.count("saved after step 16 of 24") == 3
    for kind in programs.KINDS:
        assert native.is_sharded(loading.checkpoints(tmp_path / kind)[-1]) == (kind != "ddp")
        assert loading.load(tmp_path / kind).model.shape.channels == 16
        pretrain(plan(parallel=kind, dropout=0.0), tokens=tokens, out=tmp_path / kind)
        one, other = rows(whole), rows(tmp_path / kind)
        assert [row["step"] for row in one] == [row["step"] for row in other]
        for name in ("loss", "gradient_norm", "heldout_bits_per_byte"):
            expected = [row[name] for row in one if row[name] is not None]
            assert [row[name] for row in other if row[name] is not None] == pytest.approx(expected, rel=2e-3), name
        for seen in ("seen-12.pt", "seen-16.pt"):
            torch.testing.assert_close(torch.load(tmp_path / kind / seen), torch.load(whole / seen), rtol=0, atol=5e-3)


@pytest.mark.parametrize(("batch", "world"), [(8, 1), (8, 4), (5, 5), (6, 3)])
def test_the_rows_of_all_ranks_are_the_batch(batch, world):
    ranks = [replace(MACHINE, rank=rank, world_size=world) for rank in range(world)]
    assert [row for machine in ranks for row in parallel.rows(batch, machine)] == list(range(batch))


def test_refuses_groups_that_processes_cannot_form():
    with pytest.raises(UsageError, match="a divisor of 4"):
        parallel.Processes(programs.network(), replace(MACHINE, world_size=4), "hsdp", shard_processes=3)


def test_refuses_a_batch_that_cannot_be_shared_evenly():
    with pytest.raises(UsageError, match="a multiple of 3"):
        parallel.rows(8, replace(MACHINE, world_size=3))


@pytest.mark.parametrize(("sizes", "players"), [([9, 1, 1, 1, 5, 5], 3), ([4] * 48, 5), ([], 2), ([3], 4)])
def test_matrices_are_dealt_out_once_and_evenly(sizes, players):
    owned = matrices.dealt(sizes, players)
    assert sorted(number for numbers in owned for number in numbers) == list(range(len(sizes)))
    held = [sum(sizes[number] for number in numbers) for numbers in owned]
    assert max(held) - min(held) <= max(sizes, default=0)


def test_more_processes_than_matrices_each_get_all_of_them(tmp_path):
    together(5, programs.few_matrices, str(tmp_path / "found"), log=tmp_path / "log")
    for rank in range(5):
        first, second = torch.load(tmp_path / f"found-{rank}")
        assert torch.equal(first, torch.zeros(2, 3))
        assert torch.equal(second, torch.full((4, 1), 3.0))


SMALL = "--layers 1 --heads 2 --channels 16 --context 16 --steps 60 --batch-size 4 --log-every 1 --checkpoint-seconds 0"


def words(tokens: Path, out: Path) -> list[str]:
    return ["train", "--tokens", str(tokens), "--out", str(out), *SMALL.split(), "--parallel", "fsdp"]


def torchrun(count: int, argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """`programs.command` under the real torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return subprocess.Popen(
        [*launcher, "-m", "tests.training.programs", *argv],
        cwd=Path(__file__).parents[2],
        env=compute.environment_with({"OMP_NUM_THREADS": "1"}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def newest_step(out: Path) -> int:
    return max((int(folder.name[5:]) for folder in loading.checkpoints(out)), default=0)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def killed(launcher: int, out: Path, victim: str, draw: random.Random) -> None:
    """Wait for a checkpoint, and kill a worker of a launcher or the launcher itself some moment later."""
    before, deadline = newest_step(out), time.monotonic() + PATIENCE_SECONDS
    while newest_step(out) <= before:
        assert time.monotonic() < deadline, "no checkpoint"
        assert is_alive(launcher), "ended by itself"
        time.sleep(0.005)
    workers = children(launcher)
    time.sleep(draw.random() / 5)
    os.kill(workers[-1] if victim == "worker" else launcher, signal.SIGKILL)
    # The workers of a killed launcher save what they have and end by themselves.
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "runs on alone"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the workers of torchrun in /proc")
def test_the_command_survives_kill_9_of_a_worker_and_of_the_launcher(tokens, tmp_path):
    """Two processes, one worker killed; two, the launcher killed; then one process ends the run."""
    whole, out, draw = tmp_path / "whole", tmp_path / "out", random.Random(1)
    assert main(words(tokens, whole)) == 0
    with torchrun(2, words(tokens, out)) as process:
        killed(process.pid, out, "launcher", draw)
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    forked = launch(2, words(tokens, out))
    killed(forked.pid, out, "worker", draw)
    forked.join(PATIENCE_SECONDS)
    assert forked.exitcode == 1
    assert 0 < newest_step(out) <= 2 * (programs.KILLED_BEFORE + 1)
    assert main(words(tokens, out)) == 0
    expected, found = rows(whole), rows(out)
    assert [row["step"] for row in found] == list(range(1, 61))
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in expected], rel=5e-3)
