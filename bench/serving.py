"""The server beside others: many streams at once, tokens a second, time to the first token, memory.

    python bench/serving.py [--quick] [--json FILE] [--streams 1 8 64] [--servers NAME ...] [--work DIR] [--llama-server FILE]

GPT-2 small's shape with random weights, greedy; each stream has a prompt of its own of about 128 tokens and is given 64 more.
All come at once and are read as fast as they come, by one process. Every server is started anew for each number of streams
and has as many slots. Peers: llama.cpp's `llama-server` with the file that `selftaught convert` writes, and with what its
`llama-quantize` makes of that; and `transformers serve`, one text after another or with its continuous batching. Those that
are not installed are left out. --work keeps models and results, so that the comparison can be made in pieces: the table shows
all that is there. --quick: a sixth of the size.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import random
import shutil
import socket
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.request import urlopen

import torch

from selftaught import compute, storage
from selftaught.checkpoint import gguf, huggingface
from selftaught.model.initial import initialise
from selftaught.model.shape import NAMED_SHAPES, ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer

PROMPT, NEW, WARM = 128, 64, 8
"""Tokens: of a prompt, about; of a text; of each text of a round before, which is not counted."""
PATIENCE = 300.0
"""Seconds after which a server counts as hanging."""
COLUMNS = ("server", "streams", "tokens/s", "first token p50", "p95", "gap p95", "CPU-s per 1,000", "MB")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One server with some streams at once."""

    server: str
    streams: int
    tokens_per_second: float
    """Of all streams together, from the first request to the end of the last text."""
    first_p50: float
    """Seconds from the requests to the first token of a stream."""
    first_p95: float
    gap_p95: float
    """Seconds between two tokens of a stream."""
    cpu_per_thousand: float
    """Processor time of the server for 1,000 tokens."""
    memory_mb: float
    """Most that was resident at a time."""


@dataclass(kw_only=True)
class Stream:
    """When the pieces of one text came."""

    begun: float
    times: list[float] = field(default_factory=list)


def tokenizer_of(size: int) -> Tokenizer:
    """A tokenizer with so many tokens, most of them words of up to four letters."""
    letters = [one.encode() for one in string.ascii_lowercase]
    blank_or_letters = [b" ", *letters]
    pairs = [(one, other) for one in blank_or_letters for other in letters]
    triples = [(left + right, more) for left, right in pairs for more in letters]
    fours = [(left + right, more) for left, right in triples for more in letters]
    return Tokenizer(files.from_merges([*pairs, *triples, *fours][: size - 257]))


def _model(shape: ModelShape, tokenizer: Tokenizer) -> Transformer:
    """Random weights whose texts neither end nor leave ASCII: such tokens have a score of 0, which is never the best."""
    model = Transformer(shape).eval()
    generator = compute.generator("bench")
    initialise(model, generator)
    silent = [number for token, number in tokenizer.vocabulary.ids.items() if not token.isascii()]
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.05 if weight.ndim == 1 else 0.03)
        model.tokens.weight[[*silent, tokenizer.end_of_text]] = 0
    return model


def _prompts(tokenizer: Tokenizer, count: int, seed: str) -> list[str]:
    """Texts of random words that begin unlike each other."""
    numbers = random.Random(seed)
    texts = []
    for _ in range(count):
        words = ("".join(numbers.choices(string.ascii_lowercase, k=3)) for _ in range(2 * PROMPT))
        texts.append(tokenizer.decode(tokenizer.encode(" " + " ".join(words))[:PROMPT]))
    return texts


def commands(folder: Path, slots: int, port: int, llama_server: str | None) -> dict[str, list[str]]:
    """How each server there is is started."""
    ours = [sys.executable, "-m", "selftaught", "serve", str(folder), "--port", str(port)]
    ours += ["--slots", str(slots), "--waiting", str(slots)]
    found = {f"ours, {weights}": [*ours, "--weights", weights] for weights in ("float32", "bfloat16", "int8")}
    if llama_server:
        context = slots * json.loads((folder / "config.json").read_text())["n_positions"]
        theirs = [llama_server, "--port", str(port), "--parallel", str(slots), "--ctx-size", str(context), "--no-webui"]
        theirs += ["--threads", str(torch.get_num_threads()), "--threads-batch", str(torch.get_num_threads())]
        found |= {
            f"llama-server, {file.stem}": [*theirs, "--model", str(file)] for file in sorted(folder.glob("*.gguf"))
        }
    if importlib.util.find_spec("transformers") and importlib.util.find_spec("fastapi"):
        theirs = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", str(folder)]
        theirs += ["--device", "cpu", "--dtype", "bfloat16", "--port", str(port), "--host", "127.0.0.1"]
        found["transformers serve, bfloat16"] = theirs
        found["transformers serve, bfloat16, continuous batching"] = [*theirs, "--continuous-batching"]
    return found


def _prepare(work: Path, llama_server: str | None, *, quick: bool) -> tuple[Path, Tokenizer]:
    """The network as each server wants it; what is there already is kept."""
    shape = ModelShape(layers=6, heads=6, channels=384, vocabulary=8192) if quick else NAMED_SHAPES["gpt2-small"]
    folder, tokenizer = work / ("small" if quick else "gpt2-small"), tokenizer_of(shape.vocabulary)
    if not (folder / "config.json").exists():
        model = _model(shape, tokenizer)
        huggingface.save(model, tokenizer, folder)
        if importlib.util.find_spec("gguf"):
            gguf.save(model, tokenizer, folder / "F32.gguf")
    quantize = llama_server and shutil.which("llama-quantize", path=Path(llama_server).parent)
    for kind in ("BF16", "Q8_0"):
        if quantize and not (folder / f"{kind}.gguf").exists():
            call = [quantize, str(folder / "F32.gguf"), str(folder / f"{kind}.gguf"), kind]
            subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder, tokenizer


async def _read(port: int, body: dict[str, object]) -> Stream:
    """Ask for a stream and note when each piece of its text comes."""
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    stream = Stream(begun=time.perf_counter())
    writer.write(head.encode() + data)
    told = b""
    while line := await reader.readline():
        told = line if line.startswith(b"data: ") else told
        if line.startswith(b"data: {") and b'"text":""' not in line and b'"choices":[]' not in line:
            stream.times.append(time.perf_counter())
    writer.close()
    if not stream.times or not (b"[DONE]" in told or b'"finish_reason":"' in told):  # transformers has no [DONE]
        raise SystemExit(f"a text broke off: {told!r:.200}")
    return stream


async def _round(port: int, model: str, prompts: Sequence[str], new: int) -> list[Stream]:
    bodies = [
        {"model": model, "prompt": prompt, "max_tokens": new, "temperature": 0, "stream": True} for prompt in prompts
    ]
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*(_read(port, body) for body in bodies))


def _measure(name: str, command: Sequence[str], port: int, model: str, prompts: Mapping[str, Sequence[str]]) -> Row:
    """Start a server, let a round go by, measure one, end it; `prompts` of each of them."""
    streams = len(prompts["measured"])
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(process, port, name)
            asyncio.run(_round(port, model, prompts["warm"], WARM))
            before = _cpu_seconds(process.pid)
            start = time.perf_counter()
            found = asyncio.run(_round(port, model, prompts["measured"], NEW))
            seconds = max(stream.times[-1] for stream in found) - start
            cpu, memory = _cpu_seconds(process.pid) - before, _peak_memory(process.pid)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
    firsts = sorted(stream.times[0] - stream.begun for stream in found)
    gaps = sorted(late - early for stream in found for early, late in zip(stream.times, stream.times[1:], strict=False))
    return Row(
        server=name,
        streams=streams,
        tokens_per_second=streams * NEW / seconds,
        first_p50=statistics.median(firsts),
        first_p95=_percentile(firsts, 0.95),
        gap_p95=_percentile(gaps, 0.95),
        cpu_per_thousand=1000 * cpu / (streams * NEW),
        memory_mb=memory / 1e6,
    )


def _wait(process: subprocess.Popen[bytes], port: int, name: str) -> None:
    """Until the server answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        for path in ("health", "healthz"):
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/{path}"):
                return
        time.sleep(0.2)
    raise SystemExit(f"{name} does not answer")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(float(line.split()[1]) for line in status if line.startswith("VmHWM"))


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, round(share * len(ordered)))]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _show(rows: Sequence[Row]) -> None:
    """The table, best first for each number of streams."""
    ordered = sorted(rows, key=lambda row: (row.streams, -row.tokens_per_second))
    cells = [
        (
            row.server,
            str(row.streams),
            f"{row.tokens_per_second:.0f}",
            f"{row.first_p50:.2f} s",
            f"{row.first_p95:.2f} s",
            f"{row.gap_p95:.3f} s",
            f"{row.cpu_per_thousand:.1f}",
            f"{row.memory_mb:.0f}",
        )
        for row in ordered
    ]
    widths = [max(len(line[column]) for line in (COLUMNS, *cells)) for column in range(len(COLUMNS))]
    for line in (COLUMNS, *cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--servers", nargs="+", metavar="NAME", help="only those whose names begin so")
    parser.add_argument("--work", type=Path, metavar="DIR")
    parser.add_argument("--llama-server", default=shutil.which("llama-server"), metavar="FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        folder, tokenizer = _prepare(work, given.llama_server, quick=given.quick)
        kept = folder / "results.json"
        rows = (
            {(row["server"], row["streams"]): Row(**row) for row in json.loads(kept.read_text())}
            if kept.exists()
            else {}
        )
        for streams in given.streams:
            prompts = {turn: _prompts(tokenizer, streams, turn) for turn in ("warm", "measured")}
            for name in commands(folder, streams, 0, given.llama_server):
                if given.servers and not name.startswith(tuple(given.servers)):
                    continue
                port = _free_port()
                command = commands(folder, streams, port, given.llama_server)[name]
                model = str(folder) if "transformers" in name else folder.name
                rows[name, streams] = _measure(name, command, port, model, prompts)
                print(json.dumps(asdict(rows[name, streams])), flush=True)
                storage.write_json(kept, list(rows.values()))
    _show(list(rows.values()))
    if given.json:
        storage.write_json(given.json, list(rows.values()))


if __name__ == "__main__":
    main()
