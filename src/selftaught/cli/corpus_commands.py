"""What can be typed after `selftaught corpus`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import settings
from selftaught.corpus.building import BuildSettings, LocalSettings
from selftaught.corpus.cleaning import CleaningSettings
from selftaught.corpus.dealing import ClusterSettings
from selftaught.corpus.exporting import ExportSettings
from selftaught.corpus.extraction import ExtractionSettings
from selftaught.corpus.finishing import DeduplicationSettings, SplitSettings
from selftaught.corpus.links import LinkSettings
from selftaught.corpus.politeness import FetchSettings


@dataclass(frozen=True, kw_only=True)
class Build(settings.Verb):
    """Fetch what Reddit submissions with enough karma link to, and make a corpus of it (GPT-2 paper, section 2.1)."""

    submissions: tuple[Path, ...] = ()
    """Submission dumps, or lists of URLs (JSON lines, .csv, .txt; also .zst, .xz, .bz2, .gz)."""
    standard_library: bool = False
    """Use the default web instead: this Python's own documentation, served on a loopback port."""
    archives: tuple[Path, ...] = ()
    """WARC files, such as Common Crawl's, or folders of them: take the pages from there and fetch nothing."""
    out: Path
    """Folder of the corpus."""
    decontaminate: Path | None = None
    """Index of benchmark texts (`selftaught overlap index`): drop documents that share a passage of 13 words with them."""
    settings: BuildSettings = field(default_factory=BuildSettings)


@dataclass(frozen=True, kw_only=True)
class Local(settings.Verb):
    """Make a corpus of text that is already here."""

    paths: Positional[tuple[Path, ...]]
    """Files or folders of text: .txt, .md, .html, .epub, .pdf, .jsonl and .parquet (also .gz, .zst, .xz, .bz2)."""
    out: Path
    """Folder of the corpus."""
    decontaminate: Path | None = None
    """Index of benchmark texts (`selftaught overlap index`): drop documents that share a passage of 13 words with them."""
    settings: LocalSettings = field(default_factory=LocalSettings)


@dataclass(frozen=True, kw_only=True)
class Links(settings.Verb):
    """Collect the distinct links of Reddit submissions with enough karma."""

    source: Positional[tuple[Path, ...]]
    """Submission dumps, or lists of URLs (JSON lines, .csv, .txt; also .zst, .xz, .bz2, .gz)."""
    out: Path
    """Folder of the links."""
    settings: LinkSettings = field(default_factory=LinkSettings)


@dataclass(frozen=True, kw_only=True)
class Fetch(settings.Verb):
    """Fetch the pages that links lead to and keep them as they were served."""

    source: Positional[Path]
    """Folder made by `selftaught corpus links`."""
    out: Path
    """Folder of the pages; a run that was stopped goes on there."""
    settings: FetchSettings = field(default_factory=FetchSettings)


@dataclass(frozen=True, kw_only=True)
class Extract(settings.Verb):
    """Take the main text out of pages."""

    source: Positional[tuple[Path, ...]]
    """Folder made by `selftaught corpus fetch` (or `build`); or WARC files, such as Common Crawl's, and folders of them."""
    links: Path | None = None
    """Folder made by `selftaught corpus links`: take only pages that are linked to, with karma, subreddit and day."""
    out: Path
    """Folder of the documents."""
    settings: ExtractionSettings = field(default_factory=ExtractionSettings)


@dataclass(frozen=True, kw_only=True)
class Clean(settings.Verb):
    """Drop documents that are too short, mostly symbols or mostly repetition."""

    source: Positional[Path]
    """Folder made by an earlier stage, or a .jsonl file of documents (also .gz, .zst)."""
    out: Path
    """Folder of the documents that are left."""
    settings: CleaningSettings = field(default_factory=CleaningSettings)


@dataclass(frozen=True, kw_only=True)
class Dedup(settings.Verb):
    """Drop exact and near duplicates; of each cluster the document with most karma stays."""

    source: Positional[Path]
    """Folder made by an earlier stage, or a .jsonl file of documents (also .gz, .zst)."""
    out: Path
    """Folder of the documents that are left."""
    settings: DeduplicationSettings = field(default_factory=DeduplicationSettings)


@dataclass(frozen=True, kw_only=True)
class Split(settings.Verb):
    """Split documents into train and held-out by a hash of their URL."""

    source: Positional[Path]
    """Folder made by an earlier stage, or a .jsonl file of documents (also .gz, .zst)."""
    out: Path
    """Folder of the corpus."""
    decontaminate: Path | None = None
    """Index of benchmark texts (`selftaught overlap index`): drop documents that share a passage of 13 words with them."""
    settings: SplitSettings = field(default_factory=SplitSettings)


@dataclass(frozen=True, kw_only=True)
class Cluster(settings.Verb):
    """Fetch, extract and clean in shards, on this machine, a Ray cluster or Slurm (needs the extra `cluster`)."""

    source: Positional[Path]
    """Folder made by `selftaught corpus links`."""
    out: Path
    """Folder of the documents; all machines must see it."""
    settings: ClusterSettings = field(default_factory=ClusterSettings)


@dataclass(frozen=True, kw_only=True)
class Export(settings.Verb):
    """Write a corpus as files that Hugging Face's `datasets` loads, with a data card."""

    source: Positional[Path]
    """Folder of a corpus."""
    out: Path
    """Folder of the files."""
    settings: ExportSettings = field(default_factory=ExportSettings)
