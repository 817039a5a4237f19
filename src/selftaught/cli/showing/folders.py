"""Folders that the verbs write, recognised by the files in them; and the choice of what a path is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from selftaught import storage
from selftaught.cli.showing import files, parts
from selftaught.cli.showing.summary import Fact, Summary, Table, excerpt, one_line, size_words
from selftaught.corpus import documents
from selftaught.errors import DamagedFileError, InputError, SelftaughtError
from selftaught.model.shape import ModelShape
from selftaught.overlap.parameters import PARAMETERS_FILE, Parameters
from selftaught.report import gaps, memorization
from selftaught.report.overlap_records import COPIED_FILE, MEMORIZATION_FILE, OVERLAP_FILE, Memorization, Overlap
from selftaught.report.records import RESULTS_FILE, SAMPLES_FILE, Sample, Score
from selftaught.tokenizer import files as vocabulary
from selftaught.tokens import shards

_SHAPE, _WEIGHTS, _HUGGING_FACE = "shape.json", "model.safetensors", "config.json"
_SHARES = "model"
"""Folder of a checkpoint that many processes wrote, each its share."""
KINDS = (
    "folders of corpus, tokenizer, pack, train, evaluate, generate, overlap, memorize, convert and demo",
    "model folders (shape.json or config.json), OpenAI's releases, nanoGPT's .pt, llm.c's .bin",
    ".json",
    ".jsonl (.gz, .bz2, .xz, .zst)",
    ".tokens",
    ".safetensors",
    ".warc.zst (.gz)",
    "vocab.bpe",
)


def summarise(path: str | Path) -> Summary:
    """Say shortly what a file or folder is and holds, reading only as much as that takes.

    Raises InputError if it is not there or not of a kind that selftaught writes, DamagedFileError if it is damaged.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise InputError(f"cannot show {path}", got="no such file or folder")
        found = _foreign(path) or (_folder(path) if path.is_dir() else _file(path))
    except PermissionError as problem:
        raise storage.input_error(path, problem) from problem
    if found is None:
        raise InputError(f"{path} is nothing that selftaught writes", expected="; ".join(KINDS))
    return found


def _foreign(path: Path) -> Summary | None:
    """Another tool's model."""
    marks = ("hparams.json", "params_shapes.json")
    if path.suffix not in (".pt", ".pth", ".bin") and not any((path / mark).is_file() for mark in marks):
        return None
    from selftaught.checkpoint import loading

    found = loading.described(path)
    if found is None:
        return None
    name, shape = found
    return Summary(path=str(path), kind=name, facts=parts.shape_parts(shape)["facts"])


def _file(path: Path) -> Summary | None:
    name = path.name.removesuffix(".gz").removesuffix(".zst").removesuffix(".xz").removesuffix(".bz2")
    if path.name in (vocabulary.ENCODER_FILE, vocabulary.MERGES_FILE, "vocab.json", "merges.txt"):
        return Summary(path=str(path), kind="tokenizer", **parts.vocabulary_parts(path.parent))
    if path.name == shards.INDEX_FILE:
        return files.index_file(path)
    readers: dict[str, Callable[[Path], Summary]] = {
        ".jsonl": files.rows_file,
        ".json": files.document_file,
        ".tokens": files.tokens_file,
        ".safetensors": files.tensors_file,
        ".warc": files.warc_file,
        ".html": files.page_file,
    }
    reader = readers.get(Path(name).suffix)
    return reader(path) if reader else None


def _folder(path: Path) -> Summary | None:
    for belongs, summary in _FOLDERS:
        if belongs(path):
            return summary(path)
    return None


def _corpus(path: Path) -> Summary:
    funnel = documents.read_funnel(path) if (path / documents.FUNNEL_FILE).is_file() else []
    facts = tuple(
        Fact(
            name=split,
            value=f"{documents.count(path, split):,} documents, {size_words(file.stat().st_size)} compressed",
        )
        for split in documents.SPLITS
        if (file := documents.split_file(path, split)).is_file()
    )
    first = tuple(excerpt(row.url or row.id, row.text) for row in islice(documents.read(path), 3))
    return Summary(
        path=str(path),
        kind="corpus folder",
        facts=(*facts, *_run_facts(path)),
        tables=(parts.funnel_table(funnel),) if funnel else (),
        excerpts=first,
    )


def _tokens(path: Path) -> Summary:
    said = parts.index_parts(shards.read_index(path))
    opened = shards.open_shards(path)
    return Summary(
        path=str(path),
        kind="tokens folder",
        facts=(*said["facts"], *_run_facts(path)),
        tables=said["tables"],
        excerpts=parts.tokens_excerpts(opened),
    )


def _model(path: Path) -> Summary:
    said = parts.shape_parts(storage.read_json(path / _SHAPE, ModelShape))
    if not (path / _WEIGHTS).is_file():
        shares = len(list((path / _SHARES).glob("*.safetensors")))
        facts = (*said["facts"], Fact(name="weights", value=f"shares of {shares} processes"))
        return Summary(path=str(path), kind="model folder in shares", facts=facts)
    inside = files.tensors_file(path / _WEIGHTS)
    return Summary(path=str(path), kind="model folder", facts=(*said["facts"], *inside.facts), tables=inside.tables)


def _hugging_face(path: Path) -> Summary:
    config = files.document_file(path / _HUGGING_FACE)
    inside = files.tensors_file(path / _WEIGHTS)
    return Summary(
        path=str(path), kind="Hugging Face model folder", facts=(*config.facts, *inside.facts), tables=inside.tables
    )


def _training(path: Path) -> Summary:
    steps = sorted(step for step in path.glob("step-*") if (step / _SHAPE).is_file())
    facts = [Fact(name="checkpoints", value=", ".join(step.name for step in steps) or "none yet"), *_run_facts(path)]
    if steps:
        facts = [*parts.shape_parts(storage.read_json(steps[-1] / _SHAPE, ModelShape))["facts"], *facts]
    log = path / storage.LOG_FILE
    said: dict[str, Any] = files.curve(log) if log.is_file() else {}
    return Summary(path=str(path), kind="training run", facts=tuple(facts), **said)


def _evaluation(path: Path) -> Summary:
    said = parts.scores_parts(storage.read_json(path / RESULTS_FILE, list[Score]))
    return Summary(path=str(path), kind="evaluation", facts=_run_facts(path), **said)


def _sampling(path: Path) -> Summary:
    rows = documents.read_rows(path / SAMPLES_FILE, Sample)
    shown = tuple(parts.sample_excerpt(row) for row in islice(rows, 4))
    return Summary(path=str(path), kind="samples", facts=_run_facts(path), excerpts=shown)


def _overlap(path: Path) -> Summary:
    said = parts.overlap_parts(storage.read_json(path / OVERLAP_FILE, list[Overlap]))
    copied = path / COPIED_FILE
    more = files.rows_file(copied).tables if copied.is_file() else ()
    return Summary(path=str(path), kind="overlap", facts=_run_facts(path), tables=(*said["tables"], *more))


def _memorization(path: Path) -> Summary:
    found = storage.read_json(path / MEMORIZATION_FILE, Memorization)
    said = Fact(name=found.model, value=f"{found.protocol}. {gaps.gap_words(found)}")
    shown = (
        (memorization.SHARE_COLUMNS, memorization.share_lines([found]), "8-grams found in the training text"),
        (memorization.RECALL_COLUMNS, memorization.recall_lines([found]), "tokens with the text"),
        (memorization.DIVERSITY_COLUMNS, memorization.diversity_lines([found]), "diversity"),
    )
    tables = tuple(
        Table(columns=columns, rows=tuple(line.cells for line in lines), title=title)
        for columns, lines, title in shown
        if lines
    )
    return Summary(path=str(path), kind="memorisation", facts=(*_run_facts(path), said), tables=tables)


def _index(path: Path) -> Summary:
    known = storage.read_json(path / PARAMETERS_FILE, Parameters)
    named = (
        ("holds", f"{known.content.kind} of {len(known.content.texts)} text{'s' * (len(known.content.texts) != 1)}"),
        ("inserted", known.keys),
        ("room for", f"{known.capacity:,} distinct ones"),
        ("scheme", known.scheme),
    )
    facts = (Fact(name=name, value=value) for name, value in named)
    return Summary(path=str(path), kind="index of n-grams", facts=(*_run_facts(path), *facts))


def _tokenizer(path: Path) -> Summary:
    said = parts.vocabulary_parts(path)
    return Summary(path=str(path), kind="tokenizer", facts=(*said["facts"], *_run_facts(path)))


def _run(path: Path) -> Summary:
    record = storage.read_record(path)
    said = parts.record_parts(record)
    stages = _stages(path)
    return Summary(path=str(path), kind=f"run of {record.verb}", facts=said["facts"], tables=(*said["tables"], *stages))


def _runs(path: Path) -> Summary:
    return Summary(path=str(path), kind="folder of runs", tables=_stages(path))


def _stages(path: Path) -> tuple[Table, ...]:
    found: list[tuple[str, str, str, str, float]] = []
    for file in [*path.glob("*/run.json"), *path.glob("*/*/run.json")]:
        name = file.parent.relative_to(path).as_posix()
        try:
            record = storage.read_record(file.parent)
            found.append((record.started, name, record.verb, record.status, record.seconds))
        except SelftaughtError as problem:
            found.append(("", name, "?", one_line(problem.line()), 0.0))
    rows = tuple(row[1:] for row in sorted(found))
    return (Table(columns=("folder", "verb", "status", "seconds"), rows=rows),) if rows else ()


def _run_facts(path: Path) -> tuple[Fact, ...]:
    if not (path / storage.RUN_FILE).is_file():
        return ()
    try:
        record = storage.read_record(path)
    except DamagedFileError as problem:
        return (Fact(name="run", value=one_line(problem.line(), 200)),)
    said = Fact(name="run", value=f"{record.verb}, {record.status}, {record.seconds:,.1f} s, {record.started}")
    return (said, Fact(name="problem", value=one_line(record.problem, 200))) if record.problem else (said,)


def _holds(*names: str) -> Callable[[Path], bool]:
    return lambda path: all((path / name).is_file() for name in names)


def _is_training(path: Path) -> bool:
    if any((step / _SHAPE).is_file() for step in path.glob("step-*")):
        return True
    try:
        return storage.read_record(path).verb == "train"
    except SelftaughtError:
        return False


_FOLDERS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Summary]], ...] = (
    (_holds("train.jsonl.zst"), _corpus),
    (_holds(shards.INDEX_FILE), _tokens),
    (_holds(_SHAPE), _model),
    (_holds(_HUGGING_FACE, _WEIGHTS), _hugging_face),
    (_is_training, _training),
    (_holds(SAMPLES_FILE), _sampling),
    (_holds(MEMORIZATION_FILE), _memorization),
    (_holds(OVERLAP_FILE), _overlap),
    (_holds(PARAMETERS_FILE), _index),
    (lambda path: (path / RESULTS_FILE).is_file() and not any(path.glob("*/run.json")), _evaluation),
    (vocabulary.is_tokenizer, _tokenizer),
    (_holds(storage.RUN_FILE), _run),
    (lambda path: any(path.glob("*/run.json")), _runs),
)
"""In this order, since a model folder holds a tokenizer's files too."""
