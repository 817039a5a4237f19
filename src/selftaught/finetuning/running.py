"""`finetune`: tasks, plans and seeds, one after another, each kept when it is done."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from selftaught import compute, console, storage
from selftaught.checkpoint import loading
from selftaught.checkpoint.loading import Loaded
from selftaught.errors import UsageError
from selftaught.finetuning.fitting import Fitting
from selftaught.finetuning.lstm import Lstm
from selftaught.finetuning.lstm_pretraining import pretrain_lstm
from selftaught.finetuning.plan import FinetuningPlan, ablations, layer_curve
from selftaught.finetuning.preparing import prepare, source
from selftaught.finetuning.progress import RESULT_FILE, Result, require_same
from selftaught.report.records import FINETUNED_FILE, FineTuned
from selftaught.tasks import glue
from selftaught.tasks.labelled import Task
from selftaught.tasks.own import OWN, OwnData, read_own
from selftaught.training.progress import Stop

LSTM_FOLDER = "lstm-pretrained"


def finetune(
    model: str | Path,
    tasks: Sequence[str] | str,
    *,
    out: str | Path,
    data: str | Path | None = None,
    own: OwnData | None = None,
    plan: FinetuningPlan | None = None,
    plans: Sequence[FinetuningPlan] | None = None,
    lstm_tokens: str | Path | None = None,
) -> list[FineTuned]:
    """Fine-tune a pre-trained model on labelled tasks, each alone; return what was measured, medians over seeds.

    Tasks are GPT-1's twelve, found below `data`, or `own` for files of the user's (see `OwnData`). `plans` run beside each other,
    as for the paper's ablations (`plan.ablations`); else `plan` alone. An LSTM is first pre-trained on the token shards in
    `lstm_tokens`, if they are given. Each run lies in OUT/TASK/VARIANT/seed-N, is resumed where it was interrupted and not
    repeated when done; finetuned.json holds all results. Raises UsageError for an unknown task, InputError for data that cannot
    be used, MismatchError where OUT holds runs of another plan, model or data, SelftaughtError if a loss is not a number any
    more.
    """
    if compute.world_size() > 1:
        raise UsageError("fine-tuning runs in one process", got=f"{compute.world_size()} processes")
    wanted = list(plans or [plan or FinetuningPlan()])
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    read = {name: read_examples(name, Path(data) if data else None, own, wanted[0]) for name in names}
    loaded = loading.load(model)
    for task in read.values():
        _run_task(task, loaded, wanted, Path(out), Path(lstm_tokens) if lstm_tokens else None)
        storage.write_json(Path(out) / FINETUNED_FILE, collect(Path(out), loaded.name))
    rows = collect(Path(out), loaded.name)
    return [row for row in rows if row.task in names and row.variant in {one.variant for one in wanted}]


def require_known(name: str, data: Path | None, own: OwnData | None) -> None:
    """Raise UsageError for a task that is not known or whose files are not named."""
    if name == OWN and (own is None or own.train is None):
        raise UsageError(f"the task `{OWN}` needs its files", hint="Add --train FILE --text COLUMN --label COLUMN")
    if name != OWN:
        glue.task(name)
        if data is None:
            raise UsageError(f"{name} needs its files", hint="Add --data DIR")


def read_examples(name: str, data: Path | None, own: OwnData | None, plan: FinetuningPlan) -> Task:
    """The examples of a task by its name. Raises what `require_known` does, InputError for files that cannot be used."""
    require_known(name, data, own)
    if name == OWN and own is not None:
        return read_own(own, skip_unusable=plan.skip_unusable)
    return glue.read_task(name, data or Path(), skip_unusable=plan.skip_unusable)


def chosen_plans(plan: FinetuningPlan, model: str | Path, *, table: bool, curve: bool) -> list[FinetuningPlan]:
    """The plans of the ablation table, of the curve of layers transferred, of both, or the plan alone."""
    plans = ablations(plan) if table else []
    if curve:
        plans += layer_curve(plan, loading.load(model).model.shape.layers)
    return plans or [plan]


def unfinished(tasks: Iterable[str], plans: Sequence[FinetuningPlan], out: Path) -> bool:
    """Whether `finetune` has anything left to do in `out`."""
    return any(
        not _result_file(out, task, plan, seed).is_file() for task in tasks for plan in plans for seed in _seeds(plan)
    )


def _seeds(plan: FinetuningPlan) -> range:
    return range(plan.seed, plan.seed + plan.seeds)


def _folder(out: Path, task: str, plan: FinetuningPlan, seed: int) -> Path:
    return out / task / plan.variant / f"seed-{seed}"


def _result_file(out: Path, task: str, plan: FinetuningPlan, seed: int) -> Path:
    return _folder(out, task, plan, seed) / RESULT_FILE


def _run_task(task: Task, loaded: Loaded, plans: Sequence[FinetuningPlan], out: Path, lstm_tokens: Path | None) -> None:
    given = source(task, loaded)
    left = [(plan, seed) for plan in plans for seed in _seeds(plan) if not _is_done(out, task.name, plan, seed, given)]
    if not left:
        return
    prepared = prepare(task, loaded, plans[0])
    lstm = _pretrained_lstm([plan for plan, _ in left], loaded, lstm_tokens, out)
    with Stop() as stop:
        for plan, seed in left:
            folder = _folder(out, task.name, plan, seed)
            fitting = Fitting(plan, prepared, loaded.model, out=folder, seed=seed, stop=stop, lstm=lstm, source=given)
            words = f"{task.name} {plan.variant} seed {seed}"
            with console.progress(words, fitting.steps, unit="steps", done=fitting.progress.step) as bar:
                result = fitting.run(bar)
            first = result.marks[0]
            console.line(
                f"{words}: {first.metric} {first.value:.4f} on dev, epoch {result.best_epoch}, {result.seconds:.0f} s"
            )


def _is_done(out: Path, task: str, plan: FinetuningPlan, seed: int, given: str) -> bool:
    """Whether a result is there. Raises MismatchError for one of another plan, model or examples."""
    path = _result_file(out, task, plan, seed)
    if not path.is_file():
        return False
    require_same(storage.read_json(path, Result), plan, given, path.parent)
    return True


def _pretrained_lstm(plans: Sequence[FinetuningPlan], loaded: Loaded, tokens: Path | None, out: Path) -> Lstm | None:
    plan = next((plan for plan in plans if plan.network == "lstm" and not plan.from_scratch), None)
    if plan is None or tokens is None:
        return None
    return pretrain_lstm(plan, loaded, tokens=tokens, out=out / LSTM_FOLDER)


def collect(out: Path, model: str) -> list[FineTuned]:
    """Everything that was measured below a folder, medians over seeds."""
    found: dict[tuple[str, str], list[Result]] = {}
    for path in sorted(out.glob(f"*/*/seed-*/{RESULT_FILE}")):
        found.setdefault((path.parts[-4], path.parts[-3]), []).append(storage.read_json(path, Result))
    return [row for (task, variant), results in found.items() for row in _rows(task, variant, results, model)]


def _rows(task: str, variant: str, results: Sequence[Result], model: str) -> list[FineTuned]:
    values: dict[tuple[str, str], list[float]] = {}
    for result in results:
        for mark in result.marks:
            values.setdefault((mark.split, mark.metric), []).append(mark.value)
    first = {(mark.split, mark.metric): mark for mark in results[0].marks}
    return [
        FineTuned(
            model=model,
            parameters=results[0].parameters,
            task=task,
            variant=variant,
            split=split,
            metric=metric,
            median=statistics.median(by_seed),
            lowest=min(by_seed),
            highest=max(by_seed),
            by_seed=tuple(by_seed),
            error=first[split, metric].error,
            n=first[split, metric].n,
            seconds=sum(result.seconds for result in results),
            protocol="; ".join((f"best of {len(results[0].dev_by_epoch)} epochs by dev", *results[0].notes)),
        )
        for (split, metric), by_seed in values.items()
    ]


def average(rows: Sequence[FineTuned]) -> Mapping[str, tuple[float, int]]:
    """For each variant the unweighted mean over GLUE's tasks of their first measure on dev, and of how many (table 5: 8)."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        known = glue.TASKS.get(row.task)
        if known is not None and known.glue and row.split == "dev" and row.metric == known.measures[0]:
            found.setdefault(row.variant, {})[row.task] = row.median
    return {variant: (statistics.mean(values.values()), len(values)) for variant, values in found.items()}
