"""A run's checkpoints: written whole or not at all, the newest whole one found again, by any number of processes.

One process, and many under DDP, write a model folder (model.safetensors, optimizer.safetensors). Under FSDP2 each process
writes its share (`model/`, `optimizer/`). Either is continued in either way.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from selftaught import storage
from selftaught.checkpoint import loading, native, sharded
from selftaught.errors import MismatchError
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.shards import Shards
from selftaught.training.optimizer import Optimizer
from selftaught.training.parallel import Processes
from selftaught.training.progress import Progress

OPTIMIZER_FILE, TRAINING_FILE = "optimizer.safetensors", "training.json"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A checkpoint to continue from."""

    folder: Path
    progress: Progress
    damaged: tuple[Path, ...] = ()
    """Those after it, which are not whole; they go when their steps have been done again."""


def newest(out: Path, shards: Shards) -> Found | None:
    """The newest whole checkpoint, if there is any.

    Raises DamagedFileError if none is whole, MismatchError if it was trained with another tokenizer than the shards'.
    """
    folders = loading.checkpoints(out)
    if not folders:
        return None
    folder = loading.newest_whole(folders)
    require_same_tokenizer(Tokenizer.load(folder), shards)
    after = tuple(folders[folders.index(folder) + 1 :])
    return Found(folder=folder, progress=storage.read_json(folder / TRAINING_FILE, Progress), damaged=after)


def folder_of(out: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return out / f"step-{step:06}"


def restore(found: Found, model: Transformer, optimizer: Optimizer, processes: Processes) -> None:
    """Read the optimizer's state; and the weights, where each process has a share and reads its own."""
    if not native.is_sharded(found.folder):
        optimizer.restore(native.read_tensors(found.folder / OPTIMIZER_FILE))
    elif not processes.sharded:
        optimizer.restore(sharded.read(found.folder / sharded.OPTIMIZER_FOLDER))
    else:
        sharded.read_into(model.state_dict(), found.folder / sharded.WEIGHTS_FOLDER)
        optimizer.begin()
        sharded.read_into(optimizer.state(), found.folder / sharded.OPTIMIZER_FOLDER)


def save(
    out: Path,
    model: Transformer,
    optimizer: Optimizer,
    *,
    tokenizer: Tokenizer,
    progress: Progress,
    processes: Processes,
    damaged: Sequence[Path] = (),
) -> Path:
    """Write a checkpoint and remove those that are too many, and the `damaged` ones of steps that were done again."""
    folder = folder_of(out, progress.step)
    if processes.sharded:
        _save_shares(folder, model, optimizer, tokenizer=tokenizer, progress=progress, processes=processes)
    elif processes.machine.rank == 0:
        native.save(
            model,
            tokenizer,
            folder,
            tensors={OPTIMIZER_FILE: optimizer.state()},
            documents={TRAINING_FILE: progress},
        )
    if processes.machine.rank == 0:
        _clean(out, progress, damaged)
    processes.wait()
    return folder


def _clean(out: Path, progress: Progress, damaged: Sequence[Path]) -> None:
    plan, folders, newest = progress.plan, loading.checkpoints(out), folder_of(out, progress.step)
    # A damaged one counts for none that is kept, or it would take the place of a whole one.
    before = [folder for folder in folders[: folders.index(newest)] if folder not in damaged] + [newest]
    kept = set(before[-plan.checkpoints_kept :])
    if plan.keep_every:
        kept |= {folder for folder in before if int(folder.name.removeprefix("step-")) % plan.keep_every == 0}
    if plan.keep_best:
        kept.add(folder_of(out, progress.best_step))
    for extra in set(folders) - kept:
        shutil.rmtree(extra)


def _save_shares(
    folder: Path,
    model: Transformer,
    optimizer: Optimizer,
    *,
    tokenizer: Tokenizer,
    progress: Progress,
    processes: Processes,
) -> None:
    first, hashes = processes.machine.rank == 0, dict[str, str]()
    with native.assembling(folder, hashes) if first else nullcontext(storage.unfinished(folder)) as place:
        processes.wait()
        sharded.write(model.state_dict(), place / sharded.WEIGHTS_FOLDER)
        sharded.write(optimizer.state(), place / sharded.OPTIMIZER_FOLDER)
        if first:
            native.write_documents(model.shape, tokenizer, place, {TRAINING_FILE: progress})
        own = f"*/shard-{processes.machine.rank + 1:05}-*"
        found = {path.relative_to(place).as_posix(): storage.sha256(path) for path in place.glob(own)}
        for others in processes.every(found):
            hashes.update(others)


def require_same_tokenizer(tokenizer: Tokenizer, shards: Shards) -> None:
    """Raise MismatchError if shards were made with another tokenizer."""
    if tokenizer.fingerprint != shards.fingerprint:
        raise MismatchError(
            f"the token shards in {shards.folder} were made with another tokenizer",
            expected=f"fingerprint {tokenizer.fingerprint[:12]}",
            got=shards.fingerprint[:12],
            hint="Type: selftaught pack CORPUS --tokenizer DIR --out DIR",
        )
