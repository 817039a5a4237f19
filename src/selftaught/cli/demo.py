"""`selftaught demo`: the whole of the paper on a laptop, one printed command after another.

Corpus, tokenizer, token shards, a ladder of four sizes trained on the same tokens, samples, overlap, zero-shot tasks, what
the smallest and the largest know by heart, and one page that shows it all. Each step is a verb that can be typed alone; a
second start continues where the first ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selftaught import console, settings, storage
from selftaught.cli import stages
from selftaught.errors import InputError, UsageError
from selftaught.training.plan import TrainingPlan
from selftaught.training.recipes import RECIPES

LADDER_FILE, PAGE_FILE, RESULTS_FILE = "ladder.json", "report.html", "results.json"
RECIPE = "laptop"
EVALUATION_SHARE = 0.16
"""Share of the minutes kept for evaluating, sampling, overlap, memorisation and the page; measured on two cores."""
DATA_SHARE = 0.14
"""Further share kept for the data sets of `--data`."""
SMALLEST_TRAINING_SHARE = 0.3
"""Training gets at least this share of the minutes, however long the corpus took."""
CONTINUED_DOCUMENTS = 10
"""Held-out documents that are continued to see what a model knows by heart, for each sample that is drawn to be read."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What the demo may be asked to do differently."""

    minutes: float = 10.0
    """How long the whole may take on this machine; sets the sizes of the models and the number of tokens."""
    vocabulary_size: int = 4096
    """Tokens in the vocabulary that is learned."""
    heldout: float = 0.1
    """Share of the documents that is held out; twice the paper's, since a small corpus has few documents to ask about."""
    samples: int = 4
    """Continuations of held-out text to draw from each model."""
    seed: int = 1
    """Seed of everything that is drawn at random."""


@dataclass(frozen=True, kw_only=True)
class Demo(settings.Verb):
    """Run the whole of the paper on a small scale: by default on Python's own documentation, fetched from a loopback port."""

    text: tuple[Path, ...] = ()
    """Files or folders of .txt, .md, .jsonl (also .gz, .zst) to learn from instead."""
    data: Path | None = None
    """Folder of data sets (lambada/, wikitext2/, winograd/...) to evaluate on as well."""
    out: Path = Path("runs/demo")
    """Folder for everything that is made."""
    settings: DemoSettings = field(default_factory=DemoSettings)


def run(argv: Sequence[str]) -> None:
    """Run the demo that `argv` asks for, or continue one that was interrupted."""
    resolved = settings.resolve(Demo, argv, prog="selftaught demo")
    command = resolved.command
    inputs = _inputs(command)
    with storage.run(
        command.out, verb="demo", plan=command.settings, sources=resolved.sources, inputs=inputs
    ) as opened:
        if not opened.finished:
            _demonstrate(command, opened)
        elif not all((command.out / name).is_file() for name in (PAGE_FILE, RESULTS_FILE)):
            _write_page(command)
        else:
            console.line(f"{command.out} is finished: open {command.out / PAGE_FILE}, or choose another --out")
    if command.json:
        console.result(storage.read_json(command.out / RESULTS_FILE, list[dict[str, object]]))


def _inputs(command: Demo) -> dict[str, Path]:
    if command.settings.minutes <= 0:
        raise UsageError("--minutes is too small", expected="more than 0", got=f"{command.settings.minutes:g}")
    inputs = {f"text {number}": path for number, path in enumerate(command.text)}
    if command.data is not None:
        inputs["data"] = command.data
    for path in inputs.values():
        if not path.exists():
            raise InputError(f"cannot read {path}", got="no such file or folder")
    return inputs


def _demonstrate(command: Demo, opened: storage.Run) -> None:
    start = time.monotonic()
    out, asked = command.out, command.settings
    corpus, tokens = out / "corpus", out / "tokens"
    _make_corpus(command, corpus)
    stages.run_verb(
        [
            "tokenizer",
            "learn",
            str(corpus),
            "--vocabulary-size",
            str(asked.vocabulary_size),
            "--out",
            str(out / "tokenizer"),
        ]
    )
    stages.run_verb(["pack", str(corpus), "--tokenizer", str(out / "tokenizer"), "--out", str(tokens)])
    ladder = _ladder(command, opened, tokens, elapsed=time.monotonic() - start)
    for name, plan in ladder.items():
        flags = settings.as_flags(plan, RECIPES[RECIPE])
        stages.run_verb(["train", RECIPE, "--tokens", str(tokens), "--out", str(out / "models" / name), *flags])
    for name in ladder:
        _draw(command, name)
    data = ["--data", str(command.data)] if command.data else []
    samples = [str(out / "samples" / name) for name in ladder]
    stages.run_verb(["overlap", str(corpus), *samples, *data, "--out", str(out / "overlap")])
    for name in ladder:
        _evaluate(command, name)
    for name in dict.fromkeys((next(iter(ladder)), next(reversed(ladder)))):
        _memorize(command, name)
    # The page may be written again, with more on it, so that it is none of the files that must stay what they are.
    opened.declare(LADDER_FILE)
    _write_page(command)


def _write_page(command: Demo) -> None:
    stages.run_verb(["report", str(command.out)])
    console.line(f"Done: open {command.out / PAGE_FILE}")


def _make_corpus(command: Demo, corpus: Path) -> None:
    share = ["--heldout", str(command.settings.heldout), "--out", str(corpus)]
    if command.text:
        stages.run_verb(["corpus", "local", *map(str, command.text), *share])
    else:
        stages.run_verb(["corpus", "build", "--standard-library", *share])


def _ladder(command: Demo, opened: storage.Run, tokens: Path, *, elapsed: float) -> dict[str, TrainingPlan]:
    """The four sizes, planned once from a measurement of this machine and kept, so that a second start trains the same."""
    path = opened.path(LADDER_FILE)
    if not path.exists():
        from selftaught.training import ladder

        minutes = command.settings.minutes
        kept = EVALUATION_SHARE + (DATA_SHARE if command.data else 0.0)
        training = max(minutes * (1 - kept) - elapsed / 60, minutes * SMALLEST_TRAINING_SHARE)
        storage.write_json(path, ladder.plan_for(minutes=training, tokens=tokens, seed=command.settings.seed))
    return storage.read_json(path, dict[str, TrainingPlan])


def _draw(command: Demo, name: str) -> None:
    """Draw samples from one model."""
    out, asked = command.out, command.settings
    stages.run_verb(
        [
            *("generate", "--model", str(out / "models" / name), "--corpus", str(out / "corpus")),
            *("--contexts", str(asked.samples), "--seed", str(asked.seed), "--out", str(out / "samples" / name)),
        ]
    )


def _evaluate(command: Demo, name: str) -> None:
    """Evaluate one model, on questions that overlap with the training text and on the others."""
    out = command.out
    # Windows that do not overlap: the paper's stride of 32 costs eight times as much.
    data = ["--data", str(command.data), "--stride", "0"] if command.data else []
    stages.run_verb(
        [
            *("evaluate", str(out / "models" / name), "--corpus", str(out / "corpus"), *data),
            *("--overlap", str(out / "overlap"), "--out", str(out / "evaluation" / name)),
        ]
    )


def _memorize(command: Demo, name: str) -> None:
    """Measure what one model knows by heart, where the held-out documents are long enough for it."""
    out, asked = command.out, command.settings
    try:
        stages.run_verb(
            [
                *("memorize", str(out / "models" / name), str(out / "corpus"), "--index", str(out / "overlap")),
                *("--contexts", str(CONTINUED_DOCUMENTS * asked.samples), "--seed", str(asked.seed)),
                *("--out", str(out / "memorize" / name)),
            ]
        )
    except stages.StageError as problem:
        if problem.exit_code != InputError.exit_code:
            raise
        console.line("the demo goes on without it")
