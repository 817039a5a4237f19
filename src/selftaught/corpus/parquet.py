"""Parquet in and out, the format that Hugging Face's data sets come in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selftaught import storage
from selftaught.corpus.documents import Document
from selftaught.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

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
    for batch in _batches(path, _FIELDS):
        yield from batch.to_pylist()


def read_texts(path: Path) -> Iterator[tuple[Array, Array]]:
    """The texts of many rows at a time as bytes, one after another, and where each ends; missing ones are empty.

    Raises InputError as `read_rows` does.
    """
    import numpy as np

    pyarrow = _pyarrow()
    for batch in _batches(path, ("text",)):
        column = batch.column("text")
        if not pyarrow.types.is_string(column.type) and not pyarrow.types.is_large_string(column.type):
            column = pyarrow.array([text if isinstance(text, str) else None for text in column.to_pylist()], "string")
        _, places, data = column.fill_null("").buffers()
        wide = pyarrow.types.is_large_string(column.type)
        ends = np.frombuffer(places, np.int64 if wide else np.int32)[column.offset :][: len(column) + 1].astype(
            np.int64
        )
        held = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
        yield held[ends[0] : ends[-1]], ends[1:] - ends[0]


def _batches(path: Path, wanted: Sequence[str]) -> Iterator[Any]:
    pyarrow = _pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name in wanted]
            if "text" not in columns:
                got = ", ".join(file.schema_arrow.names)
                raise InputError(f"{path} has no column of text", expected="a column `text`", got=got)
            yield from file.iter_batches(_BATCH, columns=columns)
    except (pyarrow.ArrowException, OSError) as problem:
        raise InputError(f"{path} is damaged or not Parquet", got=str(problem)) from problem


def write_rows(path: Path, rows: Iterable[Document]) -> int:
    """Write documents as one file, compressed (zstd), their dates as days. Returns how many."""
    pyarrow = _pyarrow()
    kinds = {"karma": pyarrow.int64(), "date": pyarrow.date32()}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in _FIELDS])
    count, held = 0, list[dict[str, Any]]()
    with storage.writing(path) as stream, pyarrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        for count, row in enumerate(rows, 1):  # noqa: B007 - counted on purpose
            held.append({**dataclasses.asdict(row), "date": row.day})
            if len(held) == _BATCH:
                writer.write_table(pyarrow.Table.from_pylist(held, schema))
                held = []
        writer.write_table(pyarrow.Table.from_pylist(held, schema))
    return count
