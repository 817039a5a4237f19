"""The one place that asks the machine: device, number format, threads, ranks, memory, environment.

Importing this module does not import torch; only the functions that need it do.
"""

from selftaught.compute.devices import (
    DeviceName,
    Machine,
    PrecisionName,
    machine,
    measured_flops_per_second,
    threads_kept,
)
from selftaught.compute.memory import (
    device_memory_bytes,
    drop_mapped_pages,
    free_memory_bytes,
    is_out_of_memory,
    keep_freed_memory,
    peak_memory_bytes,
    prefer_large_pages,
    release_memory,
    return_freed_memory,
)
from selftaught.compute.processes import (
    ALONE,
    Group,
    follow_parent,
    from_first,
    group,
    joined,
    local_world_size,
    processor_seconds,
    rank,
    world_size,
)
from selftaught.compute.seeds import generator, seed_of
from selftaught.compute.system import description, usable_cores, versions
from selftaught.compute.variables import environment, environment_with, share_processors

__all__ = [
    "ALONE",
    "DeviceName",
    "Group",
    "Machine",
    "PrecisionName",
    "description",
    "device_memory_bytes",
    "drop_mapped_pages",
    "environment",
    "environment_with",
    "follow_parent",
    "free_memory_bytes",
    "from_first",
    "generator",
    "group",
    "is_out_of_memory",
    "joined",
    "keep_freed_memory",
    "local_world_size",
    "machine",
    "measured_flops_per_second",
    "peak_memory_bytes",
    "prefer_large_pages",
    "processor_seconds",
    "rank",
    "release_memory",
    "return_freed_memory",
    "seed_of",
    "share_processors",
    "threads_kept",
    "usable_cores",
    "versions",
    "world_size",
]
