"""Rows of named columns, and what is said of files that hold none."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.errors import InputError, SelftaughtError
from selftaught.tasks import columns
from selftaught.tasks.columns import read_columns

CELLS = st.lists(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=2, max_size=2))


def written(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@given(CELLS)
def test_csv_comes_back_as_it_was_written(rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["a", "b"], *rows])
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "x.csv", text.getvalue())
        if rows:
            assert [list(row.values()) for _, row in read_columns(path)] == rows
        else:
            with pytest.raises(InputError):
                list(read_columns(path))


def test_forms_by_name_and_by_word(tmp_path: Path) -> None:
    expected = [{"text": "one, two", "label": "1"}, {"text": 'a "b', "label": "0"}]
    files = {
        "x.csv": '\ufefftext,label\r\n"one, two",1\n\n"a ""b",0',
        "x.tsv": 'text\tlabel\none, two\t1\na "b\t0\n',
        "x.jsonl": '{"text": "one, two", "label": "1"}\n\n{"text": "a \\"b", "label": "0"}',
    }
    for name, data in files.items():
        path = written(tmp_path, name, data)
        assert [row for _, row in read_columns(path)] == expected, name
        other = written(tmp_path, "x.txt", data)
        assert [row for _, row in read_columns(other, columns.form_of(path))] == expected
        packed = written(tmp_path, f"{name}.gz", gzip.compress(data.encode()))
        assert [row for _, row in read_columns(packed)] == expected
    plain = written(tmp_path, "x", "one\r\n\n two")
    assert list(read_columns(plain)) == [(1, {"text": "one"}), (2, {"text": ""}), (3, {"text": " two"})]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.csv", "", "holds no rows"),
        ("x.csv", "a,b\n", "holds no rows"),
        ("x.csv", "a,b\n1,2,3\n", "line 2 .*expected 2 columns; got 3"),
        ("x.csv", "a,a\n1,2\n", "a different name"),
        ("x.csv", 'a,b\n"1,2\n', "expected CSV"),
        ("x.tsv", "a\tb\n1\n", "line 2 .*expected 2 columns; got 1"),
        ("x.jsonl", '{"a": 1}\n[1]\n', "line 2 .*a JSON object"),
        ("x.jsonl", "{", "line 1"),
        ("x.txt", b"fine\n\xff\n", "line 2 .*UTF-8"),
        ("x.txt", b"a\0b", "a zero byte"),
        ("x.txt", b"", "holds no rows"),
    ],
)
def test_what_is_said_of_other_files(tmp_path: Path, name: str, data: str | bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        list(read_columns(written(tmp_path, name, data)))


def test_a_row_of_several_lines_is_called_by_its_first(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", 'text\n\n"one\ntwo"\nthree\n')
    assert list(read_columns(path)) == [(3, {"text": "one\ntwo"}), (5, {"text": "three"})]


def test_values_as_text() -> None:
    here = Path("x")
    row = {"a": "t", "b": 1, "c": 1.0, "d": 0.5, "e": None, "f": [1], "g": True}
    assert [columns.column(row, name, here, 1) for name in "abcde"] == ["t", "1", "1", "0.5", None]
    for name in "fgh":
        with pytest.raises(SelftaughtError, match="x, line 1"):
            columns.column(row, name, here, 1)
