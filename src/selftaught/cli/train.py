"""`selftaught train`: pre-train GPT-1 or GPT-2 of any size."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import compute, console, settings, storage
from selftaught.cli.watching import Watch
from selftaught.report.records import LearningPoint
from selftaught.training.plan import TrainingPlan
from selftaught.training.recipes import Style, recipes


@dataclass(frozen=True, kw_only=True)
class Train(settings.Verb):
    """Pre-train a network on token shards. Recipes: laptop, gpt1, gpt2-small, gpt2-medium, gpt2-large, gpt2-xl."""

    recipe: Positional[str] = "laptop"
    """Named plan whose values hold where no flag and no --plan says otherwise."""
    recipe_style: Style = "own"
    """paper: AdamW and a cosine, as the papers do; modern: Muon and a straight line to zero, which need fewer tokens for the
    same loss; own: laptop modern, the others as in the papers. Network, batches and length are the same in all."""
    verify: bool = False
    """First hash all token shards, to find damage that no length shows."""
    tune_rate: bool = False
    """First find the highest learning rate as the GPT-2 paper does: short runs over a grid around --peak-rate, the best by
    perplexity on 5 % of the training text; the table is kept as rates.json."""
    tune_steps: int = 0
    """Steps of each short run; 0: a twentieth of --steps, at least 50."""
    prompts: tuple[str, ...] = ()
    """Texts to continue while training, to see what has been learned; kept in samples/."""
    tasks: tuple[str, ...] = ()
    """Zero-shot tasks to run while training (`selftaught evaluate list`), with --corpus or --data; kept in evaluation/."""
    corpus: Path | None = None
    """Corpus for tasks made from held-out text."""
    data: Path | None = None
    """Folder of data sets for the other tasks."""
    watch_every: int = 0
    """Steps between looks at prompts and tasks; 0: as often as held-out text is measured."""
    tokens: Path
    """Folder of token shards (selftaught pack)."""
    out: Path
    """Folder for checkpoints and log; the same command continues there."""
    settings: TrainingPlan = field(default_factory=TrainingPlan)


def run(argv: Sequence[str]) -> None:
    """Train, or continue, as `argv` says; under torchrun together with the processes beside this one."""
    with compute.joined():
        resolved = compute.from_first(lambda: _resolved(argv))  # what is wrong is said once
        _train(resolved)
        if compute.rank() == 0:
            _report(resolved.command)


def _resolved(argv: Sequence[str]) -> settings.Resolved[Train]:
    first = settings.resolve(Train, argv, prog="selftaught train", recipes=recipes())
    style = first.command.recipe_style
    return settings.resolve(Train, argv, prog="selftaught train", recipes=recipes(style)) if style != "own" else first


def _train(resolved: settings.Resolved[Train]) -> None:
    command, opened = resolved.command, list[storage.Run]()
    with ExitStack() as folder:

        def is_finished() -> bool:
            from selftaught.tokens.shards import open_shards, read_index

            if watch := _watch(command):
                watch.require_text()
            # What cannot be trained is refused before a folder is made for it.
            command.settings.shape(read_index(command.tokens).vocabulary_size)
            mixed = {f"mix {number}": Path(folder) for number, folder in enumerate(command.settings.shares(), start=1)}
            inputs = {"tokens": command.tokens, **mixed}
            for tokens in inputs.values() if command.verify else ():
                for split in read_index(tokens).splits:
                    console.line(f"hashing {tokens}, {split}")
                    open_shards(tokens, "train" if split == "train" else "heldout").verify()
            run = storage.run(command.out, verb="train", plan=command.settings, sources=resolved.sources, inputs=inputs)
            opened.append(folder.enter_context(run))
            return opened[0].finished

        if compute.from_first(is_finished):
            console.line(f"{command.out} is finished")
            return
        from selftaught.training.pretraining import pretrain

        plan = command.settings
        if command.tune_rate:
            from selftaught.training.tuning import tuned

            plan = tuned(plan, tokens=command.tokens, out=command.out, steps=command.tune_steps)
        watch = _watch(command)
        every = watch.every if watch else 1
        last = pretrain(plan, tokens=command.tokens, out=command.out, watch=watch, watch_every=every)
        for first in opened:
            first.declare(last.name)


def _watch(command: Train) -> Watch | None:
    if not command.prompts and not command.tasks:
        return None
    return Watch(
        every=command.watch_every or command.settings.evaluate_every,
        out=command.out,
        prompts=command.prompts,
        tasks=command.tasks,
        corpus=command.corpus,
        data=command.data,
    )


def _report(command: Train) -> None:
    last = storage.read_lines(command.out / storage.LOG_FILE, LearningPoint)[-1]
    if command.json:
        console.result(settings.as_document(last))
    console.line(
        f"step {last.step:,}: loss {last.loss:.3f}, held-out {last.heldout_bits_per_byte or 0:.3f} bits per byte, "
        f"{last.tokens_per_second:,.0f} tokens/s, {last.seconds:.0f} s"
    )
