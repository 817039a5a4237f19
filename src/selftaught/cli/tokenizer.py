"""`selftaught tokenizer`: learn a byte-level BPE, encode, decode, look inside."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.cli import words
from selftaught.errors import InputError, UsageError
from selftaught.tokenizer.files import ENCODER_FILE, MERGES_FILE
from selftaught.tokenizer.tokenizer import Tokenizer

WORDS = {
    "learn": "corpus -> tokenizer",
    "encode": "text from the arguments, a file or standard input -> ids",
    "decode": "ids -> text",
    "show": "how the merges build a word",
}
_MEASURED_CHARACTERS = 2_000_000


@dataclass(frozen=True, kw_only=True)
class LearnSettings:
    """What is learned."""

    vocabulary_size: int = 4096
    """Ids of the tokenizer: 256 bytes, the merges, <|endoftext|>."""


@dataclass(frozen=True, kw_only=True)
class Learn(settings.Verb):
    """Learn a byte-level BPE from the training side of a corpus (GPT-2 paper, section 2.2)."""

    corpus: Positional[Path]
    """A corpus folder, or one .jsonl file of documents."""
    out: Path
    """Folder of the tokenizer: encoder.json and vocab.bpe."""
    settings: LearnSettings = field(default_factory=LearnSettings)


@dataclass(frozen=True, kw_only=True)
class Encode(settings.Verb):
    """Print the ids of a text."""

    tokenizer: Path
    """Folder with encoder.json and vocab.bpe (or vocab.json and merges.txt)."""
    text: Positional[tuple[str, ...]] = ()
    """The text; without it, standard input is read."""


@dataclass(frozen=True, kw_only=True)
class Decode(settings.Verb):
    """Print the text that ids stand for."""

    tokenizer: Path
    """Folder with encoder.json and vocab.bpe (or vocab.json and merges.txt)."""
    ids: Positional[tuple[int, ...]] = ()
    """The ids; without them, standard input is read."""


@dataclass(frozen=True, kw_only=True)
class Show(settings.Verb):
    """Show how the merges build each word of a text, step by step."""

    tokenizer: Path
    """Folder with encoder.json and vocab.bpe (or vocab.json and merges.txt)."""
    text: Positional[tuple[str, ...]]
    """The words."""


def run(argv: Sequence[str]) -> None:
    """Run one word of the verb."""
    word = words.choose("tokenizer", argv, WORDS)
    {"learn": _learn, "encode": _encode, "decode": _decode, "show": _show}[word](argv[1:])


def _learn(argv: Sequence[str]) -> None:
    from selftaught.corpus import documents
    from selftaught.tokenizer.learning import learn_tokenizer

    resolved = settings.resolve(Learn, argv, prog="selftaught tokenizer learn")
    command = resolved.command
    with storage.run(
        command.out,
        verb="tokenizer learn",
        plan=command.settings,
        sources=resolved.sources,
        inputs={"corpus": command.corpus},
    ) as opened:
        if opened.finished:
            console.line(f"{command.out} is finished")
            tokenizer = Tokenizer.load(command.out)
        else:
            texts = (row.text for row in documents.read(command.corpus))
            tokenizer = learn_tokenizer(texts, vocabulary_size=command.settings.vocabulary_size)
            tokenizer.save(command.out)
            opened.declare(ENCODER_FILE)
            opened.declare(MERGES_FILE)
    _report(tokenizer, command)


def _report(tokenizer: Tokenizer, command: Learn) -> None:
    from selftaught.corpus import documents

    rates = {split: _bytes_per_token(tokenizer, documents.read(command.corpus, split)) for split in documents.SPLITS}
    if command.json:
        console.result(
            {
                "vocabulary_size": tokenizer.vocabulary_size,
                "bytes_per_token": rates,
                "fingerprint": tokenizer.fingerprint,
            }
        )
    console.line(
        f"{tokenizer.vocabulary_size} ids, "
        + ", ".join(f"{rate:.2f} bytes per token ({name})" for name, rate in rates.items())
    )


def _bytes_per_token(tokenizer: Tokenizer, rows: Iterator[object]) -> float:
    """Measured on the first two million characters."""
    seen = tokens = size = 0
    for row in rows:
        text: str = row.text  # type: ignore[attr-defined]
        tokens += len(tokenizer.encode(text))
        size += len(text.encode("utf-8", "replace"))
        seen += len(text)
        if seen > _MEASURED_CHARACTERS:
            break
    return size / max(tokens, 1)


def _encode(argv: Sequence[str]) -> None:
    command = settings.resolve(Encode, argv, prog="selftaught tokenizer encode").command
    tokenizer = Tokenizer.load(command.tokenizer)
    ids = tokenizer.encode(" ".join(command.text) if command.text else _standard_input())
    if command.json:
        console.result(ids)
    else:
        console.line(" ".join(map(str, ids)))


def _decode(argv: Sequence[str]) -> None:
    command = settings.resolve(Decode, argv, prog="selftaught tokenizer decode").command
    tokenizer = Tokenizer.load(command.tokenizer)
    text = tokenizer.decode(command.ids or _numbers(_standard_input()))
    if command.json:
        console.result(text)
    else:
        console.line(text)


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as problem:
        raise InputError("standard input is not UTF-8", got=str(problem)) from problem


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split()]
    except ValueError as problem:
        raise UsageError("ids are whole numbers", got=str(problem)) from problem


def _show(argv: Sequence[str]) -> None:
    command = settings.resolve(Show, argv, prog="selftaught tokenizer show").command
    tokenizer = Tokenizer.load(command.tokenizer)
    steps = {word: tokenizer.merge_steps(word) for word in command.text}
    if command.json:
        console.result(
            {
                word: [[token.decode("utf-8", "replace") for token in step] for step in all_]
                for word, all_ in steps.items()
            }
        )
        return
    for word, all_ in steps.items():
        for step in all_:
            console.line(" | ".join(token.decode("utf-8", "backslashreplace") for token in step))
        console.line(
            f"{word!r}: {len(all_[-1])} tokens, {sum(map(len, all_[-1])) / max(1, len(all_[-1])):.2f} bytes per token"
        )
