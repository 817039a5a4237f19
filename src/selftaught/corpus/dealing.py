"""How work is dealt out to machines. Apart from `cluster`, which needs datatrove."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from selftaught.corpus.cleaning import CleaningSettings
from selftaught.corpus.extraction import ExtractionSettings
from selftaught.corpus.politeness import FetchSettings
from selftaught.corpus.ranges import require_least

Executor = Literal["local", "ray", "slurm"]


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """How work is dealt out."""

    executor: Executor = field(default="local", metadata={"changeable": True})
    """`local`: processes of this machine. `ray`: a Ray cluster, or one that is started here. `slurm`: writes the script of a job
    array and does not submit it; the same command with `local` merges what the jobs have made."""
    shards: int = 8
    """Into how many tasks the links are dealt; more than machines, for what is lost with one is at most its shard."""
    workers: int = field(default=2, metadata={"changeable": True})
    """Tasks under way at a time."""
    cores_per_task: int = 1
    """Processes that extract and clean in one task."""
    memory_gb_per_core: int = 2
    """What Ray and Slurm are asked for."""
    partition: str = "cpu"
    """Slurm's partition."""
    time: str = "24:00:00"
    """Slurm's limit for one task."""
    fetching: FetchSettings = field(default_factory=FetchSettings)
    extraction: ExtractionSettings = field(default_factory=ExtractionSettings)
    cleaning: CleaningSettings = field(default_factory=CleaningSettings)

    def __post_init__(self) -> None:
        """Refuse numbers that leave nothing to do."""
        require_least(self, 1, "shards", "workers", "cores_per_task", "memory_gb_per_core")
