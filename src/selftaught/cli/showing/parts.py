"""What there is to say of each thing that the project knows: tokenizers, shapes, scores, records of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selftaught import settings, storage
from selftaught.cli.showing.summary import Excerpt, Fact, Table, excerpt, one_line, size_words
from selftaught.corpus.documents import FunnelRow
from selftaught.model import cost
from selftaught.model.shape import ModelShape
from selftaught.report.overlap_records import Overlap
from selftaught.report.records import Sample, Score
from selftaught.tokenizer import files as vocabulary
from selftaught.tokens import shards
from selftaught.training.plan import TrainingPlan


def sample_excerpt(row: Sample) -> Excerpt:
    """A prompt's end and its continuation."""
    return excerpt(f"{row.model}, {row.settings}", f"[{one_line(row.prompt[-120:], 120)}]{row.text}")


def tokens_excerpts(opened: shards.Shards, start: int = 0, count: int = 120) -> tuple[Excerpt, ...]:
    """Some tokens of a split, as ids and as text."""
    ids = opened.slice(start, min(count, opened.tokens - start)).tolist() if opened.tokens else []
    excerpts = [excerpt("ids", " ".join(map(str, ids[:40])))]
    if vocabulary.is_tokenizer(opened.folder):
        from selftaught.tokenizer.tokenizer import Tokenizer

        excerpts.append(excerpt(f"the first {len(ids)} tokens as text", Tokenizer.load(opened.folder).decode(ids)))
    return tuple(excerpts)


def index_parts(index: shards.Index) -> dict[str, Any]:
    """Facts and table of an index of shards."""
    rows = tuple(
        (name, side.tokens, side.documents, side.bytes, side.bytes / side.tokens if side.tokens else 0.0)
        for name, side in index.splits.items()
    )
    return {
        "facts": (
            Fact(name="vocabulary", value=index.vocabulary_size),
            Fact(name="type", value=index.dtype),
            Fact(name="tokenizer", value=index.fingerprint[:16]),
        ),
        "tables": (Table(columns=("split", "tokens", "documents", "bytes of text", "bytes per token"), rows=rows),),
    }


def vocabulary_parts(folder: Path) -> dict[str, Any]:
    """Facts and examples of a tokenizer's two files."""
    from selftaught.tokenizer.tokenizer import Tokenizer

    learned = Tokenizer.load(folder)
    merges = learned.vocabulary.merges
    first = [repr((a + b).decode("utf-8", "replace")) for a, b in merges[:12]]
    longest = sorted({a + b for a, b in merges}, key=len)[-6:]
    return {
        "facts": (
            Fact(name="vocabulary", value=learned.vocabulary_size),
            Fact(name="merges", value=len(merges)),
            Fact(name=learned.vocabulary.border, value=learned.end_of_text),
            Fact(name="fingerprint", value=learned.fingerprint[:16]),
            Fact(name="first merges", value=one_line(" ".join(first))),
            Fact(name="longest tokens", value=one_line(" ".join(repr(t.decode("utf-8", "replace")) for t in longest))),
        )
    }


def shape_parts(shape: ModelShape) -> dict[str, Any]:
    """Facts of a network's shape."""
    named = (
        ("parameters", cost.parameters(shape)),
        ("layers", shape.layers),
        ("heads", shape.heads),
        ("channels", shape.channels),
        ("context", shape.context),
        ("vocabulary", shape.vocabulary),
        ("normalisation", f"{shape.norm} each sub-block"),
    )
    return {"facts": tuple(Fact(name=name, value=value) for name, value in named)}


def scores_parts(scores: list[Score]) -> dict[str, Any]:
    """Scores as a table."""
    rows = tuple((s.model, s.parameters, s.task, s.metric, s.value, s.error, s.n) for s in scores)
    columns = ("model", "parameters", "task", "metric", "value", "error", "n")
    return {"tables": (Table(columns=columns, rows=rows),)}


def overlap_parts(overlaps: list[Overlap]) -> dict[str, Any]:
    """Overlaps as a table."""
    rows = tuple((o.name, o.against, o.documents, o.ngrams, o.hits, f"{o.share:.2%}") for o in overlaps)
    return {"tables": (Table(columns=("text", "in", "documents", "n-grams", "found", "share"), rows=rows),)}


def plans_parts(plans: dict[str, TrainingPlan]) -> dict[str, Any]:
    """A ladder of plans as a table."""
    columns = ("name", "layers", "heads", "channels", "context", "steps", "tokens", "peak rate")
    rows = tuple(
        (name, p.layers, p.heads, p.channels, p.context, p.steps, p.tokens, p.peak_rate) for name, p in plans.items()
    )
    return {"tables": (Table(columns=columns, rows=rows),)}


def funnel_table(rows: list[FunnelRow]) -> Table:
    """The funnel of a corpus."""
    names = {"": "came in"}
    return Table(
        columns=("stage", "", "count"),
        rows=tuple(("" if r.reason else r.stage, names.get(r.reason, r.reason), r.count) for r in rows),
    )


def record_parts(record: storage.Record) -> dict[str, Any]:
    """What a run says of itself."""
    changed = {name for name, source in record.sources.items() if source != "default"}
    rows = tuple(
        (name, str(value), record.sources.get(name, ""))
        for name, value in settings.flat(record.settings)
        if name in changed
    )
    facts = [
        Fact(name="command", value=one_line(" ".join(record.command), 300)),
        Fact(name="status", value=record.status),
        *([Fact(name="problem", value=one_line(record.problem, 300))] if record.problem else []),
        Fact(name="started", value=record.started),
        Fact(name="seconds", value=record.seconds),
        Fact(name="peak memory", value=size_words(record.peak_memory_bytes)),
        *(Fact(name=f"from {name}", value=f"{one.path} {one.sha256[:16]}") for name, one in record.inputs.items()),
        *(Fact(name="made", value=f"{name} {hashed[:16]}") for name, hashed in record.outputs.items()),
        Fact(name="versions", value=", ".join(f"{name} {value}" for name, value in record.versions.items())),
    ]
    table = Table(columns=("setting", "value", "source"), rows=rows, title="settings that are not default")
    return {"facts": tuple(facts), "tables": (table,) if rows else ()}
