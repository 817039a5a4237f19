"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from selftaught import compilation, console
from selftaught.model import kernels

# What is printed does not depend on the screen, nor on what whoever starts the tests (CI, an editor) wants of it.
for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(name, None)
compilation.COMPILE_SECONDS = 3600
"""A busy machine may take many minutes for what takes seconds, and what is compiled is what is tested."""
SHARED = Path(__file__).parent.parent.parent / "shared"


@pytest.fixture(autouse=True)
def as_at_the_start() -> None:
    """No test sees what another one left: text for people goes to standard output, and Ctrl-C interrupts."""
    console.configure(json=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """The cache folder of compiled libraries, of its own and empty, and none loaded before or after."""
    loaded = compilation.library, kernels.library
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for library in loaded:
        library.cache_clear()
    yield tmp_path / "cache" / "selftaught"
    for library in loaded:
        library.cache_clear()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the folder ../shared/data with real data sets, which is not part of the repository")
    return SHARED / "data"


# The first example of a test may compile a kernel or load a library; time is measured in bench/, never asserted here.
hypothesis.settings.register_profile(
    "selftaught", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("selftaught")
