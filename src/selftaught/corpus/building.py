"""From submissions to a corpus: links -> fetch -> raw pages -> extract -> clean -> duplicates -> split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selftaught import console, storage
from selftaught.corpus import local
from selftaught.corpus.documents import Document, Funnel, FunnelRow, read_rows
from selftaught.corpus.extraction import ExtractionSettings
from selftaught.corpus.finishing import Check, FinishingSettings, finish, load_ahead
from selftaught.corpus.links import Link, LinkSettings, read_links
from selftaught.corpus.local import ReadingSettings
from selftaught.corpus.pages import find_archives
from selftaught.corpus.politeness import FetchSettings

PAGES, EXTRACTED_FILE, LINKS_FILE = "pages", "extracted.jsonl.zst", "links.jsonl.zst"


@dataclass(frozen=True, kw_only=True)
class BuildSettings(FinishingSettings, FetchSettings):
    """Every choice on the way from links to a corpus."""

    links: LinkSettings = field(default_factory=LinkSettings)
    extraction: ExtractionSettings = field(default_factory=ExtractionSettings)

    def __post_init__(self) -> None:
        """Refuse what a stage would refuse."""
        FinishingSettings.__post_init__(self)
        FetchSettings.__post_init__(self)


def build_corpus(
    submissions: Sequence[str | Path],
    out: str | Path,
    *,
    settings: BuildSettings | None = None,
    archives: Sequence[str | Path] = (),
    contaminated: Check | None = None,
    places: Mapping[str, tuple[str, int]] | None = None,
) -> list[FunnelRow]:
    """Build a corpus folder from Reddit submission files and return its funnel.

    Pages are kept raw in `out`/pages; a second call fetches only what is missing. With `archives`, WARC files such as Common
    Crawl's or folders of them, nothing is fetched: pages that are linked to are taken from there. `contaminated` says of a text
    whether it is to be dropped for what it holds of a benchmark. `places`: see `fetching.fetch`.
    """
    from selftaught.corpus import extraction

    rules, out, funnel = settings or BuildSettings(), Path(out), Funnel()
    path = out / LINKS_FILE
    storage.write_jsonl(path, read_links(map(Path, submissions), rules.links, funnel))
    links = extraction.links_by_address(read_rows(path, Link)) if archives else None
    files = (
        find_archives(map(Path, archives)) if archives else _fetched(path, out / PAGES, rules, funnel, places=places)
    )
    with extraction.start(rules.extraction) as workers:
        load_ahead()
        extraction.extract(files, out / EXTRACTED_FILE, funnel, rules.extraction, links=links, workers=workers)
        rows = finish(read_rows(out / EXTRACTED_FILE, Document), out, funnel, rules, contaminated, workers=workers)
    extraction.forget_parts(out / EXTRACTED_FILE)
    return rows


def _fetched(
    links: Path, out: Path, rules: FetchSettings, funnel: Funnel, *, places: Mapping[str, tuple[str, int]] | None
) -> list[Path]:
    from selftaught.corpus.fetching import fetch

    return fetch(read_rows(links, Link), out, rules, funnel, places=places, total=funnel.counts["links", "kept"])


def build_default(
    out: str | Path, *, settings: BuildSettings | None = None, contaminated: Check | None = None
) -> list[FunnelRow]:
    """Build a corpus from the documentation of this Python (see `corpus.standard_library`)."""
    from selftaught.corpus import standard_library

    path = Path(out) / standard_library.SUBMISSIONS_FILE
    if not path.is_file():
        standard_library.write_submissions(path)
    with standard_library.serving() as places:
        console.line(f"serving pydoc's pages at {' and '.join(places)}, on a loopback port")
        return build_corpus([path], out, settings=settings, contaminated=contaminated, places=places)


@dataclass(frozen=True, kw_only=True)
class LocalSettings(FinishingSettings, ReadingSettings):
    """How files become a corpus."""

    def __post_init__(self) -> None:
        """Refuse what either part refuses."""
        FinishingSettings.__post_init__(self)
        ReadingSettings.__post_init__(self)


def build_local(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    settings: LocalSettings | None = None,
    contaminated: Check | None = None,
) -> list[FunnelRow]:
    """Build a corpus folder from text files and folders of them, and return its funnel."""
    funnel, rules = Funnel(), settings or LocalSettings()
    files = local.find_files(tuple(map(Path, paths)))
    return finish(local.read_documents(files, funnel, rules), Path(out), funnel, rules, contaminated)
