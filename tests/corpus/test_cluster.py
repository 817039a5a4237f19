"""Shards of one machine come to what one machine comes to, and a task that is killed costs nobody else anything."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove", reason="needs the extra `cluster`")

from selftaught.corpus import cluster, documents, stages
from selftaught.corpus.dealing import ClusterSettings
from selftaught.corpus.documents import Document
from selftaught.corpus.extraction import ExtractionSettings
from selftaught.corpus.links import Link
from selftaught.corpus.politeness import FetchSettings
from tests.corpus.test_fetching import Site
from tests.corpus.test_stage_folders import HTML, prose

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"
)
FAST, POLITE = ExtractionSettings(extractor="fast"), FetchSettings(first_pause_seconds=0.01, timeout_seconds=600)
LAUNCHER = shutil.which("launch_pickled_pipeline", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or ""
HOSTS = [f"h{number}.test" for number in range(6)]


@pytest.fixture
def places() -> Iterator[dict[str, tuple[str, int]]]:
    site = Site()
    for number in range(24):
        site.more[f"/{number}"] = (200, HTML, f"<html><body><article>{prose(number)}</article></body></html>".encode())
    thread = threading.Thread(target=site.server.serve_forever)
    thread.start()
    yield dict.fromkeys(HOSTS, ("127.0.0.1", site.server.server_address[1]))
    site.server.shutdown()
    thread.join()
    site.server.server_close()


@pytest.fixture
def links(tmp_path: Path) -> Path:
    rows = [{"url": f"http://{HOSTS[n % 6]}/{n}", "score": 3 + n % 5, "subreddit": "r"} for n in range(26)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    stages.collect_links([tmp_path / "rows.jsonl"], tmp_path / "links")
    return tmp_path / "links"


def on_one_machine(links: Path, folder: Path, places: dict[str, tuple[str, int]]) -> Path:
    stages.fetch_pages(links, folder / "fetch", POLITE, places=places)
    stages.extract_documents([folder / "fetch"], folder / "extract", FAST)
    stages.clean_documents(folder / "extract", folder / "clean")
    return folder / "clean"


def read(folder: Path) -> list[Document]:
    return list(documents.read_rows(folder / stages.DOCUMENTS_FILE, Document))


def run_in_a_process_of_its_own(links: Path, out: Path, rules: ClusterSettings, places: Any) -> None:
    """As a user's program does: what Ray leaves behind in a process (threads, its servers' handles) is then gone."""
    process = multiprocessing.get_context("spawn").Process(
        target=cluster.run_shards, args=(links, out, rules), kwargs={"places": places}
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    process.close()


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_shards_come_to_what_one_machine_comes_to(
    executor: Any, links: Path, tmp_path: Path, places: dict[str, tuple[str, int]]
) -> None:
    if executor == "ray":
        pytest.importorskip("ray", reason="needs Ray: pip install 'selftaught[cluster]'")
    out, alone = tmp_path / "out", on_one_machine(links, tmp_path, places)
    rules = ClusterSettings(executor=executor, shards=3, extraction=FAST, fetching=POLITE, memory_gb_per_core=1)
    run_in_a_process_of_its_own(links, out, rules, places)
    assert read(out) == read(alone)
    assert len(read(out)) == 24
    assert {(row.stage, row.reason): row.count for row in documents.read_funnel(out)} == {
        (row.stage, row.reason): row.count for row in documents.read_funnel(alone)
    }
    assert len(list((out / cluster.LOGS / "completions").iterdir())) == 3
    nothing_left = replace(rules, executor="local")
    assert cluster.run_shards(links, out, nothing_left, places={}) is None  # everything is done, so nothing is fetched


def test_links_of_one_host_are_in_one_shard(links: Path, tmp_path: Path) -> None:
    cluster.deal(links, tmp_path / "shards", 4)
    found = [list(documents.read_rows(tmp_path / "shards" / f"{n:05}" / "links.jsonl.zst", Link)) for n in range(4)]
    hosts = [{link.url.split("/")[2] for link in shard} for shard in found]
    assert sum(map(len, found)) == 26
    assert sum(map(len, hosts)) == len(set.union(*hosts)) == 6


def test_the_script_for_slurm(links: Path, tmp_path: Path) -> None:
    rules = ClusterSettings(executor="slurm", shards=5, workers=3, partition="night", cores_per_task=4)
    script = cluster.run_shards(links, tmp_path / "out", rules)
    assert script is not None
    text = script.read_text()
    for line in ("#SBATCH --array=0-4%3", "#SBATCH --partition=night", "#SBATCH --cpus-per-task=4", "executor.pik"):
        assert line in text, line
    import dill

    again = dill.loads((script.parent / "executor.pik").read_bytes())
    assert [step.name for step in again.pipeline] == ["fetch", "extract", "clean"]


SBATCH = """#!/bin/bash
for task in $(seq $(sed -n 's/^#SBATCH --array=\\([0-9]*\\)-\\([0-9]*\\).*/\\1 \\2/p' "$1")); do
    SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_JOB_ID=1 SLURM_JOB_ID=$task SLURM_NODELIST=here SLURM_NODEID=0 bash "$1" || exit 1
done
"""
"""What Slurm does with a job array, one task after another."""


@pytest.mark.slow
def test_the_script_for_slurm_makes_what_one_machine_makes(
    links: Path, tmp_path: Path, places: dict[str, tuple[str, int]]
) -> None:
    programs, out, alone = tmp_path / "bin", tmp_path / "out", on_one_machine(links, tmp_path, places)
    programs.mkdir()
    for name, text in (("sbatch", SBATCH), ("scontrol", "#!/bin/bash\necho here\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = f"{programs}:{Path(LAUNCHER).parent}:{os.environ['PATH']}"
    rules = ClusterSettings(executor="slurm", shards=3, extraction=FAST, fetching=POLITE)
    script = cluster.run_shards(links, out, rules, places=places)
    subprocess.run(["bash", "-n", str(script)], check=True)
    subprocess.run(["sbatch", str(script)], check=True, capture_output=True, env={**os.environ, "PATH": path})
    cluster.run_shards(links, out, replace(rules, executor="local"), places={})  # merges: nothing is left to fetch
    assert read(out) == read(alone)
    assert len(read(out)) == 24


def die_on_the_second(data: Any, rank: int, world_size: int) -> Any:
    """A task that takes its process with it, once."""
    folder = Path(os.environ["CLUSTER_TEST"])
    if rank == 1 and not (folder / "died").exists():
        (folder / "died").touch()
        os._exit(9)
    (folder / f"done-{rank}").touch()
    return data


@pytest.mark.slow
def test_a_task_that_is_killed_is_one_task_that_did_not_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_TEST", str(tmp_path))

    def run() -> list[int]:
        executor = cluster.SafeLocalExecutor(
            [die_on_the_second], tasks=3, workers=2, logging_dir=str(tmp_path / "logs")
        )
        executor.run()
        return list(executor.get_incomplete_ranks(range(3)))

    assert run() == [1]
    assert (tmp_path / "done-0").exists()
    assert (tmp_path / "done-2").exists()
    assert run() == []
