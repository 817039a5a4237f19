"""From submissions to a corpus: links -> fetch -> raw pages -> extract -> clean -> duplicates -> split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selftaught import console, storage
from selftaught.corpus.documents import Document, Funnel, FunnelRow, read_rows
from selftaught.corpus.finishing import FinishingSettings, finish
from selftaught.corpus.links import Link, LinkSettings, read_links
from selftaught.corpus.politeness import FetchSettings

PAGES, EXTRACTED_FILE, LINKS_FILE = "pages", "extracted.jsonl.zst", "links.jsonl.zst"


@dataclass(frozen=True, kw_only=True)
class BuildSettings(FinishingSettings):
    """Every choice on the way from links to a corpus."""

    links: LinkSettings = field(default_factory=LinkSettings)
    user_agent: str = "selftaught/0.1 (research corpus; respects robots.txt)"
    """Who asks for pages; put a way to reach you into it before fetching other people's."""
    concurrent: int = 32
    """Requests under way at a time."""
    per_host: int = 2
    """Requests under way at a time to one host."""
    timeout_seconds: float = 20.0
    """Longest time for one page."""

    def __post_init__(self) -> None:
        """Refuse what a stage would refuse."""
        super().__post_init__()
        self.fetching()

    def fetching(self) -> FetchSettings:
        """The part that is about fetching."""
        return FetchSettings(
            user_agent=self.user_agent,
            concurrent=self.concurrent,
            per_host=self.per_host,
            timeout_seconds=self.timeout_seconds,
        )


def build_corpus(
    submissions: Sequence[str | Path],
    out: str | Path,
    *,
    settings: BuildSettings | None = None,
    places: Mapping[str, tuple[str, int]] | None = None,
) -> list[FunnelRow]:
    """Build a corpus folder from Reddit submission files and return its funnel.

    Pages are kept raw in `out`/pages; a second call fetches only what is missing. `places`: see `corpus.fetching.fetch`.
    """
    from selftaught.corpus.fetching import fetch

    rules, out, funnel = settings or BuildSettings(), Path(out), Funnel()
    storage.write_jsonl(out / LINKS_FILE, read_links(map(Path, submissions), rules.links, funnel))
    links = list(read_rows(out / LINKS_FILE, Link))
    files = fetch(links, out / PAGES, rules.fetching(), funnel, places=places)
    return finish(_extracted(files, links, out, funnel), out, funnel, rules)


def _extracted(files: list[Path], links: list[Link], out: Path, funnel: Funnel) -> Iterable[Document]:
    """The text of all pages, best karma first, since links are in that order."""
    from selftaught.corpus.extraction import extract

    path = out / EXTRACTED_FILE
    storage.write_jsonl(path, extract(files, {link.url: link for link in links}, funnel))
    return read_rows(path, Document)


def build_default(out: str | Path, *, settings: BuildSettings | None = None) -> list[FunnelRow]:
    """Build a corpus from the documentation of this Python (see `corpus.standard_library`)."""
    from selftaught.corpus import standard_library

    path = Path(out) / standard_library.SUBMISSIONS_FILE
    if not path.is_file():
        standard_library.write_submissions(path)
    with standard_library.serving() as places:
        console.line(f"serving pydoc's pages at {' and '.join(places)}, on a loopback port")
        return build_corpus([path], out, settings=settings, places=places)


def build_local(
    paths: Sequence[str | Path], out: str | Path, *, settings: FinishingSettings | None = None
) -> list[FunnelRow]:
    """Build a corpus folder from text files and folders of them, and return its funnel."""
    from selftaught.corpus import local

    funnel = Funnel()
    files = local.find_files(tuple(map(Path, paths)))
    return finish(local.read_documents(files, funnel), Path(out), funnel, settings or FinishingSettings())
