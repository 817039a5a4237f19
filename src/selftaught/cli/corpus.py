"""`selftaught corpus`: text, from links or from folders, as clean documents, split into train and held-out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.cli import words
from selftaught.corpus import documents
from selftaught.corpus.building import BuildSettings, build_corpus, build_default, build_local
from selftaught.corpus.finishing import FinishingSettings
from selftaught.errors import UsageError

WORDS = {
    "build": "Reddit submissions -> fetched pages -> corpus",
    "local": "files and folders of text -> corpus",
}


@dataclass(frozen=True, kw_only=True)
class Build(settings.Verb):
    """Fetch what Reddit submissions with enough karma link to, and make a corpus of it (GPT-2 paper, section 2.1)."""

    submissions: tuple[Path, ...] = ()
    """Submission dumps (.zst, .xz, .bz2, .gz or plain JSON lines)."""
    standard_library: bool = False
    """Use the default web instead: this Python's own documentation, served on a loopback port."""
    out: Path
    """Folder of the corpus."""
    settings: BuildSettings = field(default_factory=BuildSettings)


@dataclass(frozen=True, kw_only=True)
class Local(settings.Verb):
    """Make a corpus of text that is already here."""

    paths: Positional[tuple[Path, ...]]
    """Files or folders of .txt, .md, .jsonl with a `text` field (also .gz, .zst, .xz, .bz2)."""
    out: Path
    """Folder of the corpus."""
    settings: FinishingSettings = field(default_factory=FinishingSettings)


def run(argv: Sequence[str]) -> None:
    """Run one word of the verb."""
    word = words.choose("corpus", argv, WORDS)
    {"build": _build, "local": _local}[word](argv[1:])


def _build(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Build, argv, prog="selftaught corpus build")
    command = resolved.command
    if bool(command.submissions) == command.standard_library:
        raise UsageError("say where the links come from", expected="either --submissions FILE... or --standard-library")
    inputs = {f"submissions {number}": path for number, path in enumerate(command.submissions)}

    def work() -> None:
        if command.standard_library:
            build_default(command.out, settings=command.settings)
        else:
            build_corpus(command.submissions, command.out, settings=command.settings)

    _make(resolved, "corpus build", inputs, work)


def _local(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Local, argv, prog="selftaught corpus local")
    command = resolved.command
    inputs = {f"text {number}": path for number, path in enumerate(command.paths)}

    def work() -> None:
        build_local(command.paths, command.out, settings=command.settings)

    _make(resolved, "corpus local", inputs, work)


def _make(
    resolved: settings.Resolved[Build] | settings.Resolved[Local],
    verb: str,
    inputs: dict[str, Path],
    work: Callable[[], None],
) -> None:
    command = resolved.command
    plan: FinishingSettings = command.settings
    with storage.run(command.out, verb=verb, plan=plan, sources=resolved.sources, inputs=inputs) as opened:
        if opened.finished:
            console.line(f"{command.out} is finished")
        else:
            work()
            for name in (documents.FUNNEL_FILE, documents.DROPS_FILE):
                opened.declare(name)
            for split in documents.SPLITS:
                opened.declare(documents.split_file(command.out, split).name)
    rows = documents.read_funnel(command.out)
    if command.json:
        console.result([settings.as_document(row) for row in rows])
    else:
        documents.show_funnel(rows)
