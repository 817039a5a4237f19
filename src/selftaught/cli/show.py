"""`selftaught show`: look at any file or folder that selftaught wrote, without reading more of it than is shown."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.errors import DamagedFileError, InputError

_LONGEST = 160
_BARS = "▁▂▃▄▅▆▇█"
_HEADER_LIMIT = 1 << 28


@dataclass(frozen=True, kw_only=True)
class Show(settings.Verb):
    """Show what a file or folder holds: a run, a corpus, token shards, a model, samples, scores, any .json, .jsonl or .safetensors."""

    path: Positional[Path]
    """The file or folder."""
    rows: int = 5
    """How many rows of a long file to show."""


def run(argv: Sequence[str]) -> None:
    """Show what `argv` names."""
    command = settings.resolve(Show, argv, prog="selftaught show").command
    path = command.path
    if not path.exists():
        raise InputError(f"cannot read {path}", got="no such file or folder")
    parts = list(_folder(path, command.rows) if path.is_dir() else [_file(path, command.rows)])
    if not parts:
        raise InputError(
            f"nothing in {path} was written by selftaught", expected="a run folder, a model, shards or a corpus"
        )
    if command.json:
        console.result({part.name: part.content for part in parts})
    for number, part in enumerate(parts):
        console.line(("\n" if number else "") + part.name, style="bold")
        part.show()


@dataclass(frozen=True)
class _Part:
    name: str
    content: Any
    show: Callable[[], None]


def _folder(path: Path, rows: int) -> Iterator[_Part]:
    for name in _INTERESTING:
        for found in sorted(path.glob(name)):
            yield _file(found, rows)
    if models := sorted(path.glob("step-*")):
        yield _lines("checkpoints", [folder.name for folder in models])


_INTERESTING = (
    *("run.json", "funnel.json", "shards.json", "shape.json", "model.safetensors", "training.json", "ladder.json"),
    *("overlap.json", "results.json", "log.jsonl", "samples.jsonl", "copied.jsonl", "answers-*.jsonl"),
    *("train.jsonl.zst", "heldout.jsonl.zst", "drops.jsonl.zst", "encoder.json"),
)


def _file(path: Path, rows: int) -> _Part:
    """How one file is shown, by its name."""
    by_name = {"run.json": _record, "log.jsonl": _curve, "encoder.json": _tokens}
    by_suffix = {".safetensors": _tensors, ".tokens": _shard, ".jsonl": _rows, ".json": _document}
    suffix = ".jsonl" if ".jsonl" in path.suffixes else path.suffix
    reader = by_name.get(path.name) or by_suffix.get(suffix)
    if reader is None:
        raise InputError(f"do not know how to show {path}", expected=f"{', '.join(by_suffix)}, also compressed")
    return reader(path, rows)


def _lines(name: str, lines: Sequence[str], content: Any = None) -> _Part:
    def show() -> None:
        for line in lines:
            console.line(line)

    return _Part(name, list(lines) if content is None else content, show)


def _record(path: Path, _: int) -> _Part:
    record = storage.read_json(path, storage.Record)
    lines = [
        f"$ {' '.join(record.command)}",
        f"{record.status}, {record.seconds:.1f} s, {record.peak_memory_bytes / 2**20:,.0f} MiB, started {record.started}",
        *(f"{name}: {one.path} ({one.sha256[:12]})" for name, one in record.inputs.items()),
        *(f"set by {source}: {name}" for name, source in record.sources.items() if source != "default"),
    ]
    return _lines(path.name, lines, settings.as_document(record))


def _document(path: Path, rows: int) -> _Part:
    document = storage.read_json(path, Any)
    if isinstance(document, list) and document and all(isinstance(row, dict) for row in document):
        shown = document[: max(rows, 40)]
        columns = [name for name in document[0] if not isinstance(document[0][name], list)]
        table = [[_short(row.get(name)) for name in columns] for row in shown]
        return _Part(path.name, document, lambda: console.table(columns, table))
    text = json.dumps(document, indent=1, ensure_ascii=False).splitlines()
    more = [f"... {len(text) - 60} more lines"] if len(text) > 60 else []
    return _lines(path.name, [*text[:60], *more], document)


def _rows(path: Path, rows: int) -> _Part:
    with storage.reading(path) as stream:
        found = [storage.decode_json(line, dict[str, Any], path) for line in itertools.islice(stream, rows)]
    lines = [" | ".join(f"{name}: {_short(value)}" for name, value in row.items()) for row in found]
    return _lines(f"{path.name}, first {len(found)} rows", lines, found)


def _curve(path: Path, rows: int) -> _Part:
    found = storage.read_lines(path, dict[str, Any])
    losses = [row["loss"] for row in found if isinstance(row.get("loss"), float)]
    lines = [f"loss {_sparkline(losses)} {losses[0]:.3f} to {losses[-1]:.3f}"] if losses else []
    lines += [" | ".join(f"{name}: {_short(value)}" for name, value in row.items()) for row in found[-rows:]]
    return _lines(f"{path.name}, last of {len(found)} rows", lines, found[-rows:])


def _sparkline(values: Sequence[float], width: int = 60) -> str:
    step = max(1, len(values) // width)
    chosen = values[::step]
    low, high = min(chosen), max(chosen)
    return "".join(_BARS[round((value - low) / (high - low or 1) * (len(_BARS) - 1))] for value in chosen)


def _tokens(path: Path, _: int) -> _Part:
    from selftaught.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(path.parent)
    last = [(left + right).decode("utf-8", "backslashreplace") for left, right in tokenizer.vocabulary.merges[-8:]]
    lines = [f"{tokenizer.vocabulary_size} ids, fingerprint {tokenizer.fingerprint[:12]}", f"last merges: {last}"]
    return _lines(
        "tokenizer", lines, {"vocabulary_size": tokenizer.vocabulary_size, "fingerprint": tokenizer.fingerprint}
    )


def _tensors(path: Path, rows: int) -> _Part:
    """Names and shapes from the header alone: no tensor is read."""
    with open(path, "rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if not 0 < size < _HEADER_LIMIT:
            raise DamagedFileError(f"{path} is not a safetensors file")
        header = storage.decode_json(stream.read(size), dict[str, Any], path)
    header.pop("__metadata__", None)
    lines = [f"{name}  {one['dtype']}  {'x'.join(map(str, one['shape']))}" for name, one in header.items()]
    more = [f"... {len(lines) - rows} more"] if len(lines) > rows else []
    return _lines(f"{path.name}, {len(lines)} tensors", [*lines[:rows], *more], header)


def _shard(path: Path, _: int) -> _Part:
    """The beginning of a shard as text, with the tokenizer that lies beside it."""
    from selftaught.tokenizer.tokenizer import Tokenizer
    from selftaught.tokens.shards import read_index

    tokenizer, index = Tokenizer.load(path.parent), read_index(path.parent)
    width = 2 if index.dtype == "uint16" else 4
    with open(path, "rb") as stream:
        data = stream.read(200 * width)
    ids = [int.from_bytes(data[place : place + width], "little") for place in range(0, len(data) - width + 1, width)]
    tokens = path.stat().st_size // width
    return _lines(f"{path.name}, {tokens:,} tokens", [repr(tokenizer.decode(ids))], {"tokens": tokens, "first": ids})


def _short(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
