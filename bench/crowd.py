"""A crowd at the server: many streams at once, slow readers, clients that hang up, malformed and huge requests.

    python bench/crowd.py [--quick] [--json FILE] [--clients 300] [--rounds 3] [--model DIR]

Starts `selftaught serve` with a model (by default a random one of 4 layers and 192 channels) and lets clients of six kinds come
all at once, round after round. Afterwards no slot may be in use, the server must answer, and its memory must stay flat from
the second round on; the table shows what became of each kind, how long they waited for their first text, and the memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

READ = 1 << 12
HUGE = b"x" * (6 << 20)
PATIENCE = 300.0
"""Seconds after which a client counts as hanging."""


@dataclass
class Crowd:
    """What became of some clients."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    """Seconds from each stream's request to its first text."""
    tokens: int = 0

    def note(self, kind: str, outcome: str) -> None:
        """Count an outcome."""
        self.outcomes.setdefault(kind, Counter())[outcome] += 1


class Client:
    """Speaks HTTP on a bare connection, so that it can misbehave."""

    def __init__(self, host: str, port: int, numbers: random.Random) -> None:
        self.host, self.port, self.numbers = host, port, numbers

    async def send(self, body: bytes, length: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection and send a request for completions."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=READ)
        size = len(body) if length is None else length
        host = f"{self.host}:{self.port}"
        head = f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        return reader, writer

    def body(self, tokens: int, *, stream: bool = True) -> bytes:
        """A sensible request."""
        prompt = "The " + "and the " * self.numbers.randrange(20)
        document = {"prompt": prompt, "max_tokens": tokens, "stream": stream, "seed": self.numbers.randrange(10**6)}
        return json.dumps(document).encode()

    async def reads(self, crowd: Crowd, tokens: int, pause: float = 0.0, leaves_after: int = 0) -> str:
        """Read a stream: at once, with a pause between portions, or leaving after so many portions."""
        start = time.perf_counter()
        reader, writer = await self.send(self.body(tokens))
        try:
            status = (await reader.readline()).split()[1].decode()
            portions, rest = 0, b""
            while portion := await reader.read(READ if not pause else 200):
                if b"data: " in portion and not portions:
                    crowd.waits.append(time.perf_counter() - start)
                portions += 1
                crowd.tokens += portion.count(b'"text":')
                rest = (rest + portion)[-100:]
                if leaves_after and portions >= leaves_after:
                    return f"left ({status})"
                await asyncio.sleep(pause)
            return f"{status} whole" if b"[DONE]" in rest else status
        finally:
            writer.close()

    async def answered(self, body: bytes, length: int | None = None) -> str:
        """Send a body and return the status, or that the connection was closed."""
        reader, writer = await self.send(body, length)
        try:
            line = await reader.readline()
            return line.split()[1].decode() if line else "closed"
        finally:
            writer.close()


KINDS: dict[str, Callable[[Client, Crowd, int], Coroutine[Any, Any, str]]] = {
    "stream": lambda client, crowd, tokens: client.reads(crowd, tokens),
    "slow reader": lambda client, crowd, tokens: client.reads(crowd, tokens, pause=0.02),
    "hangs up": lambda client, crowd, tokens: client.reads(crowd, tokens, leaves_after=client.numbers.randrange(1, 5)),
    "whole": lambda client, _, tokens: client.answered(client.body(tokens, stream=False)),
    "malformed": lambda client, *_: client.answered(client.body(9)[: client.numbers.randrange(1, 20)]),
    "huge": lambda client, *_: client.answered(HUGE),
}
WEIGHTS = (10, 3, 4, 2, 2, 1)


async def come(host: str, port: int, *, clients: int, tokens: int, seed: int) -> Crowd:
    """Let clients come all at once; returns when the last has gone."""
    crowd, numbers = Crowd(), random.Random(seed)
    kinds = numbers.choices(list(KINDS), WEIGHTS, k=clients)

    async def one(number: int, kind: str) -> None:
        client = Client(host, port, random.Random(seed * 1_000_003 + number))
        try:
            async with asyncio.timeout(PATIENCE):
                crowd.note(kind, await KINDS[kind](client, crowd, tokens))
        except TimeoutError:
            crowd.note(kind, "hanging")
        except OSError as problem:
            crowd.note(kind, type(problem).__name__)

    await asyncio.gather(*(one(number, kind) for number, kind in enumerate(kinds)))
    return crowd


def metric(url: str, name: str) -> float:
    """Sum of a metric over its labels."""
    with urlopen(f"{url}/metrics") as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def settled(url: str, seconds: float = 30.0) -> bool:
    """Whether all slots become free and nobody waits."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if metric(url, "selftaught_slots_in_use") + metric(url, "selftaught_texts_waiting") == 0:
            return True
        time.sleep(0.1)
    return False


def random_model(folder: Path) -> Path:
    """A model of the demo's largest size with random weights."""
    from selftaught import compute
    from selftaught.checkpoint import native
    from selftaught.model.initial import initialise
    from selftaught.model.shape import ModelShape
    from selftaught.model.transformer import Transformer
    from selftaught.tokenizer import files
    from selftaught.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer(files.from_merges([]))
    shape = ModelShape(layers=4, heads=6, channels=192, context=256, vocabulary=tokenizer.vocabulary_size)
    model = Transformer(shape)
    initialise(model, compute.generator("bench"))
    native.save(model, tokenizer, folder)
    return folder


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    clients, rounds = (60, 2) if given.quick else (given.clients, given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or random_model(Path(folder) / "4x192")
        command = [
            sys.executable,
            "-m",
            "selftaught",
            "serve",
            str(model),
            "--port",
            "0",
            "--json",
            "--waiting",
            str(clients),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                rows = _rounds(_url(process), clients=clients, rounds=rounds, tokens=given.tokens)
            finally:
                process.terminate()
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


def _url(process: subprocess.Popen[str]) -> str:
    document = ""
    assert process.stdout is not None
    while not document.endswith("}\n"):
        document += process.stdout.readline()
    url: str = json.loads(document)["url"]
    while True:
        try:
            metric(url, "selftaught_slots")
        except OSError:
            time.sleep(0.1)
        else:
            return url


def _rounds(url: str, *, clients: int, rounds: int, tokens: int) -> list[dict[str, Any]]:
    host, port = url.removeprefix("http://").split(":")
    rows = []
    for number in range(rounds):
        start = time.perf_counter()
        crowd = asyncio.run(come(host, int(port), clients=clients, tokens=tokens, seed=number))
        seconds = time.perf_counter() - start
        row = {
            "round": number + 1,
            "seconds": round(seconds, 2),
            "tokens_per_second": round(crowd.tokens / seconds),
            "first_text_median": round(statistics.median(crowd.waits), 3),
            "first_text_last": round(max(crowd.waits), 3),
            "slots_free_again": settled(url),
            "memory_mb": round(metric(url, "process_resident_memory_bytes") / 1e6, 1),
            "open_files": metric(url, "process_open_fds"),
            "outcomes": {kind: dict(counts) for kind, counts in sorted(crowd.outcomes.items())},
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


if __name__ == "__main__":
    main()
