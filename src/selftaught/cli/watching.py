"""What `selftaught train` shows of a network while it learns: continuations of a prompt, and scores of zero-shot tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selftaught import compute, console, storage
from selftaught.errors import UsageError

if TYPE_CHECKING:
    from selftaught.inference.language_model import LanguageModel
    from selftaught.model.transformer import Transformer
    from selftaught.tokenizer.tokenizer import Tokenizer

SAMPLES_FOLDER, SCORES_FOLDER = "samples", "evaluation"


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What to look at, and when."""

    every: int
    """Steps between looks."""
    out: Path
    """The run's folder: texts go to samples/step-NNNNNN.jsonl, scores to evaluation/step-NNNNNN/."""
    prompts: tuple[str, ...] = ()
    tokens: int = 64
    tasks: tuple[str, ...] = ()
    corpus: Path | None = None
    data: Path | None = None

    def require_text(self) -> None:
        """Raise what `evaluate` would, before any training, where a task is unknown or its text is not given."""
        if self.every < 1:
            raise UsageError("--watch-every is out of range", expected="at least 1", got=str(self.every))
        if self.tasks:
            from selftaught.evaluation import running

            running.unfinished(self.tasks, out=self.out, corpus=self.corpus, data=self.data)

    def __call__(self, model: Transformer, tokenizer: Tokenizer, step: int) -> None:
        """Look at the network after a step."""
        from selftaught.inference.language_model import LanguageModel

        lm = LanguageModel(model, tokenizer, name=f"{self.out.resolve().name} step {step}")
        if self.prompts:
            self._sample(lm, step)
        if self.tasks:
            from selftaught.evaluation import running

            place = self.out / SCORES_FOLDER / f"step-{step:06}"
            scores = running.evaluate(lm, self.tasks, out=place, corpus=self.corpus, data=self.data)
            console.line(f"step {step:,}: {', '.join(f'{one.task} {one.metric} {one.value:.4g}' for one in scores)}")

    def _sample(self, lm: LanguageModel, step: int) -> None:
        seed = compute.seed_of("watch", step)
        samples = [lm.sample(prompt, max_new_tokens=self.tokens, seed=seed) for prompt in self.prompts]
        storage.write_jsonl(self.out / SAMPLES_FOLDER / f"step-{step:06}.jsonl", samples)
        for sample in samples:
            console.line(f"step {step:,}: {sample.prompt!r} -> {sample.text!r}")
