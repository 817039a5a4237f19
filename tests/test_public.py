"""The public face: light to import, complete, and documented."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import selftaught


def test_importing_imports_no_heavy_library() -> None:
    code = "import sys, selftaught; assert not {'torch', 'numpy', 'rich', 'msgspec'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_documented() -> None:
    for name in selftaught.__all__:
        assert getattr(selftaught, name).__doc__, name
    assert set(selftaught.__all__) <= set(dir(selftaught))


def test_the_docs_page_lists_the_public_names_and_no_others() -> None:
    page = Path(__file__).parent.parent / "docs" / "python.md"
    listed = re.findall(r"^\| `(\w+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(selftaught.__all__)
