"""`selftaught generate`: continue prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional, UseAppendAction

from selftaught import console, settings, storage
from selftaught.cli.making import make
from selftaught.errors import INTERRUPTED, InputError, UsageError
from selftaught.inference.rules import SamplingSettings
from selftaught.report.records import SAMPLES_FILE, Sample
from selftaught.tasks import rows

if TYPE_CHECKING:
    from selftaught.inference.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class GenerateSettings(SamplingSettings):
    """How text is drawn."""

    tokens: int = 200
    """Most tokens to draw."""
    logit_bias: UseAppendAction[tuple[tuple[int, float], ...]] = ()
    """An id and what is added to its logit before all else: -100 bars the token, 100 forces it; may be given several times."""
    stop: UseAppendAction[tuple[str, ...]] = ()
    """Text before which a continuation ends; may be given several times."""
    suffix: str = ""
    """Put after each prompt (GPT-2 paper, section 3.6: TL;DR:)."""
    beams: int = 0
    """Take the best of a search with so many beams instead of drawing; 0 draws."""
    samples: int = 1
    """Continuations of each prompt."""
    alternatives: int = 0
    """With --out or --json: most probable tokens to note beside each one, with their log-probabilities."""
    contexts: int = 4
    """With --corpus: how many held-out documents to continue."""
    context_characters: int = 300
    """With --corpus: how much of a document is the prompt."""
    seed: int = 1
    """Equal seeds give equal texts."""
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """Format in which the weights are read: with half or a quarter of the bytes, two to four times as fast on a processor."""
    together: int = 8
    """Texts that are drawn side by side."""


PRESETS = {
    "paper-samples": GenerateSettings(tokens=256, top_k=40),
    "paper-summaries": GenerateSettings(tokens=100, top_k=2, suffix="\nTL;DR:"),
}
"""GPT-2 paper, section 8.3 (samples: k = 40) and section 3.6 (summaries: TL;DR:, 100 tokens, k = 2)."""


@dataclass(frozen=True, kw_only=True)
class Generate(settings.Verb):
    """Continue a prompt on the screen, or many into a folder."""

    prompt: Positional[tuple[str, ...]] = ()
    """The prompt; without one, the beginning of a document."""
    model: Path
    """A model folder, a training run or a Hugging Face folder."""
    preset: Literal["paper-samples", "paper-summaries"] | None = None
    """The papers' settings: samples are drawn with k = 40; summaries after TL;DR: with k = 2, 100 tokens."""
    prompts: Path | None = None
    """File of prompts instead: one a line, or in a .jsonl file one object a line with a `prompt`."""
    corpus: Path | None = None
    """Corpus whose held-out documents to continue instead."""
    draft: Path | None = None
    """A smaller model with the same tokenizer that proposes tokens: faster where it guesses well, the same distribution."""
    out: Path | None = None
    """Folder for the samples; without it they are printed."""
    settings: GenerateSettings = field(default_factory=GenerateSettings)

    @property
    def recipe(self) -> str | None:
        """Under the name by which settings know named values."""
        return self.preset


def run(argv: Sequence[str]) -> None:
    """Draw what `argv` asks for."""
    resolved = settings.resolve(Generate, argv, prog="selftaught generate", recipes=PRESETS)
    command = resolved.command
    _check(command)
    _refuse_idle(command, [name for name, source in resolved.sources.items() if source == "flag"])
    if command.out is None:
        try:
            _print(command)
        except KeyboardInterrupt as stopped:  # nothing is kept that the same command could continue
            console.write("" if command.json else "\n")
            raise SystemExit(INTERRUPTED) from stopped
        return
    inputs = {"model": command.model, "draft": command.draft, "prompts": command.prompts, "corpus": command.corpus}

    def work(opened: storage.Run) -> Sequence[str]:
        storage.write_jsonl(opened.path(SAMPLES_FILE), _samples(command, _model(command)))
        console.line(f"samples are in {command.out}")
        return (SAMPLES_FILE,)

    make(resolved, "generate", inputs, work)
    if command.json:
        console.result(storage.read_lines(command.out / SAMPLES_FILE, dict))


def _check(command: Generate) -> None:
    if sum(map(bool, (command.prompt, command.prompts, command.corpus))) > 1:
        raise UsageError("too many prompts", expected="one of PROMPT, --prompts and --corpus")
    if command.prompt and command.out is not None:
        raise UsageError("a prompt for the screen cannot be kept", hint="Write it to a file: --prompts FILE --out DIR")
    asked = command.settings
    least_of = {"alternatives": 0, "beams": 0}
    ones = ("tokens", "samples", "contexts", "context_characters", "together")
    for name, least in (least_of | dict.fromkeys(ones, 1)).items():
        if getattr(asked, name) < least:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is too small", expected=f"{least} or more", got=str(getattr(asked, name)))
    if "" in asked.stop:
        raise UsageError("--stop is empty", expected="a text before which a continuation ends")
    if asked.beams and (command.draft or asked.alternatives):
        raise UsageError("a search with beams takes neither a draft model nor alternatives")
    if asked.samples > asked.beams > 0:
        raise UsageError("more samples than beams", expected=f"--samples {asked.beams} or fewer")


def _refuse_idle(command: Generate, given: Sequence[str]) -> None:
    """Raise UsageError for a flag that would change nothing, since whoever gives it expects that it does."""
    asked, usual = command.settings, SamplingSettings()
    for name in given:
        flag, hint = f"--{name.replace('_', '-')}", ""
        if asked.beams and hasattr(usual, name) and getattr(asked, name) not in {getattr(usual, name), 0}:
            hint = "A search with beams draws nothing: leave it out."
        elif name in {"contexts", "context_characters"} and not command.corpus:
            hint = "It says what is taken of a --corpus: give one, or leave it out."
        elif name == "alternatives" and asked.alternatives and not (command.json or command.out):
            hint = "The screen has no place for them: give --json, or --prompts FILE --out DIR."
        if hint:
            raise UsageError(f"{flag} would change nothing here", hint=hint)


def _print(command: Generate) -> None:
    asked, model = command.settings, _model(command)
    if command.json:
        console.result([settings.as_document(sample) for sample in _samples(command, model)])
        return
    if asked.beams or asked.samples > 1 or command.prompts or command.corpus:
        console.configure(json=True)  # progress is no part of the texts
        found = _samples(command, model)
        for number, sample in enumerate(found, start=1):
            heading = f"== {number} of {len(found)}: {sample.settings}\n" if len(found) > 1 else ""
            console.write(f"{heading}{_begun(model, sample.prompt)}{sample.text}\n")
        return
    rules = _rules(asked)
    for prompt in _prompts(command):
        console.write(_begun(model, prompt))
        for piece in model.stream(
            prompt, max_new_tokens=asked.tokens, sampling=rules, seed=asked.seed, stop=asked.stop
        ):
            console.write(piece)
        console.write("\n")


def _begun(model: LanguageModel, prompt: str) -> str:
    """A prompt as text that is gone on with: for GPT-1's tokenizer, whose words end with a blank, the last one too."""
    ends = model.tokenizer.vocabulary.kind == "gpt1" and prompt and not prompt[-1].isspace()
    return f"{prompt} " if ends else prompt


def _model(command: Generate) -> LanguageModel:
    from selftaught.inference.language_model import LanguageModel

    weights = command.settings.weights
    model = LanguageModel.load(command.model, weights=weights, only_generates=True)
    if command.draft is not None:
        model.draft_with(LanguageModel.load(command.draft, weights=weights, only_generates=True))
    return model


def _rules(asked: GenerateSettings) -> SamplingSettings:
    return SamplingSettings(**{field.name: getattr(asked, field.name) for field in fields(SamplingSettings)})


def _samples(command: Generate, model: LanguageModel) -> list[Sample]:
    from selftaught.inference import samples

    asked, rules, prompts = command.settings, _rules(command.settings), _prompts(command)
    with console.progress("sampling", len(prompts) * asked.samples, unit="samples") as bar:
        if asked.beams:
            return samples.searched(
                model,
                prompts,
                beams=asked.beams,
                count=asked.samples,
                max_new_tokens=asked.tokens,
                stop=asked.stop,
                advance=bar.advance,
            )
        return samples.samples(
            model,
            prompts,
            count=asked.samples,
            max_new_tokens=asked.tokens,
            sampling=rules,
            seed=asked.seed,
            stop=asked.stop,
            top=asked.alternatives,
            together=asked.together,
            advance=bar.advance,
        )


def _prompts(command: Generate) -> list[str]:
    return [prompt + command.settings.suffix for prompt in _given_prompts(command)]


def _given_prompts(command: Generate) -> list[str]:
    if command.prompts is not None:
        read = _rows if ".jsonl" in command.prompts.suffixes[-2:] else _lines
        return read(command.prompts)
    if command.corpus is not None:
        return _beginnings(command.corpus, command.settings)
    return [" ".join(command.prompt)]


def _lines(path: Path) -> list[str]:
    return [line for line in rows.read_lines(path) if line.strip()]


@dataclass(frozen=True)
class _Row:
    prompt: str
    """An empty one is the beginning of a document."""


def _rows(path: Path) -> list[str]:
    return [row.prompt for _, row in rows.read_rows(path, _Row)]


def _beginnings(corpus: Path, asked: GenerateSettings) -> list[str]:
    """The beginnings of held-out documents, drawn by seed, each cut after a word.

    Documents that go on for as long again come first; where there are too few, shorter ones follow.
    """
    import random

    from selftaught.corpus import documents

    texts = [row.text for row in documents.read(corpus, "heldout") if row.text.strip()]
    if not texts:
        raise InputError(
            f"no held-out documents in {corpus}", hint="Give the corpus more text, or generate from --prompts."
        )
    random.Random(asked.seed).shuffle(texts)
    texts.sort(key=lambda text: len(text) <= 2 * asked.context_characters)
    return [text.lstrip()[: asked.context_characters].rsplit(maxsplit=1)[0] for text in texts[: asked.contexts]]
