"""The last stages that every corpus goes through: clean -> duplicates -> split -> written, with drops and funnel."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from selftaught import console, storage
from selftaught.corpus import documents
from selftaught.corpus.cleaning import CleaningSettings, reason_to_drop
from selftaught.corpus.documents import Document, Funnel
from selftaught.corpus.splitting import side
from selftaught.errors import InputError

if TYPE_CHECKING:
    from selftaught.corpus.deduplication import Deduplicator


@dataclass(frozen=True, kw_only=True)
class FinishingSettings:
    """How documents are cleaned, compared and split."""

    heldout: float = 0.05
    """Share of documents that is held out, chosen by a hash of the URL (GPT-2 paper, section 3: 5 %)."""
    near_duplicate: float = 0.8
    """Jaccard similarity of 5-word shingles from which on a document counts as a near duplicate."""
    cleaning: CleaningSettings = field(default_factory=CleaningSettings)


def finish(rows: Iterable[Document], out: Path, funnel: Funnel, rules: FinishingSettings) -> list[documents.FunnelRow]:
    """Write train, heldout, drops and, last, the funnel into `out`.

    `rows` come best first: of duplicates the first stays. Raises InputError if a side of the split stays empty.
    """
    from selftaught.corpus.deduplication import Deduplicator

    seen = Deduplicator(rules.near_duplicate)
    with ExitStack() as stack, console.progress("cleaning", unit="documents") as bar:
        adders = {
            split: stack.enter_context(storage.writing_rows(documents.split_file(out, split)))
            for split in documents.SPLITS
        }
        for row in rows:
            bar.advance()
            if _passes(row, funnel, rules, seen):
                split = side(row.url, rules.heldout)
                adders[split](row)
                funnel.counts["split", split] += 1
        _require_both_sides(funnel, rules)
    storage.write_jsonl(out / documents.DROPS_FILE, funnel.drops)
    storage.write_json(out / documents.FUNNEL_FILE, funnel.rows())
    return funnel.rows()


def _passes(row: Document, funnel: Funnel, rules: FinishingSettings, seen: Deduplicator) -> bool:
    funnel.enter("clean")
    if reason := reason_to_drop(row.text, rules.cleaning):
        funnel.drop("clean", reason, id=row.id, url=row.url)
        return False
    funnel.keep("clean")
    funnel.enter("duplicates")
    if reason := seen.reason_to_drop(row.text):
        funnel.drop("duplicates", reason, id=row.id, url=row.url)
        return False
    funnel.keep("duplicates")
    return True


def _require_both_sides(funnel: Funnel, rules: FinishingSettings) -> None:
    sides = {split: funnel.counts["split", split] for split in documents.SPLITS}
    if all(sides.values()):
        return
    reasons = ", ".join(f"{row.count} {row.reason}" for row in funnel.rows() if row.reason not in ("", "kept", *sides))
    raise InputError(
        "too little text to hold some of it out",
        expected="at least one document on each side of the split",
        got=f"{sides['train']} train, {sides['heldout']} held out" + (f"; dropped: {reasons}" if reasons else ""),
        hint=f"give more text, or another --heldout than {rules.heldout:g}"
        if sum(sides.values())
        else "give more text",
    )
