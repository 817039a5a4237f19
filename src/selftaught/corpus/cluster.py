"""Fetching, extraction and cleaning on one machine or many: the stages as steps of datatrove, the engine that built FineWeb.

Links are dealt into shards by a hash of their host, so that politeness needs no agreement between machines. A shard is one task:
its stages run one after another in a folder of its own, each done when its funnel is there, which is written last. What is done
is never done again, on whatever machine the task is taken up. In the end the documents of all shards are merged, most karma
first; `dedup` and `split` go on from there.
"""

from __future__ import annotations

import hashlib
import heapq
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selftaught import compute, console, storage
from selftaught.corpus import documents, stages
from selftaught.corpus.building import LINKS_FILE
from selftaught.corpus.cleaning import CleaningSettings
from selftaught.corpus.dealing import ClusterSettings
from selftaught.corpus.documents import Document, Funnel
from selftaught.corpus.extraction import ExtractionSettings
from selftaught.corpus.links import Link
from selftaught.corpus.politeness import FetchSettings
from selftaught.errors import MissingExtraError, OutputError

try:
    import datatrove.executor
    import pebble
    from datatrove.pipeline.base import PipelineStep
except ImportError as problem:
    raise MissingExtraError(problem.name or "datatrove", "cluster") from None

SHARDS, LOGS = "shards", "logs"
_STAGES = ("fetch", "extract", "clean")
Place = tuple[str, int]


class StageStep(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """One stage of one shard, skipped where it is done."""

    type = "selftaught"

    def __init__(self, name: str, shards: Path) -> None:
        """`name` is the folder that is made in each shard's."""
        self.name = name
        super().__init__()
        self._shards = shards

    def work(self, source: Path, out: Path) -> None:
        """Do the stage: from the folder of the stage before into that of this one."""
        raise NotImplementedError

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:  # noqa: ARG002 - datatrove's signature
        """Do the stage for shard `rank`."""
        shard = self._shards / f"{rank:05}"
        before = _STAGES.index(self.name) - 1
        source, out = shard / _STAGES[before] if before >= 0 else shard, shard / self.name
        with self.track_time():
            if not (out / documents.FUNNEL_FILE).is_file():
                self.work(source, out)
        for row in documents.read_funnel(out):
            if row.stage == self.name:
                self.stat_update(row.reason or "came in", value=row.count)
        return data


class FetchStep(StageStep):
    """Fetches the links of the shard: links.jsonl.zst -> fetch/."""

    def __init__(self, shards: Path, rules: FetchSettings, places: Mapping[str, Place]) -> None:
        super().__init__("fetch", shards)
        self._rules, self._places = rules, dict(places)

    def work(self, source: Path, out: Path) -> None:
        """Fetch what is missing."""
        stages.fetch_pages(source, out, self._rules, places=self._places)


class ExtractStep(StageStep):
    """Takes the text out of the pages: fetch/ -> extract/."""

    def __init__(self, shards: Path, rules: ExtractionSettings) -> None:
        super().__init__("extract", shards)
        self._rules = rules

    def work(self, source: Path, out: Path) -> None:
        """Extract, behind the last file of pages that is done."""
        stages.extract_documents([source], out, self._rules, may_be_empty=True)


class CleanStep(StageStep):
    """Filters the documents: extract/ -> clean/."""

    def __init__(self, shards: Path, rules: CleaningSettings, processes: int) -> None:
        super().__init__("clean", shards)
        self._rules, self._processes = rules, processes

    def work(self, source: Path, out: Path) -> None:
        """Clean the shard's documents."""
        stages.clean_documents(source, out, self._rules, processes=self._processes, may_be_empty=True)


def steps(out: Path, rules: ClusterSettings, places: Mapping[str, Place] | None = None) -> list[StageStep]:
    """The pipeline of one shard."""
    shards = out / SHARDS
    return [
        FetchStep(shards, rules.fetching, places or {}),
        ExtractStep(shards, replace(rules.extraction, processes=rules.cores_per_task)),
        CleanStep(shards, rules.cleaning, rules.cores_per_task),
    ]


def run_shards(
    links: str | Path,
    out: str | Path,
    settings: ClusterSettings | None = None,
    *,
    places: Mapping[str, Place] | None = None,
) -> Path | None:
    """Fetch, extract and clean a folder of links in shards, and merge them into a folder of documents.

    Returns the script to submit with the executor `slurm`, else None. Raises OutputError if some shards did not finish; the same
    call does what is missing. `places`: see `fetching.fetch`.
    """
    rules, links, out = settings or ClusterSettings(), Path(links), Path(out)
    deal(links, out / SHARDS, rules.shards)
    pipeline = steps(out, rules, places)
    if rules.executor == "slurm":
        return _slurm(pipeline, out, rules)
    with _executor(pipeline, out, rules) as executor:
        executor.run()
    missing = executor.get_incomplete_ranks(range(rules.shards))
    if missing:
        raise OutputError(
            f"{len(missing)} of {rules.shards} shards did not finish",
            got=f"see {out / LOGS}",
            hint="Run the same command again: it does what is missing.",
        )
    gather(links, out, rules.shards)
    return None


def deal(links: Path, shards: Path, count: int) -> None:
    """Write each shard's links, by a hash of their host; shards that are there are left as they are."""
    if (shards / f"{count - 1:05}" / LINKS_FILE).is_file():
        return
    with ExitStack() as stack:
        adders = [
            stack.enter_context(storage.writing_rows(shards / f"{number:05}" / LINKS_FILE)) for number in range(count)
        ]
        for link in documents.read_rows(stages.links_of(links), Link):
            host = urlsplit(link.url).netloc.encode("utf-8", "replace")
            adders[int.from_bytes(hashlib.blake2b(host, digest_size=8).digest()) % count](link)


def gather(links: Path, out: Path, count: int) -> None:
    """Merge the documents of all shards, most karma first and by address, with their drops and funnels."""
    funnel = Funnel.load(links)
    folders = [out / SHARDS / f"{number:05}" / _STAGES[-1] for number in range(count)]
    for folder in folders:
        funnel.add(Funnel.load(folder))
    rows: list[Iterator[Document]] = [
        documents.read_rows(folder / stages.DOCUMENTS_FILE, Document) for folder in folders
    ]
    merged = heapq.merge(*rows, key=lambda row: (-(row.karma or 0), row.id))
    storage.write_jsonl(out / stages.DOCUMENTS_FILE, merged)
    funnel.save(out)


@contextmanager
def _executor(pipeline: list[StageStep], out: Path, rules: ClusterSettings) -> Iterator[Any]:
    """What runs the shards; Ray is shut down behind it, unless the caller had begun it."""
    logs = str(out / LOGS)
    if rules.executor == "local":
        yield SafeLocalExecutor(pipeline, tasks=rules.shards, workers=rules.workers, logging_dir=logs)
        return
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "cluster") from None
    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        yield datatrove.executor.RayPipelineExecutor(
            pipeline,
            tasks=rules.shards,
            workers=rules.workers,
            logging_dir=logs,
            cpus_per_task=rules.cores_per_task,
            mem_per_cpu_gb=rules.memory_gb_per_core,
        )
    finally:
        if ours:
            ray.shutdown()


def _slurm(pipeline: list[StageStep], out: Path, rules: ClusterSettings) -> Path:
    """Write what a Slurm job array runs: datatrove's pickled executor and the script for sbatch."""
    import dill

    executor = datatrove.executor.SlurmPipelineExecutor(
        pipeline,
        tasks=rules.shards,
        workers=rules.workers,
        time=rules.time,
        partition=rules.partition,
        cpus_per_task=rules.cores_per_task,
        mem_per_cpu_gb=rules.memory_gb_per_core,
        logging_dir=str(out / LOGS),
        job_name="selftaught-corpus",
        qos="",
        max_array_size=max(rules.shards, 1) + 1,
    )
    pickled, ranks, script = (
        out / LOGS / name for name in ("executor.pik", "ranks_to_run.json", "launch_script.slurm")
    )
    storage.write_bytes(pickled, dill.dumps(executor))
    storage.write_json(ranks, list(range(rules.shards)))
    run = f"launch_pickled_pipeline {pickled.absolute()}"
    storage.write_text(script, executor.get_launch_file_contents(executor.get_sbatch_args(rules.shards), run))
    return script


class SafeLocalExecutor(datatrove.executor.LocalPipelineExecutor):  # type: ignore[misc]  # datatrove has no types
    """datatrove's local executor over pebble's pool: a task whose process is killed is one that did not finish, and no more.

    With the pool that datatrove uses, a worker that is killed leaves the run waiting for ever.
    """

    def run(self) -> None:
        """Run the tasks that are not done yet, each in a process of its own."""
        import dill

        missing, pickled = list(self.get_incomplete_ranks(range(self.tasks))), dill.dumps(self)
        pool = pebble.ProcessPool(self.workers, max_tasks=1, context=multiprocessing.get_context("spawn"))
        try:
            with console.progress("shards", self.tasks, unit="shards", done=self.tasks - len(missing)) as bar:
                for _ in as_completed([pool.schedule(_run_task, (pickled, rank)) for rank in missing]):
                    bar.advance()
        finally:
            pool.stop()
            pool.join()


def _run_task(pickled: bytes, rank: int) -> None:
    import dill

    compute.follow_parent()
    dill.loads(pickled)._run_for_rank(rank, rank + 1)  # noqa: S301, SLF001 - our own executor; local rank 0 would log here
