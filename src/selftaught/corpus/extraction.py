"""Raw pages -> documents with their main text; what gives none keeps its reason.

Each file of pages becomes one file of results as soon as all its pages are done, so that a killed run goes on behind the last of
them. In the end documents are put in order: most karma first, and by address.
"""

from __future__ import annotations

import itertools
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from selftaught import compute, console, storage
from selftaught.corpus import urls
from selftaught.corpus.documents import Document, Funnel, read_rows
from selftaught.corpus.encoding import decoded
from selftaught.corpus.extractors import HTML, ExtractorName, extract_text
from selftaught.corpus.kinds import data_kind
from selftaught.corpus.links import Link
from selftaught.corpus.pages import Page, read_pages
from selftaught.corpus.ranges import require_least
from selftaught.corpus.workers import MEMORY_BYTES, SECONDS, Workers

STAGE = "extract"
ARCHIVE = "archive"
"""The stage of responses in other people's archives, which are pages or not, and linked to or not."""
_SORTED_CHARACTERS = 1 << 28


@dataclass(frozen=True, kw_only=True)
class ExtractionSettings:
    """How text is taken out of pages."""

    extractor: ExtractorName = "quality"
    """`quality`: trafilatura, with `fast` to fall back on. `fast`: by its paragraphs, four times as fast, nearly as good."""
    processes: int = field(default=0, metadata={"changeable": True})
    """Processes that extract and clean; 0 for one on each core."""
    seconds_per_page: float = SECONDS
    """A page that takes longer is dropped as `timeout`, and its process ended, whatever it does. By the clock; where others use
    the processors, so that a page has to wait for one, by processor time."""
    memory_bytes: int = MEMORY_BYTES
    """A page that needs more memory than this is dropped as `memory`."""

    def __post_init__(self) -> None:
        """Refuse limits that no page can keep."""
        require_least(self, 0.01, "seconds_per_page")
        require_least(self, 1 << 28, "memory_bytes")
        require_least(self, 0, "processes")


@dataclass(frozen=True, kw_only=True)
class _Result:
    """What became of one page, or of `count` responses that are of no further interest."""

    stage: str
    reason: str = ""
    url: str = ""
    count: int = 1
    document: Document | None = None


def links_by_address(links: Iterator[Link]) -> dict[str, Link]:
    """Links by what tells their address from others, for `extract`."""
    return {urls.key(link.url): link for link in links}


def start(rules: ExtractionSettings) -> Workers:
    """Processes that extract, ready for their first page; the stages after this one may have them too."""
    begin = partial(extract_text, b"<p>", HTML, rules.extractor)
    return Workers(rules.processes or compute.usable_cores(), rules.seconds_per_page, rules.memory_bytes, begin)


def extract(
    files: Sequence[Path],
    target: Path,
    funnel: Funnel,
    rules: ExtractionSettings,
    *,
    links: Mapping[str, Link] | None = None,
    workers: Workers | None = None,
) -> None:
    """Write the documents of all pages in WARC files to `target`, a .jsonl file.

    What is no page is dropped as what it is (see `data_kind`); what gives no text as `no text`, `error`, `timeout`, `memory` or
    `crash`. With `links` (see `links_by_address`) the files are somebody's archives, of which the pages that are linked to are
    taken; those of `fetching.fetch` know theirs.
    `workers` (see `start`) are started for this stage alone if none are given.
    """
    parts = _parts(target)
    made = [parts / f"{number:06}.jsonl.zst" for number in range(len(files))]
    missing = [(file, part) for file, part in zip(files, made, strict=True) if not part.is_file()]
    with console.progress("extracting", len(files), unit="files", done=len(files) - len(missing)) as bar:
        for part, results in _by_file(missing, rules, links, workers):
            storage.write_jsonl(part, results)
            bar.advance()
        storage.write_jsonl(target, _in_order(made, funnel))


def forget_parts(target: Path) -> None:
    """Remove the files that `extract` would go on behind, when all that is made of its result is made."""
    shutil.rmtree(_parts(target), ignore_errors=True)


def _parts(target: Path) -> Path:
    return target.parent / (target.name + ".parts")


def _by_file(
    files: Sequence[tuple[Path, Path]],
    rules: ExtractionSettings,
    links: Mapping[str, Link] | None,
    given: Workers | None,
) -> Iterator[tuple[Path, Iterator[_Result]]]:
    """For each file of pages the file to write and what became of its pages; workers are busy across the ends of files."""
    others: list[list[_Result]] = [[] for _ in files]
    origin: deque[int] = deque()

    def pages() -> Iterator[Page]:
        for number, (file, _) in enumerate(files):
            for page in _pages(file, links, others[number]):
                origin.append(number)
                yield page

    def results(workers: Workers) -> Iterator[tuple[int, _Result]]:
        work = partial(_text_or_reason, extractor=rules.extractor)
        for page, found, lost in workers.results(work, pages(), lambda page: (page.body, page.content_type)):
            text, reason = found or ("", lost)
            yield origin.popleft(), _result(page, text, reason)

    if not files:
        return
    with nullcontext(given) if given else start(rules) as workers:
        found = results(workers)
        first = next(found, None)
        for number, (_, part) in enumerate(files):
            own = _Run(number, first, found)
            yield part, itertools.chain(own, others[number])
            first = own.first


def _text_or_reason(body: bytes, content_type: str, extractor: ExtractorName) -> tuple[str, str]:
    """The text of a page, or "" and what it is instead of one."""
    text = extract_text(body, content_type, extractor)
    return text, "" if text else data_kind(decoded(body, content_type))


class _Run:
    """The results of one file out of all; behind them, `first` is the first result that is another file's."""

    def __init__(self, number: int, first: tuple[int, _Result] | None, found: Iterator[tuple[int, _Result]]) -> None:
        self._number, self.first, self._found = number, first, found

    def __iter__(self) -> Iterator[_Result]:
        while self.first is not None and self.first[0] == self._number:
            yield self.first[1]
            self.first = next(self._found, None)


def _pages(file: Path, links: Mapping[str, Link] | None, others: list[_Result]) -> Iterator[Page]:
    """The pages of a file that are wanted; responses that are none, and pages that nobody linked to, are added to `others`."""
    unlinked = 0
    for page in read_pages(file):
        link = page.link if links is None else links.get(urls.key(page.url)) or links.get(urls.key(page.final_url))
        if links is not None and link is None:
            unlinked += 1
        elif page.problem:
            others.append(_Result(stage=ARCHIVE, reason=page.problem, url=page.url))
        else:
            address = link.url if link else urls.normalise(page.url) or page.url
            if page.link is None:
                others.append(_Result(stage=ARCHIVE, url=address))
            yield replace(page, url=address, link=link)
    if unlinked:
        others.append(_Result(stage=ARCHIVE, reason="not linked to", count=unlinked))


def _result(page: Page, text: str, reason: str) -> _Result:
    if not text:
        return _Result(stage=STAGE, reason=reason or "no text", url=page.url)
    return _Result(stage=STAGE, url=page.url, document=_document(page, text))


def _document(page: Page, text: str) -> Document:
    link = page.link or Link(url=page.url, karma=0)
    karma = page.link.karma if page.link else None
    return Document(
        id=page.url, text=text, url=page.url, source=link.subreddit, title=link.title, karma=karma, date=link.date
    )


def _in_order(parts: Sequence[Path], funnel: Funnel) -> Iterator[Document]:
    """All documents, most karma first and by address; of several under one address the first."""
    rows = itertools.chain.from_iterable(read_rows(part, _Result) for part in parts)
    found = storage.sorted_rows(
        _counted(rows, funnel),
        Document,
        lambda document: (-(document.karma or 0), document.id),
        weight=lambda document: len(document.text) + 1000,
        most=_SORTED_CHARACTERS,
    )
    last = ""
    for document in found:
        if document.id == last:
            funnel.drop(STAGE, "same address", id=document.id, url=document.url)
            continue
        last = document.id
        funnel.keep(STAGE)
        yield document


def _counted(rows: Iterator[_Result], funnel: Funnel) -> Iterator[Document]:
    for row in rows:
        funnel.enter(row.stage, row.count)
        if row.document is not None:
            yield row.document
        elif row.reason and row.count == 1:
            funnel.drop(row.stage, row.reason, id=row.url, url=row.url)
        else:
            funnel.counts[row.stage, row.reason or "kept"] += row.count
