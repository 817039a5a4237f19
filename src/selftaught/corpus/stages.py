"""One stage at a time, each into a folder of its own that the next one reads, so that any can be run again alone.

    links -> links.jsonl.zst     fetch -> pages/ + links.jsonl.zst     extract, clean, dedup -> documents.jsonl.zst
    split -> a corpus folder

Every folder also holds the drops and the funnel of all stages so far; together they are those of `building.build_corpus`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from selftaught import compute, console, storage
from selftaught.corpus import extraction, finishing
from selftaught.corpus.building import LINKS_FILE, PAGES
from selftaught.corpus.cleaning import CleaningSettings
from selftaught.corpus.documents import Document, Funnel, read_rows
from selftaught.corpus.extraction import ExtractionSettings
from selftaught.corpus.finishing import DeduplicationSettings, SplitSettings
from selftaught.corpus.links import Link, LinkSettings, read_links
from selftaught.corpus.pages import ENDINGS, find_archives
from selftaught.corpus.politeness import FetchSettings
from selftaught.corpus.workers import Workers
from selftaught.errors import InputError, MismatchError

DOCUMENTS_FILE = "documents.jsonl.zst"
T = TypeVar("T")


def collect_links(submissions: Sequence[str | Path], out: str | Path, settings: LinkSettings | None = None) -> None:
    """Distinct links of Reddit submission files, best first."""
    funnel = Funnel()
    links = read_links(map(Path, submissions), settings or LinkSettings(), funnel)
    storage.write_jsonl(Path(out) / LINKS_FILE, _some(links, funnel, "links"))
    funnel.save(Path(out))


def fetch_pages(
    folder: str | Path,
    out: str | Path,
    settings: FetchSettings | None = None,
    *,
    places: Mapping[str, tuple[str, int]] | None = None,
) -> None:
    """Raw pages of a folder of links. Pages that are there are not fetched again; `places`: see `fetching.fetch`."""
    from selftaught.corpus import fetching

    out, path = Path(out), links_of(Path(folder))
    funnel = _begin(Path(folder), fetching.STAGE)
    total = funnel.counts["links", "kept"]
    rules = settings or FetchSettings()
    fetching.fetch(read_rows(path, Link), out / PAGES, rules, funnel, places=places, total=total)
    storage.write_jsonl(out / LINKS_FILE, read_rows(path, Link))
    funnel.save(out)


def extract_documents(
    sources: Sequence[str | Path],
    out: str | Path,
    settings: ExtractionSettings | None = None,
    *,
    links: str | Path | None = None,
    may_be_empty: bool = False,
) -> None:
    """The main text of a folder of pages that `fetch_pages` made, or of anybody's WARC files and folders of them.

    With `links`, a folder of links, the pages that are linked to are taken, with what is known of their submissions. No text at
    all is an error unless it `may_be_empty`, as one shard of many may.
    """
    given = list(map(Path, sources))
    places = [path / PAGES if (path / PAGES).is_dir() else path for path in given]
    none = may_be_empty and not any(path.name.endswith(ENDINGS) for place in places for path in place.rglob("*"))
    files = [] if none else find_archives(places)
    known = extraction.links_by_address(read_rows(links_of(Path(links)), Link)) if links else None
    before = Path(links) if links else given[0]
    funnel = Funnel.load(before).until(extraction.STAGE) if before.is_dir() else Funnel()
    target = Path(out) / DOCUMENTS_FILE
    extraction.extract(files, target, funnel, settings or ExtractionSettings(), links=known)
    if not (may_be_empty or funnel.counts[extraction.STAGE, "kept"]):
        target.unlink()
    _require(may_be_empty or funnel.counts[extraction.STAGE, "kept"], funnel, "documents")
    funnel.save(Path(out))
    extraction.forget_parts(target)


def clean_documents(
    source: str | Path,
    out: str | Path,
    settings: CleaningSettings | None = None,
    *,
    processes: int = 0,
    may_be_empty: bool = False,
) -> None:
    """The documents that pass the filters, looked at by so many processes, 0 for one on each core."""
    funnel = _begin(Path(source), finishing.CLEAN)
    with Workers(processes or compute.usable_cores()) as workers:
        rows = finishing.clean(_documents(Path(source)), funnel, settings or CleaningSettings(), workers)
        _write(rows, Path(out), funnel, may_be_empty=may_be_empty)


def deduplicate_documents(source: str | Path, out: str | Path, settings: DeduplicationSettings | None = None) -> None:
    """The documents without exact and near duplicates; of each cluster the one with most karma stays."""
    funnel = _begin(Path(source), finishing.DUPLICATES)
    threshold = (settings or DeduplicationSettings()).near_duplicate
    clusters = Path(out) / finishing.CLUSTERS_FILE
    _write(finishing.deduplicate(_documents(Path(source)), funnel, threshold, clusters), Path(out), funnel)


def split_documents(
    source: str | Path,
    out: str | Path,
    settings: SplitSettings | None = None,
    *,
    contaminated: finishing.Check | None = None,
) -> None:
    """A corpus folder: the documents on their sides of the split, without those that are `contaminated`."""
    funnel = _begin(Path(source), finishing.SPLIT)
    finishing.split(_documents(Path(source)), Path(out), funnel, settings or SplitSettings(), contaminated)
    funnel.save(Path(out))


def _begin(source: Path, stage: str) -> Funnel:
    """The funnel so far. Raises MismatchError if these rows have been through the stage."""
    funnel = Funnel.load(source) if source.is_dir() else Funnel()
    if any(name == stage for name, _ in funnel.counts):
        raise MismatchError(
            f"{source} has been through {stage} before",
            hint="Give the folder of an earlier stage, or the .jsonl.zst file itself to begin a new funnel.",
        )
    return funnel


def links_of(folder: Path) -> Path:
    """The links of a folder. Raises InputError where there are none."""
    if not (folder / LINKS_FILE).is_file():
        raise InputError(
            f"{folder} holds no links", expected=LINKS_FILE, hint="Type: selftaught corpus links SUBMISSIONS --out DIR"
        )
    return folder / LINKS_FILE


def _documents(source: Path) -> Iterator[Document]:
    path = source / DOCUMENTS_FILE if source.is_dir() else source
    if not path.is_file():
        raise InputError(
            f"no documents in {source}", expected=f"a folder with {DOCUMENTS_FILE}, or one .jsonl file (also .gz, .zst)"
        )
    with console.progress("documents", unit="documents") as bar:
        for row in read_rows(path, Document):
            bar.advance()
            yield row


def _write(rows: Iterable[Document], out: Path, funnel: Funnel, *, may_be_empty: bool = False) -> None:
    storage.write_jsonl(out / DOCUMENTS_FILE, rows if may_be_empty else _some(rows, funnel, "documents"))
    funnel.save(out)


def _some(rows: Iterable[T], funnel: Funnel, what: str) -> Iterator[T]:
    """The rows; InputError with the reasons of all drops if there are none."""
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 - counted on purpose
        yield row
    _require(count, funnel, what)


def _require(count: object, funnel: Funnel, what: str) -> None:
    if not count:
        reasons = ", ".join(f"{row.count} {row.reason}" for row in funnel.rows() if row.reason not in ("", "kept"))
        raise InputError(f"no {what} are left", got=f"dropped: {reasons}" if reasons else "nothing came in")
