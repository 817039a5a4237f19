"""`selftaught VERB ...`: finds the verb, imports its module alone, and turns errors into exit codes."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from types import FrameType

from selftaught import errors

try:
    from selftaught import compute, console, settings
except KeyboardInterrupt:  # Ctrl-C before there is anything to say or to save
    raise SystemExit(errors.INTERRUPTED) from None

LEASH = "SELFTAUGHT_LEASH"
"""Environment variable with the number of a pipe whose other end the starting process holds (see `hold_leash`)."""

_OBJECTS = 10_000
"""After so many new ones garbage is looked for among them; Python's own choice is 700."""

HELP = frozenset({"-h", "--help"})

VERBS = {
    "demo": "the whole paper in ten minutes: corpus, tokenizer, four sizes, zero-shot tasks, overlap, report",
    "corpus": "links, pages or folders of text -> clean documents, split into train and held-out",
    "tokenizer": "learn a byte-level BPE, encode, decode, look inside",
    "pack": "documents -> token shards",
    "train": "pre-train GPT-1 or GPT-2 of any size",
    "generate": "continue a prompt",
    "serve": "models over HTTP as OpenAI's clients expect it, and a page to play with",
    "evaluate": "zero-shot tasks, beside the papers' numbers",
    "finetune": "GPT-1's transfer to labelled tasks, with its ablations",
    "predict": "labels and scores from a fine-tuned model, as JSON lines",
    "classify": "labels for texts, without training",
    "overlap": "8-gram overlap of test text with training text",
    "memorize": "whether a model copies its training text",
    "convert": "weights from one format to another: OpenAI, Hugging Face, nanoGPT, llm.c, llama.cpp",
    "report": "one self-contained page of everything in a run folder",
    "track": "a training run's log in TensorBoard, Weights & Biases or trackio",
    "show": "look at any file or folder that selftaught wrote",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see `selftaught.errors`)."""
    words = list(sys.argv[1:] if argv is None else argv)
    console.open_streams()
    try:
        if not words or words[0] in {*HELP, "help"}:
            console.write(overview() + "\n")
        elif words[0] in ("-V", "--version"):
            from selftaught import __version__

            console.line(f"selftaught {__version__}")
        else:
            _run_verb(words)
    except errors.SelftaughtError as problem:
        if not problem.told:
            console.error(problem)
        return problem.exit_code
    except KeyboardInterrupt:
        console.warn("stopped; the same command continues where this one ended")
        return errors.INTERRUPTED
    return 0


def _run_verb(words: Sequence[str]) -> None:
    signal.signal(signal.SIGTERM, _terminate)
    # Scripts start background jobs with SIGINT ignored; a verb saves its work when it is told to stop, however it was started.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Importing makes many objects and hardly any garbage; looking for it oftener takes a tenth of a second.
    gc.set_threshold(_OBJECTS)
    # Else the interpreter looks through all objects before it goes: a tenth of a second for nothing.
    atexit.register(gc.freeze)
    compute.share_processors()
    hold_leash()
    if words[0] not in VERBS:
        raise settings.unknown_name("verb", words[0], VERBS)
    console.configure(json="--json" in words)
    verb = importlib.import_module(f"selftaught.cli.{words[0]}")
    # Help is written by the parser of flags, all else by `console`.
    with console.output() if HELP.intersection(words) else nullcontext():
        verb.run(words[1:])


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(errors.TERMINATED)


def hold_leash() -> None:
    """End this process when the one that started it is gone, even by kill -9, so that no verb of a demo runs on alone.

    The starter passes the reading end of a pipe and keeps the writing end: when it dies, reading returns.
    """
    descriptor = compute.environment(LEASH)
    if not descriptor:
        return

    def wait() -> None:
        os.read(int(descriptor), 1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True, name="leash").start()


def overview() -> str:
    """The text of `selftaught --help`."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            "usage: selftaught VERB ...",
            "",
            *lines,
            "",
            "selftaught VERB --help tells the options of a verb. Start with: selftaught demo",
        ]
    )
