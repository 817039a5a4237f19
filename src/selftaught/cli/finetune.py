"""`selftaught finetune`: GPT-1's transfer to labelled tasks, and its ablations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.cli.making import make
from selftaught.errors import UsageError
from selftaught.finetuning.plan import FinetuningPlan
from selftaught.report.records import FINETUNED_FILE, FineTuned
from selftaught.tasks.own import OWN, OwnData


@dataclass(frozen=True, kw_only=True)
class Finetune(settings.Verb):
    """Fine-tune a model on tasks: mnli, snli, qnli, rte, scitail, sst2, cola, mrpc, qqp, stsb, race, storycloze, own."""

    model: Positional[Path]
    """A model folder, a training run or a Hugging Face GPT-2 folder."""
    tasks: Positional[tuple[str, ...]]
    """Names of tasks; `own` for files with named columns."""
    out: Path
    """Folder for models, results and logs; the same command continues there."""
    data: Path | None = None
    """Folder of data sets: SST-2/, MRPC/, RTE/... (docs/finetune.md)."""
    own: OwnData = field(default_factory=OwnData)
    """The task `own`."""
    lstm_tokens: Path | None = None
    """Token shards (selftaught pack) of the same tokenizer, to pre-train the LSTM on; else it begins with random weights."""
    ablations: bool = False
    """Also without the auxiliary loss, without pre-training, and with an LSTM (GPT-1 paper, table 5)."""
    layers_curve: bool = False
    """With 0, 1, ... all layers transferred (GPT-1 paper, figure 2)."""
    settings: FinetuningPlan = field(default_factory=FinetuningPlan)


def run(argv: Sequence[str]) -> None:
    """Fine-tune as `argv` says."""
    resolved = settings.resolve(Finetune, argv, prog="selftaught finetune")
    command = resolved.command
    if not command.tasks:
        raise UsageError("no task is named", hint="Type: selftaught finetune MODEL sst2 --data DATA --out DIR")
    from selftaught.finetuning import running

    plans = running.chosen_plans(command.settings, command.model, table=command.ablations, curve=command.layers_curve)
    own = command.own if OWN in command.tasks else None
    for name in command.tasks:  # what cannot be read is refused before a folder is made for it
        running.require_known(name, command.data, own)
    inputs = {"model": command.model, "data": command.data, "lstm tokens": command.lstm_tokens}
    if own is not None:
        inputs |= {"train": own.train, "dev": own.dev, "test": own.test}

    def work(_: storage.Run) -> Sequence[str]:
        running.finetune(
            command.model,
            command.tasks,
            out=command.out,
            data=command.data,
            own=own,
            plans=plans,
            lstm_tokens=command.lstm_tokens,
        )
        return (FINETUNED_FILE,)

    make(resolved, "finetune", inputs, work, more=running.unfinished(command.tasks, plans, command.out))
    _show(storage.read_json(command.out / FINETUNED_FILE, list[FineTuned]), json=command.json)


def _show(rows: list[FineTuned], *, json: bool) -> None:
    if json:
        console.result([settings.as_document(row) for row in rows])
        return
    from selftaught.finetuning.running import average

    console.table(
        ["task", "variant", "set", "measure", "median", "seeds", "lowest", "highest", "n", "seconds"],
        [
            (
                *(row.task, row.variant, row.split, row.metric, f"{row.median:.4f}", len(row.by_seed)),
                *(f"{row.lowest:.4f}", f"{row.highest:.4f}", row.n, f"{row.seconds:.0f}"),
            )
            for row in rows
        ],
    )
    for variant, (value, count) in average(rows).items():
        if count > 1:
            console.line(f"{variant}: mean of {count} of GLUE's tasks on dev {value:.4f}")
