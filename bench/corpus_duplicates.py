"""The part of bench/corpus.py that finds near duplicates among real texts and changed copies of them, whose similarity is known.

Imported by bench/corpus.py; run by itself this file does nothing. All have 5-word shingles and a threshold of 0.8. rensa and
datasketch have 16 bands of 8 minima and check what they find by their signatures; datatrove has its own 14 bands of 8.
"""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from side_by_side import SideBySide

SHINGLE_WORDS, THRESHOLD, MINIMA, BANDS = 5, 0.8, 128, 16
FEW = 1000
"""Documents for who takes minutes for all of them."""
Flags = Callable[[Sequence[str]], list[bool]]


@dataclass(frozen=True)
class Planted:
    """Where a document and a changed copy of it lie, and the true Jaccard similarity of their shingles."""

    first: int
    second: int
    similarity: float


def compare_duplicates(bench: SideBySide, texts: Sequence[str], folder: Path) -> None:
    """Documents a second of processor time, the share of planted pairs that is found, and merges that are none."""
    documents, pairs = _planted(texts)
    peers: dict[str, Flags] = {}
    if rensa := bench.peer("rensa"):
        peers["rensa"] = lambda some: _by_rensa(rensa, some)
    if datasketch := bench.peer("datasketch"):
        peers["datasketch"] = lambda some: _by_datasketch(datasketch, some)
    if bench.peer("datatrove.pipeline.dedup.minhash"):
        peers["datatrove"] = lambda some: _by_datatrove(some, folder)
    case = "near duplicates"
    bench.compare(
        case,
        lambda: ours(documents),
        {"ours again": lambda: ours(documents)},
        amount=len(documents),
        unit="documents/s",
    )
    rate, of = bench.records.pop().ours, ours(documents)
    found = {"": [one >= 0 for one in of]}
    for name, flags in peers.items():
        some = documents[:FEW] if name == "datatrove" else documents
        start = time.process_time()
        found[name] = flags(some)
        bench.note(
            case, rate, len(some) / (time.process_time() - start), name, unit="documents/s", larger_is_better=True
        )
    for low, high in ((0.9, 1.01), (0.8, 0.9), (0.0, 0.7)):
        for name in peers:
            chosen = [pair for pair in pairs if low <= pair.similarity < high and pair.second < len(found[name])]
            mine, theirs = (_share(found[who], chosen) for who in ("", name))
            said = f"{len(chosen)} pairs of similarity {low:g}-{min(high, 1):g}"
            if low:
                bench.note(f"found of {said}", mine, theirs, name, unit="share", larger_is_better=True)
            else:
                bench.note(f"kept apart of {said}", 1 - mine, 1 - theirs, name, unit="share", larger_is_better=True)
    merged = [(number, other) for number, other in enumerate(of) if other >= 0]
    wrong = sum(_similarity(documents[number], documents[other]) < THRESHOLD for number, other in merged)
    print(
        f"{len(merged)} of {len(documents)} documents merged by ours, {wrong} of them with one less similar than {THRESHOLD}"
    )


def _share(flags: Sequence[bool], pairs: Sequence[Planted]) -> float:
    return sum(flags[pair.first] or flags[pair.second] for pair in pairs) / max(1, len(pairs))


def _planted(texts: Sequence[str]) -> tuple[list[str], list[Planted]]:
    """Documents of which every second of the first two thirds is a changed copy of the one before it."""
    documents: list[str] = []
    pairs = []
    draw = random.Random(1)
    for text in texts[: len(texts) // 2]:
        words = text.split()
        changed = list(words)
        for _ in range(round(len(words) * draw.random() * 0.08)):
            changed[draw.randrange(len(words))] = f"changed{draw.randrange(10**6)}"
        copy = " ".join(changed)
        pairs.append(Planted(len(documents), len(documents) + 1, _similarity(text, copy)))
        documents += [text, copy]
    return [*documents, *texts[len(texts) // 2 :]], pairs


def _shingles(text: str) -> set[str]:
    words = re.findall(r"[^\W_]+", text.lower())
    return {" ".join(words[start : start + SHINGLE_WORDS]) for start in range(len(words) - SHINGLE_WORDS + 1)}


def _similarity(one: str, other: str) -> float:
    first, second = _shingles(one), _shingles(other)
    return len(first & second) / max(1, len(first | second))


def ours(texts: Iterable[str]) -> list[int]:
    """For each text the number of the one that stays instead, or -1."""
    from selftaught.corpus.deduplication import Fingerprints  # not above: see corpus_fetching.compare_fetching

    prints = Fingerprints(THRESHOLD)
    for text in texts:
        prints.add(text)
    found: list[int] = prints.duplicates().of.tolist()
    return found


def _by_rensa(rensa: ModuleType, texts: Sequence[str]) -> list[bool]:
    index, kept, flags = (
        rensa.RMinHashLSH(threshold=THRESHOLD, num_perm=MINIMA, num_bands=BANDS),
        list[Any](),
        list[bool](),
    )
    for text in texts:
        signature = rensa.RMinHash(num_perm=MINIMA, seed=1)
        signature.update(list(_shingles(text)))
        flags.append(any(kept[number].jaccard(signature) >= THRESHOLD for number in index.query(signature)))
        if not flags[-1]:
            index.insert(len(kept), signature)
            kept.append(signature)
    return flags


def _by_datasketch(datasketch: ModuleType, texts: Sequence[str]) -> list[bool]:
    index, kept, flags = (
        datasketch.MinHashLSH(num_perm=MINIMA, params=(BANDS, MINIMA // BANDS)),
        list[Any](),
        list[bool](),
    )
    for text in texts:
        signature = datasketch.MinHash(num_perm=MINIMA, seed=1)
        signature.update_batch([shingle.encode() for shingle in _shingles(text)])
        flags.append(any(kept[number].jaccard(signature) >= THRESHOLD for number in index.query(signature)))
        if not flags[-1]:
            index.insert(len(kept), signature)
            kept.append(signature)
    return flags


def _by_datatrove(texts: Sequence[str], folder: Path) -> list[bool]:
    """Its four steps, one after another in this process."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import minhash

    shutil.rmtree(folder, ignore_errors=True)
    places = [str(folder / name) for name in ("signatures", "buckets", "removed")]
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    minhash.MinhashDedupSignature(places[0]).run(iter(documents))
    for bucket in range(minhash.MinhashConfig().num_buckets):
        minhash.MinhashDedupBuckets(places[0], places[1]).run(
            rank=bucket, world_size=minhash.MinhashConfig().num_buckets
        )
    minhash.MinhashDedupCluster(places[1], places[2]).run()
    stay = {document.id for document in minhash.MinhashDedupFilter(places[2]).run(iter(documents))}
    return [document.id not in stay for document in documents]
