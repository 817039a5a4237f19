"""Single files: rows, tokens, tensors, records. Only the head of a file is held in memory."""

from __future__ import annotations

import json
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from selftaught import settings, storage
from selftaught.cli.showing import parts
from selftaught.cli.showing.summary import (
    Excerpt,
    Fact,
    Summary,
    Table,
    excerpt,
    one_line,
    size_words,
    sparkline,
)
from selftaught.corpus.documents import Document, FunnelRow
from selftaught.errors import DamagedFileError, InputError
from selftaught.model.shape import ModelShape
from selftaught.report.overlap_records import CopiedSpan, Overlap
from selftaught.report.records import LearningPoint, Sample, Score
from selftaught.tokens import shards
from selftaught.training.plan import TrainingPlan

_LONGEST_LINE = 1 << 22
_COUNTED_BYTES = 1 << 28
"""Rows are counted in so much (decompressed) text; beyond it the count is a lower bound."""
_LARGEST_JSON = 1 << 26
_SHOWN = 5
_SCREEN = 120


def rows_file(path: Path) -> Summary:
    """A JSON-lines file, compressed or not: how many rows, what they are, the first ones."""
    head, number, end = _rows(path)
    counted = {"whole": f"{number:,}", "cut": f"{number:,}, the last one cut short", "more": f"more than {number:,}"}
    facts = [Fact(name="rows", value=counted[end]), _size(path)]
    if not head:
        return Summary(path=str(path), kind="rows (none)", facts=tuple(facts))
    for kind, name, shown in _ROW_KINDS:
        found = [_converted(row, kind) for row in head]
        if all(one is not None for one in found):
            return Summary(path=str(path), kind=name, facts=tuple(facts), **shown(path, found))
    names = list(dict.fromkeys(key for row in head for key in row))
    longest = max(_SCREEN // max(len(names), 1), 12)
    rows = tuple(tuple(_cell(row.get(name, ""), longest) for name in names) for row in head)
    table = Table(columns=tuple(names), rows=rows, title="first rows")
    return Summary(path=str(path), kind="rows", facts=tuple(facts), tables=(table,))


def _rows(path: Path) -> tuple[list[Any], int, Literal["whole", "cut", "more"]]:
    """First rows, number of rows, and whether that is all of them, or the last one is not whole, or more follow."""
    head: list[Any] = []
    number = taken = 0
    whole = True
    with storage.reading(path) as stream:
        while taken < _COUNTED_BYTES and (line := stream.readline(_LONGEST_LINE)):
            taken += len(line)
            whole = line.endswith(b"\n")
            if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                taken += _skip_line(stream)
                line, whole = b"", True
            number += 1
            if len(head) < _SHOWN and line.strip() and whole:
                head.append(storage.decode_json(line, dict[str, Any], path))
        more = bool(stream.read(1))
    return head, number, "more" if more else "whole" if whole else "cut"


def _skip_line(stream: Any) -> int:
    taken = 0
    while (part := stream.readline(_LONGEST_LINE)) and not part.endswith(b"\n"):
        taken += len(part)
    return taken


def _converted(content: Any, kind: Any) -> Any:
    """`content` as a value of `kind`, or None if it is not one or has more to it."""
    try:
        found = msgspec.convert(content, kind)
    except msgspec.ValidationError:
        return None
    return found if _holds_all(msgspec.to_builtins(found), content) else None


def _holds_all(found: Any, content: Any) -> bool:
    if isinstance(content, dict):
        return all(name in found and _holds_all(found[name], value) for name, value in content.items())
    if isinstance(content, list):
        return all(_holds_all(*pair) for pair in zip(found, content, strict=True))
    return True


def _documents(_path: Path, rows: list[Document]) -> dict[str, Any]:
    return {"excerpts": tuple(excerpt(row.url or row.id, row.text) for row in rows[:3])}


def _samples(_path: Path, rows: list[Sample]) -> dict[str, Any]:
    return {"excerpts": tuple(parts.sample_excerpt(row) for row in rows[:3])}


def _copies(_path: Path, rows: list[CopiedSpan]) -> dict[str, Any]:
    table = tuple((row.words, row.name, one_line(row.text), one_line(row.url or row.document, 60)) for row in rows)
    return {"tables": (Table(columns=("words", "copied by", "text", "from"), rows=table),)}


def _curve(path: Path, _rows: list[LearningPoint]) -> dict[str, Any]:
    return curve(path)


def curve(path: Path) -> dict[str, Any]:
    """The loss of a whole training log as a sparkline, and its last rows."""
    losses, last = array("d"), deque[LearningPoint](maxlen=_SHOWN)
    for row in _log_rows(path):
        losses.append(row.loss)
        last.append(row)
    drawn = sparkline(losses)
    text = f"{drawn}\n{losses[0]:.3f} at first, {losses[-1]:.3f} now, lowest {min(losses):.3f}" if losses else ""
    columns = ("step", "tokens", "loss", "rate", "tokens/s", "held-out bits per byte")
    rows = tuple(
        (r.step, r.tokens, r.loss, r.rate, r.tokens_per_second, _optional(r.heldout_bits_per_byte)) for r in last
    )
    return {
        "tables": (Table(columns=columns, rows=rows, title="last rows"),),
        "excerpts": (Excerpt(title="training loss, nats per token", text=text),) if text else (),
    }


def _log_rows(path: Path) -> Iterator[LearningPoint]:
    """Rows of a log, one at a time; a last line that is being written is left out."""
    with storage.reading(path) as stream:
        for line in stream:
            if line.endswith(b"\n") and line.strip():
                yield storage.decode_json(line, LearningPoint, path)


def _optional(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


_ROW_KINDS: tuple[tuple[type[Any], str, Callable[[Path, list[Any]], dict[str, Any]]], ...] = (
    (Document, "documents", _documents),
    (Sample, "samples", _samples),
    (LearningPoint, "log of a training run", _curve),
    (CopiedSpan, "copied spans", _copies),
)


def _cell(value: Any, longest: int = 60) -> str | int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, list) and len(value) > 1:
        return f"{len(value):,} values"
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), longest)


def _size(path: Path) -> Fact:
    return Fact(name="size", value=size_words(path.stat().st_size))


def tensors_file(path: Path) -> Summary:
    """A safetensors file, from its header alone."""
    header = tensors_header(path)
    total = sum(_elements(one["shape"]) for one in header.values())
    largest = sorted(header.items(), key=lambda item: -_elements(item[1]["shape"]))
    table = Table(
        columns=("tensor", "type", "shape", "elements"),
        rows=tuple(
            (one_line(name), one["dtype"], " x ".join(map(str, one["shape"])) or "scalar", _elements(one["shape"]))
            for name, one in largest[: 4 * _SHOWN]
        ),
        title=f"largest of {len(header)}" if len(header) > 4 * _SHOWN else "",
    )
    facts = (Fact(name="tensors", value=len(header)), Fact(name="elements", value=total), _size(path))
    return Summary(path=str(path), kind="tensors", facts=facts, tables=(table,))


def tensors_header(path: Path) -> dict[str, dict[str, Any]]:
    """Name -> dtype, shape, data_offsets. Raises DamagedFileError if the file is not safetensors or too short."""
    size = path.stat().st_size
    with storage.reading(path) as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(size - 8, _LARGEST_JSON):
            raise DamagedFileError(f"{path} is damaged", expected="the header of a safetensors file")
        header = storage.decode_json(stream.read(length), dict[str, dict[str, Any]], path)
    header.pop("__metadata__", None)
    needed = 8 + length + max((one["data_offsets"][1] for one in header.values()), default=0)
    if size != needed:
        raise DamagedFileError(f"{path} is damaged", expected=f"{needed:,} bytes", got=f"{size:,} bytes")
    return header


def _elements(shape: list[int]) -> int:
    number = 1
    for side in shape:
        number *= side
    return number


def tokens_file(path: Path) -> Summary:
    """One shard of tokens; its beginning decoded, since tokenizer and index lie beside it."""
    index = shards.read_index(path.parent)
    split = next((s for s, side in index.splits.items() if path.name in {one.name for one in side.shards}), None)
    if split is None:
        raise InputError(f"{path} is not in {path.parent / shards.INDEX_FILE}", expected="a shard of that index")
    opened = shards.Shards(path.parent, index, split)
    before = 0
    for shard in index.splits[split].shards:
        if shard.name == path.name:
            break
        before += shard.tokens
    facts = (
        Fact(name="split", value=split),
        Fact(name="tokens", value=shard.tokens),
        Fact(name="type", value=index.dtype),
    )
    return Summary(
        path=str(path),
        kind="shard of tokens",
        facts=facts,
        excerpts=parts.tokens_excerpts(opened, before, min(120, shard.tokens)),
    )


def index_file(path: Path) -> Summary:
    """shards.json."""
    return Summary(path=str(path), kind="index of token shards", **parts.index_parts(shards.read_index(path.parent)))


def page_file(path: Path) -> Summary:
    """A page, which a browser shows better."""
    return Summary(path=str(path), kind="page: open it in a browser", facts=(_size(path),))


def warc_file(path: Path) -> Summary:
    """A WARC file of raw pages: the first ones."""
    from selftaught.corpus.pages import read_pages

    rows = []
    for page in read_pages(path):
        rows.append((one_line(page.url, 70), page.content_type, len(page.body)))
        if len(rows) == 2 * _SHOWN:
            break
    table = Table(columns=("address", "type", "bytes"), rows=tuple(rows), title="first pages")
    return Summary(path=str(path), kind="raw pages (WARC)", facts=(_size(path),), tables=(table,))


def document_file(path: Path) -> Summary:
    """Any JSON file, recognised by what it holds."""
    if path.stat().st_size > _LARGEST_JSON:
        raise InputError(f"{path} is too large to show", expected=f"JSON of at most {size_words(_LARGEST_JSON)}")
    content: Any = storage.decode_json(storage.read_bytes(path), Any, path)
    for kind, name, said in _DOCUMENT_KINDS:
        found = _converted(content, kind)
        if found is not None:
            return Summary(path=str(path), kind=name, **said(found))
    if not isinstance(content, dict):
        return Summary(path=str(path), kind="JSON", excerpts=(excerpt("begins", json.dumps(content)[:4096]),))
    flat = list(settings.flat(content))
    facts = tuple(Fact(name=one_line(name, 40), value=_cell(value)) for name, value in flat[:40])
    return Summary(path=str(path), kind=f"JSON, {len(flat):,} values", facts=facts)


_DOCUMENT_KINDS: tuple[tuple[Any, str, Callable[[Any], dict[str, Any]]], ...] = (
    (storage.Record, "record of a run", parts.record_parts),
    (list[Score], "scores", parts.scores_parts),
    (list[FunnelRow], "funnel of a corpus", lambda rows: {"tables": (parts.funnel_table(rows),)}),
    (list[Overlap], "overlaps", parts.overlap_parts),
    (ModelShape, "shape of a network", parts.shape_parts),
    (dict[str, TrainingPlan], "plans of a ladder of sizes", parts.plans_parts),
)
