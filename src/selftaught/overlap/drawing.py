"""What was asked of a model so far: kept on disk answer by answer, so that a killed run goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from selftaught import compute, storage
from selftaught.errors import DamagedFileError, MismatchError
from selftaught.inference.joining import LogProb
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.rules import SamplingSettings
from selftaught.report.records import Sample

ANSWERS_FILE = "answers.jsonl"
PROBE = "The same weights read this sentence the same way every time."
"""Its loss tells whether the answers on disk are of the same model."""
PROBE_TOLERANCE_NATS = 0.01


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One continuation, or the loss on one text."""

    key: str
    sample: Sample | None = None
    nats: float = 0.0
    tokens: int = 0


class Answers:
    """A model's answers by what was asked; those that are on disk already are not asked for again."""

    def __init__(self, model: LanguageModel, folder: Path, *, seed: int) -> None:
        """Raises MismatchError if the folder holds answers of another model."""
        self._model, self._path, self._seed = model, folder / ANSWERS_FILE, seed
        rows = storage.read_lines(self._path, Answer) if self._path.is_file() else []
        # What a kill cut short goes, so that the next row begins on a line of its own.
        storage.write_jsonl(self._path, rows)
        self._known = {row.key: row for row in rows}
        nats = -model.log_prob("", PROBE).total
        if abs(self._loss("probe", lambda: model.log_prob("", PROBE)).nats - nats) > PROBE_TOLERANCE_NATS:
            raise MismatchError(f"{self._path} has answers of another model", hint="Choose another --out.")

    def continuation(self, name: str, prompt: str, tokens: int, rules: SamplingSettings) -> Sample:
        """A continuation of a prompt; equal names, prompts and seeds draw the same."""
        key = f"{name}: {rules.words()}, {tokens} tokens, {compute.seed_of(prompt)}"
        if key not in self._known:
            seed = compute.seed_of("memorize", self._seed, key) % (1 << 31)
            sample = self._model.sample(prompt, max_new_tokens=tokens, sampling=rules, seed=seed)
            self._kept(Answer(key=key, sample=sample))
            return sample
        found = self._known[key].sample
        if found is None:
            raise DamagedFileError(f"{self._path} is damaged", expected=f"a sample for {key}")
        return found

    def document_loss(self, text: str) -> Answer:
        """The loss on a whole text."""
        return self._loss(f"text {compute.seed_of(text)}", lambda: self._model.document_log_probs([text])[0])

    def loss_after(self, context: str, text: str) -> Answer:
        """The loss on a text that follows a context."""
        return self._loss(f"text {compute.seed_of(context, text)}", lambda: self._model.log_prob(context, text))

    def _loss(self, key: str, score: Callable[[], LogProb]) -> Answer:
        if key not in self._known:
            scored = score()
            return self._kept(Answer(key=key, nats=-scored.total, tokens=len(scored.by_token)))
        return self._known[key]

    def _kept(self, answer: Answer) -> Answer:
        storage.append_line(self._path, msgspec.json.encode(answer))
        self._known[answer.key] = answer
        return answer
