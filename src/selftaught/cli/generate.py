"""`selftaught generate`: continue prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.errors import InputError, UsageError
from selftaught.report.records import SAMPLES_FILE, Sample


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """How text is drawn."""

    tokens: int = 200
    """Most tokens to draw."""
    temperature: float = 1.0
    """Divides the logits; 0 takes the most probable token always."""
    top_k: int = 40
    """Draw among the k most probable tokens (GPT-2 paper, section 8.3: 40); 0 among all."""
    top_p: float = 1.0
    """Draw among the fewest tokens whose probabilities sum to at least p."""
    samples: int = 1
    """Continuations of each prompt."""
    contexts: int = 4
    """With --corpus: how many held-out documents to continue."""
    context_characters: int = 300
    """With --corpus: how much of a document is the prompt."""
    seed: int = 1
    """Equal seeds give equal texts."""


@dataclass(frozen=True, kw_only=True)
class Generate(settings.Verb):
    """Continue a prompt on the screen, or many into a folder."""

    prompt: Positional[tuple[str, ...]] = ()
    """The prompt; without one, the beginning of a document."""
    model: Path
    """A model folder, a training run or a Hugging Face folder."""
    prompts: Path | None = None
    """File of prompts, one a line, instead."""
    corpus: Path | None = None
    """Corpus whose held-out documents to continue instead."""
    out: Path | None = None
    """Folder for the samples; without it they are printed."""
    settings: GenerateSettings = field(default_factory=GenerateSettings)


def run(argv: Sequence[str]) -> None:
    """Draw what `argv` asks for."""
    resolved = settings.resolve(Generate, argv, prog="selftaught generate")
    command = resolved.command
    _check(command)
    if command.out is None:
        _print(command)
        return
    inputs = {"model": command.model, "prompts": command.prompts, "corpus": command.corpus}
    given = {name: path for name, path in inputs.items() if path is not None}
    with storage.run(
        command.out, verb="generate", plan=command.settings, sources=resolved.sources, inputs=given
    ) as opened:
        if opened.finished:
            console.line(f"{command.out} is finished")
        else:
            storage.write_jsonl(opened.path(SAMPLES_FILE), _samples(command))
            opened.declare(SAMPLES_FILE)
            console.line(f"samples are in {command.out}")
    if command.json:
        console.result(storage.read_lines(command.out / SAMPLES_FILE, dict))


def _check(command: Generate) -> None:
    if sum(map(bool, (command.prompt, command.prompts, command.corpus))) > 1:
        raise UsageError("too many prompts", expected="one of PROMPT, --prompts and --corpus")
    if command.prompt and command.out is not None:
        raise UsageError("a prompt for the screen cannot be kept", hint="Write it to a file: --prompts FILE --out DIR")
    asked = command.settings
    for name, least in (("tokens", 1), ("samples", 1), ("contexts", 1), ("context_characters", 1)):
        if getattr(asked, name) < least:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is too small", expected=f"{least} or more", got=str(getattr(asked, name)))


def _print(command: Generate) -> None:
    if command.json:
        console.result([settings.as_document(sample) for sample in _samples(command)])
        return
    from selftaught.inference.language_model import LanguageModel
    from selftaught.inference.sampling import SamplingSettings

    asked = command.settings
    rules = SamplingSettings(temperature=asked.temperature, top_k=asked.top_k, top_p=asked.top_p)
    model = LanguageModel.load(command.model)
    for prompt in _prompts(command):
        for number in range(asked.samples):
            console.write(prompt)
            for piece in model.stream(prompt, max_new_tokens=asked.tokens, sampling=rules, seed=asked.seed + number):
                console.write(piece)
            console.write("\n")


def _samples(command: Generate) -> list[Sample]:
    from selftaught.inference.language_model import LanguageModel
    from selftaught.inference.sampling import SamplingSettings

    asked = command.settings
    rules = SamplingSettings(temperature=asked.temperature, top_k=asked.top_k, top_p=asked.top_p)
    prompts = _prompts(command)
    model = LanguageModel.load(command.model)
    with console.progress("sampling", len(prompts) * asked.samples, unit="samples") as bar:
        samples = []
        for prompt in prompts:
            for number in range(asked.samples):
                samples.append(
                    model.sample(prompt, max_new_tokens=asked.tokens, sampling=rules, seed=asked.seed + number)
                )
                bar.advance()
    return samples


def _prompts(command: Generate) -> list[str]:
    if command.prompts is not None:
        text = storage.read_bytes(command.prompts).decode("utf-8", "replace")
        prompts = [line for line in text.split("\n") if line.strip()]
        if not prompts:
            raise InputError(f"no prompts in {command.prompts}", expected="one a line")
        return prompts
    if command.corpus is not None:
        return _beginnings(command.corpus, command.settings)
    return [" ".join(command.prompt)]


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
