"""`selftaught tokenizer`: learn a byte-level BPE, encode, decode, look inside."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from selftaught import console, settings, storage
from selftaught.cli import words
from selftaught.errors import InputError, OutputError, UsageError
from selftaught.tokenizer.files import ENCODER_FILE, MERGES_FILE
from selftaught.tokenizer.pieces import utf8
from selftaught.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from selftaught.corpus.documents import Document

WORDS = {
    "learn": "corpus -> tokenizer",
    "encode": "text of the command or of standard input -> ids",
    "decode": "ids -> text",
    "convert": "a tokenizer's files in another tool's format",
    "show": "how the merges build a word; bytes per token of a file or corpus",
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
    jobs: int = 1
    """Processes that count; the merges are the same whatever their number."""
    settings: LearnSettings = field(default_factory=LearnSettings)


@dataclass(frozen=True, kw_only=True)
class Encode(settings.Verb):
    """Print the ids of a text."""

    tokenizer: Path
    """Folder or file of a tokenizer, ours or another tool's; gpt2: GPT-2's, from an installed package that carries it."""
    text: Positional[tuple[str, ...]] = ()
    """The text; without it, standard input is read."""
    special: bool = False
    """Read <|endoftext|> as the end of a document; otherwise it is ordinary text."""
    offsets: bool = False
    """With --json, say for each id the characters that it stands for: [id, first, after]."""


@dataclass(frozen=True, kw_only=True)
class Decode(settings.Verb):
    """Print the text that ids stand for."""

    tokenizer: Path
    """Folder or file of a tokenizer, ours or another tool's; gpt2: GPT-2's, from an installed package that carries it."""
    ids: Positional[tuple[int, ...]] = ()
    """The ids; without them, standard input is read."""


@dataclass(frozen=True, kw_only=True)
class Convert(settings.Verb):
    """Write a tokenizer in another tool's format. Reading finds out by itself what lies in a place."""

    tokenizer: Positional[Path]
    """Folder or file of a tokenizer; gpt2: GPT-2's, from an installed package that carries it."""
    out: Positional[Path]
    """Folder for openai and hf, file for the others."""
    to: Literal["openai", "hf", "tokenizer.json", "tiktoken"] = "openai"
    """openai: encoder.json and vocab.bpe; hf: vocab.json, merges.txt and tokenizer.json; tokenizer.json: that file alone;
    tiktoken: its file of ranks."""


@dataclass(frozen=True, kw_only=True)
class Show(settings.Verb):
    """Show how the merges build the words of a text, step by step; or what a file or corpus comes to in tokens."""

    tokenizer: Path
    """Folder or file of a tokenizer, ours or another tool's; gpt2: GPT-2's, from an installed package that carries it."""
    what: Positional[tuple[str, ...]]
    """A text; or a corpus folder, a .jsonl file of documents or a text file: bytes per token, ids that it never needs."""


def run(argv: Sequence[str]) -> None:
    """Run one word of the verb."""
    word = words.choose("tokenizer", argv, WORDS)
    verbs = {"learn": _learn, "encode": _encode, "decode": _decode, "convert": _convert, "show": _show}
    verbs[word](argv[1:])


def _learn(argv: Sequence[str]) -> None:
    resolved = settings.resolve(Learn, argv, prog="selftaught tokenizer learn")
    command = resolved.command
    from selftaught.corpus import documents
    from selftaught.tokenizer.learning import learn_tokenizer, require_size

    require_size(command.settings.vocabulary_size)
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
            tokenizer = learn_tokenizer(texts, vocabulary_size=command.settings.vocabulary_size, jobs=command.jobs)
            tokenizer.save(command.out)
            opened.declare(ENCODER_FILE)
            opened.declare(MERGES_FILE)
    _report(tokenizer, command)


def _report(tokenizer: Tokenizer, command: Learn) -> None:
    from selftaught.corpus import documents

    splits = documents.SPLITS if command.corpus.is_dir() else documents.SPLITS[:1]
    rates = {split: _bytes_per_token(tokenizer, documents.read(command.corpus, split)) for split in splits}
    if command.json:
        console.result(
            {
                "vocabulary_size": tokenizer.vocabulary_size,
                "bytes_per_token": rates,
                "fingerprint": tokenizer.fingerprint,
            }
        )
    said = ", ".join(f"{rate:.2f} bytes per token ({name})" for name, rate in rates.items())
    console.line(f"{tokenizer.vocabulary_size} ids, {said}")
    if tokenizer.vocabulary_size < command.settings.vocabulary_size:
        console.warn(f"no pair occurs twice any more, so there are fewer ids than {command.settings.vocabulary_size}")


def _bytes_per_token(tokenizer: Tokenizer, rows: Iterator[Document]) -> float:
    """Measured on the first two million characters."""
    seen = tokens = size = 0
    for row in rows:
        tokens += len(tokenizer.encode_array(row.text))
        size += len(utf8(row.text))
        seen += len(row.text)
        if seen > _MEASURED_CHARACTERS:
            break
    return size / max(tokens, 1)


def _encode(argv: Sequence[str]) -> None:
    command = settings.resolve(Encode, argv, prog="selftaught tokenizer encode").command
    tokenizer = Tokenizer.load(command.tokenizer)
    text = " ".join(command.text) if command.text else _standard_input()
    if command.offsets:
        _require_plain(command)
        ids, places = tokenizer.encode_with_offsets(text)
        console.result([[number, *place] for number, place in zip(ids, places, strict=True)])
        return
    ids = tokenizer.encode(text, allowed_special={tokenizer.vocabulary.border} if command.special else ())
    if command.json:
        console.result(ids)
    else:
        console.line(" ".join(map(str, ids)))


def _require_plain(command: Encode) -> None:
    if command.special or not command.json:
        raise UsageError("offsets are printed as JSON, of ordinary text", expected="--json --offsets without --special")


def _convert(argv: Sequence[str]) -> None:
    command = settings.resolve(Convert, argv, prog="selftaught tokenizer convert").command
    from selftaught.tokenizer import files, formats

    vocabulary = Tokenizer.load(command.tokenizer).vocabulary
    if command.out.exists() and (command.out.is_file() or any(command.out.iterdir())):
        raise OutputError(f"cannot convert into {command.out}", expected="a new place", got="something that is there")
    writers = {
        "openai": files.write,
        "hf": formats.write_huggingface,
        "tokenizer.json": formats.write_tokenizer_json,
        "tiktoken": formats.write_ranks,
    }
    writers[command.to](command.out, vocabulary)
    console.line(f"{len(vocabulary.ids) + 1:,} ids -> {command.out}")
    if command.json:
        console.result({"out": str(command.out), "format": command.to, "ids": len(vocabulary.ids) + 1})


def _decode(argv: Sequence[str]) -> None:
    command = settings.resolve(Decode, argv, prog="selftaught tokenizer decode").command
    tokenizer = Tokenizer.load(command.tokenizer)
    text = tokenizer.decode(command.ids or _numbers(_standard_input()))
    if command.json:
        console.result(text)
    else:
        console.line(text)


def _standard_input() -> str:
    return _text(sys.stdin.buffer.read(), "standard input")


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        raise InputError(f"{name} is not text", expected="UTF-8", got=str(problem)) from problem


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split()]
    except ValueError as problem:
        raise UsageError("ids are whole numbers", got=str(problem)) from problem


def _show(argv: Sequence[str]) -> None:
    command = settings.resolve(Show, argv, prog="selftaught tokenizer show").command
    if not command.what:
        raise UsageError("nothing to show", expected="a text, or a corpus folder or file of text")
    tokenizer = Tokenizer.load(command.tokenizer)
    path = Path(command.what[0]) if len(command.what) == 1 else None
    if path is not None and path.exists():
        _show_usage(tokenizer, path, as_json=command.json)
    else:
        _show_steps(tokenizer, " ".join(command.what), as_json=command.json)


def _show_usage(tokenizer: Tokenizer, path: Path, *, as_json: bool) -> None:
    from selftaught.tokenizer.measuring import measure

    found = measure(tokenizer, _texts(path))
    if as_json:
        console.result(settings.as_document(found))
        return
    rows = [(usage.kind, usage.bytes, usage.tokens, usage.bytes_per_token) for usage in (*found.kinds, found.total)]
    console.table(["pieces", "bytes", "tokens", "bytes per token"], rows)
    share = 100 * len(found.unused) / tokenizer.vocabulary_size
    console.line(f"{len(found.unused):,} of {tokenizer.vocabulary_size:,} ids are never used ({share:.1f} %)")


def _texts(path: Path) -> Iterator[str]:
    from selftaught.corpus import documents

    if path.is_dir() or ".jsonl" in path.suffixes:
        return (row.text for row in documents.read(path))
    return iter([_text(storage.read_bytes(path), str(path))])


def _show_steps(tokenizer: Tokenizer, text: str, *, as_json: bool) -> None:
    pieces = tokenizer.merge_steps(text)
    if as_json:
        console.result([[[_spelled(token) for token in step] for step in steps] for steps in pieces])
        return
    for steps in pieces:
        for step in steps:
            console.line("  " + " | ".join(_spelled(token) for token in step))
        ids = [tokenizer.vocabulary.ids.get(token, tokenizer.end_of_text) for token in steps[-1]]
        size = len(tokenizer.decode_bytes(ids))
        console.line(f"{size} bytes, {len(ids)} tokens: {' '.join(map(str, ids))}")


def _spelled(token: bytes) -> str:
    """A token for the screen: blanks as in vocabulary files, bytes that are no whole character in hexadecimal."""
    return token.decode("utf-8", "backslashreplace").replace(" ", "Ġ").replace("\n", "\\n").replace("\t", "\\t")
