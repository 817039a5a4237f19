"""Parquet in and out, the format that Hugging Face's data sets come in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from selftaught import storage
from selftaught.corpus.documents import Document
from selftaught.errors import InputError, MissingExtraError

_BATCH = 1000
_FIELDS = tuple(field.name for field in dataclasses.fields(Document))


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "corpus") from None
    return pyarrow


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, those of its columns that documents have. Raises InputError if it is none or has no column `text`."""
    pyarrow = _pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name in _FIELDS]
            if "text" not in columns:
                got = ", ".join(file.schema_arrow.names)
                raise InputError(f"{path} has no column of text", expected="a column `text`", got=got)
            for batch in file.iter_batches(_BATCH, columns=columns):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as problem:
        raise InputError(f"{path} is damaged or not Parquet", got=str(problem)) from problem


def write_rows(path: Path, rows: Iterable[Document]) -> int:
    """Write documents as one file, compressed (zstd). Returns how many."""
    pyarrow = _pyarrow()
    kinds = {"karma": pyarrow.int64()}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in _FIELDS])
    count, held = 0, list[dict[str, Any]]()
    with storage.writing(path) as stream, pyarrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        for count, row in enumerate(rows, 1):  # noqa: B007 - counted on purpose
            held.append(dataclasses.asdict(row))
            if len(held) == _BATCH:
                writer.write_table(pyarrow.Table.from_pylist(held, schema))
                held = []
        writer.write_table(pyarrow.Table.from_pylist(held, schema))
    return count
