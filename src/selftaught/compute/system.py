"""What kind of machine this is, and what runs on it: cores, processor, versions."""

from __future__ import annotations

import os
import platform

from selftaught.compute.processes import world_size


def usable_cores() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of what a result depends on, without importing any of it."""
    from importlib import metadata  # which takes as long as all else that is imported here

    names = ("selftaught", "torch", "numpy", "safetensors")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def description() -> dict[str, str | int]:
    """What kind of machine this is, for the record of a run."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor_name(),
        "cores": usable_cores(),
        "world_size": world_size(),
    }


def instructions() -> str:
    """Names of all instruction sets of the processor, as Linux lists them; elsewhere, and if it does not, nothing."""
    return _of_processor("flags") or _of_processor("Features")  # the second on ARM


def _processor_name() -> str:
    return _of_processor("model name") or platform.processor() or "unknown"


def _of_processor(field: str) -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
    except OSError:
        return ""
