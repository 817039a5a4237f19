"""`selftaught corpus`: text, from links or from folders, as clean documents, split into train and held-out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from selftaught import console, settings, storage
from selftaught.cli import words
from selftaught.cli.corpus_commands import Build, Clean, Cluster, Dedup, Export, Extract, Fetch, Links, Local, Split
from selftaught.cli.making import make
from selftaught.corpus import documents, exporting, stages
from selftaught.corpus.building import LINKS_FILE, PAGES, build_corpus, build_default, build_local
from selftaught.corpus.submissions import require_files
from selftaught.errors import UsageError

SIDES = tuple(documents.split_file(Path(), split).name for split in documents.SPLITS)
WORDS = {
    "build": "Reddit submissions -> fetched pages -> corpus",
    "local": "files and folders of text -> corpus",
    "links": "Reddit submissions -> links",
    "fetch": "links -> raw pages",
    "extract": "raw pages -> documents",
    "clean": "documents -> documents that pass the filters",
    "dedup": "documents -> documents without duplicates",
    "split": "documents -> corpus",
    "cluster": "links -> cleaned documents, in shards on one machine or many",
    "export": "corpus -> Parquet or JSON lines with a data card",
}
"""`build` does links to split in one folder."""

Made = TypeVar("Made", Fetch, Clean, Dedup)


def run(argv: Sequence[str]) -> None:
    """Run one word of the verb."""
    word = words.choose("corpus", argv, WORDS)
    run_word: dict[str, Callable[[Sequence[str]], None]] = {
        "build": _build,
        "local": _local,
        "links": _links,
        "fetch": _stage("fetch", Fetch, stages.fetch_pages, PAGES, LINKS_FILE),
        "extract": _extract,
        "clean": _stage("clean", Clean, stages.clean_documents, stages.DOCUMENTS_FILE),
        "dedup": _stage("dedup", Dedup, stages.deduplicate_documents, stages.DOCUMENTS_FILE),
        "split": _split,
        "export": _export,
        "cluster": _cluster,
    }
    run_word[word](argv[1:])


def _stage(
    word: str, kind: type[Made], work: Callable[[Any, Path, Any], None], *outputs: str
) -> Callable[[Sequence[str]], None]:
    """The word that does one stage."""

    def run_stage(argv: Sequence[str]) -> None:
        resolved = settings.resolve(kind, argv, prog=f"selftaught corpus {word}")
        command = resolved.command
        inputs = {"source 0": command.source}
        _make(resolved, f"corpus {word}", inputs, lambda: work(command.source, command.out, command.settings), outputs)

    return run_stage


def _links(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Links, argv, prog="selftaught corpus links")
    command = resolved.command
    _require(command.source, "submission dumps or URL lists")
    require_files(command.source)
    inputs = _numbered("source", command.source) | _numbered("block list", command.settings.block)

    def work() -> None:
        stages.collect_links(command.source, command.out, command.settings)

    _make(resolved, "corpus links", inputs, work, (LINKS_FILE,))


def _require(paths: Sequence[Path], what: str) -> None:
    if not paths:
        raise UsageError("say which files to read", expected=what)


def _numbered(name: str, paths: Sequence[Path]) -> dict[str, Path]:
    return {f"{name} {number}": path for number, path in enumerate(paths)}


def _extract(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Extract, argv, prog="selftaught corpus extract")
    command = resolved.command
    _require(command.source, "a folder made by `selftaught corpus fetch`, or WARC files")
    inputs = _numbered("source", command.source)
    if command.links:
        inputs["links"] = command.links

    def work() -> None:
        stages.extract_documents(command.source, command.out, command.settings, links=command.links)

    _make(resolved, "corpus extract", inputs, work, (stages.DOCUMENTS_FILE,))


def _split(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Split, argv, prog="selftaught corpus split")
    command = resolved.command
    inputs = {"source 0": command.source, **_index(command)}

    def work() -> None:
        stages.split_documents(command.source, command.out, command.settings, contaminated=_check(command))

    _make(resolved, "corpus split", inputs, work)


def _cluster(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Cluster, argv, prog="selftaught corpus cluster")
    command = resolved.command
    from selftaught.corpus.cluster import run_shards

    with storage.run(
        command.out,
        verb="corpus cluster",
        plan=command.settings,
        sources=resolved.sources,
        inputs={"source 0": command.source},
        more=command.settings.executor != "slurm" and not (command.out / documents.FUNNEL_FILE).is_file(),
    ) as opened:
        if opened.finished:
            console.line(f"{command.out} is finished")
        elif script := run_shards(command.source, command.out, command.settings):
            console.line(f"submit the shards with: sbatch {script}")
            console.line("then merge them with the same command and --executor local")
            return
        else:
            for name in (documents.FUNNEL_FILE, documents.DROPS_FILE, stages.DOCUMENTS_FILE):
                opened.declare(name)
    _show(command.out, json=command.json)


def _export(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Export, argv, prog="selftaught corpus export")
    command = resolved.command

    def work(_: storage.Run) -> Sequence[str]:
        made = exporting.export_corpus(command.source, command.out, command.settings)
        return [*(path.relative_to(command.out).as_posix() for path in made), exporting.CARD_FILE]

    made = make(resolved, "corpus export", {"corpus": command.source}, work)
    if command.json:
        console.result(made)
    else:
        console.table(["file"], [(name,) for name in made])


def _index(command: Build | Local | Split) -> dict[str, Path]:
    return {"decontaminate": command.decontaminate} if command.decontaminate else {}


def _check(command: Build | Local | Split) -> Callable[[str], bool] | None:
    """Whether a text holds a passage of the benchmark texts that are not wanted, if any were given."""
    if command.decontaminate is None:
        return None
    from selftaught.overlap.passages import shares_a_passage

    return shares_a_passage(command.decontaminate)


def _build(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Build, argv, prog="selftaught corpus build")
    command = resolved.command
    if bool(command.submissions) == command.standard_library:
        raise UsageError("say where the links come from", expected="either --submissions FILE... or --standard-library")
    require_files(command.submissions)
    inputs = _numbered("submissions", command.submissions) | _numbered("archive", command.archives) | _index(command)
    inputs |= _numbered("block list", command.settings.links.block)

    def work() -> None:
        if command.standard_library:
            build_default(command.out, settings=command.settings, contaminated=_check(command))
        else:
            build_corpus(
                command.submissions,
                command.out,
                settings=command.settings,
                archives=command.archives,
                contaminated=_check(command),
            )

    _make(resolved, "corpus build", inputs, work)


def _local(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Local, argv, prog="selftaught corpus local")
    command = resolved.command
    _require(command.paths, "files or folders of text")
    inputs = _numbered("text", command.paths) | _index(command)

    def work() -> None:
        build_local(command.paths, command.out, settings=command.settings, contaminated=_check(command))

    _make(resolved, "corpus local", inputs, work)


def _make(
    resolved: settings.Resolved[Any],
    verb: str,
    inputs: dict[str, Path],
    work: Callable[[], None],
    outputs: Sequence[str] = SIDES,
) -> None:
    def work_and_name(_: storage.Run) -> Sequence[str]:
        work()
        return documents.FUNNEL_FILE, documents.DROPS_FILE, *outputs

    make(resolved, verb, inputs, work_and_name)
    _show(resolved.command.out, json=resolved.command.json)


def _show(folder: Path, *, json: bool) -> None:
    rows = documents.read_funnel(folder)
    if json:
        console.result([settings.as_document(row) for row in rows])
    else:
        documents.show_funnel(rows)
