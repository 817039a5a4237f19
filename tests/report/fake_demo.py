"""A made-up demo folder with plausible numbers: for tests of the page, and to look at it without training anything.

python -m tests.report.fake_demo FOLDER    writes the folder; then: selftaught report FOLDER
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

from selftaught import storage
from selftaught.corpus.documents import Document, Drop, FunnelRow
from selftaught.report.overlap_records import (
    Continued,
    CopiedSpan,
    Difference,
    Diversity,
    DocumentLoss,
    Gap,
    Memorization,
    Overlap,
    OverlapSplit,
    Passage,
    Recall,
)
from selftaught.report.records import LearningPoint, Piece, Sample, Score

SIZES = {"1x32": 152_032, "2x64": 379_520, "3x128": 1_153_408, "4x192": 2_615_424}
HOSTILE = '<script>alert("1")</script> & </style> ]]> {{ 7 * 7 }}'
_WORDS = (
    "the of a module returns value class list is not raised when an object for which argument and string in to with "
    "iterator default given exception file path called by this function if None sequence bytes encoding"
)
_FUNNEL = (
    *(("links", "", 698), ("links", "karma below 3", 449), ("links", "repost", 1), ("links", "not a web address", 1)),
    *(("links", "kept", 247), ("fetch", "", 247), ("fetch", "status 410", 4), ("fetch", "robots.txt", 1)),
    *(("fetch", "kept", 242), ("clean", "", 242), ("clean", "short", 6), ("clean", "kept", 236)),
    *(("duplicates", "", 236), ("duplicates", "near duplicate", 6), ("duplicates", "kept", 230)),
    *(("split", "train", 207), ("split", "heldout", 23)),
)
_PROTOCOL = "passages of 61 words from held-out documents; every token of the word first choice"


def record(verb: str, *, minute: int, seconds: float, words: tuple[str, ...] = (), **changes: object) -> storage.Record:
    """A record of a finished run."""
    values: dict[str, object] = {
        "verb": verb,
        "command": ("selftaught", *verb.split(), *words),
        "settings": {"seed": 1, "heldout": 0.1},
        "sources": {"seed": "default", "heldout": "flag"},
        "inputs": {"corpus": storage.Input(path="runs/demo/corpus", sha256="73a714dc" * 8)},
        "versions": {"python": "3.11.7", "selftaught": "0.1.0", "torch": "2.13.0+cpu", "numpy": "2.4.6"},
        "git": "26dc7bca1f78",
        "machine": {"system": "Linux x86_64", "processor": "AMD EPYC", "cores": 2, "world_size": 1},
        "started": f"2026-05-01T10:{minute:02}:00+00:00",
        "finished": f"2026-05-01T10:{minute:02}:59+00:00",
        "status": "finished",
        "exit_code": 0,
        "seconds": seconds,
        "peak_memory_bytes": 612_345_678,
        "outputs": {"results.json": "91ff756a" * 8},
    }
    return storage.Record(**(values | changes))  # type: ignore[arg-type]


def scores(name: str, *, data: bool = True) -> list[Score]:
    """Scores that get better with size, one that does not, one that gets worse."""
    size = SIZES[name]
    steps = math.log(size / 152_032, 3)
    rows = [
        ("heldout", "bits_per_byte", 2.31 - 0.19 * steps, 0.041, 23),
        ("heldout", "perplexity", 266.0 * 0.71**steps, 7.9, 23),
        ("train", "bits_per_byte", 2.22 - 0.21 * steps, 0.038, 51),
        ("train", "perplexity", 243.0 * 0.69**steps, 6.1, 51),
        ("lastword", "accuracy", 0.052 + 0.031 * steps, 0.013, 400),
        ("lastword", "perplexity", 9_150.0 * 0.45**steps, 900.0 * 0.45**steps, 400),
        ("cloze", "accuracy", 0.24 + 0.05 * steps - 0.04 * (name == "3x128"), 0.022, 381),
    ]
    if data:
        rows += [
            ("lambada", "accuracy", 0.004 + 0.006 * steps, 0.001, 5153),
            ("lambada", "perplexity", 88_000.0 * 0.4**steps, 3_000.0 * 0.4**steps, 5153),
            ("wikitext2", "perplexity", 2_900.0 * 0.7**steps, 0.0, 1),
            ("winograd", "accuracy", 0.513 - 0.007 * steps, 0.030, 273),
            ("winograd", "accuracy_full", 0.502 - 0.002 * steps, 0.030, 273),
        ]
    return [
        Score(
            model=name,
            parameters=size,
            task=task,
            protocol=_PROTOCOL,
            metric=metric,
            value=value,
            error=error,
            n=n,
            seconds=9.5,
        )
        for task, metric, value, error, n in rows
    ]


def learning(name: str, steps: int = 600) -> list[LearningPoint]:
    """A falling, noisy loss."""
    draw, gain = random.Random(name), math.log(SIZES[name] / 152_032, 3)
    points = []
    for step in [1, *range(10, steps + 1, 10)]:
        loss = 5.4 - 0.45 * gain + 2.9 * math.exp(-step / 60) + draw.gauss(0, 0.05)
        measured = 0.43 * loss if step % 50 == 0 or step == 1 else None
        points.append(
            LearningPoint(
                step=step,
                tokens=step * 2048,
                loss=loss,
                rate=0.01 * (1 - step / (steps + 1)),
                gradient_norm=0.8,
                tokens_per_second=41_000.0 / (gain + 1),
                seconds=step * 0.05,
                heldout_bits_per_byte=measured,
            )
        )
    return points


def samples(name: str, prompts: int = 3) -> list[Sample]:
    """Continuations whose tokens are more probable for larger models; the first holds markup."""
    draw, gain = random.Random(name), math.log(SIZES[name] / 152_032, 3)
    words, found = _WORDS.split(), []
    for number in range(prompts):
        texts = [" " + draw.choice(words) for _ in range(110)]
        texts[40], texts[41] = ".\n\n", "The"
        if number == 0:
            texts[3] = HOSTILE
        pieces = [Piece(text=text, probability=min(0.999, draw.betavariate(0.5 + 0.3 * gain, 2.5))) for text in texts]
        found.append(
            Sample(
                model=name,
                parameters=SIZES[name],
                prompt=f"Document {number}: The gzip module reads and writes files in the form of gzip.\n{HOSTILE}",
                text="".join(texts),
                pieces=pieces,
                settings=f"top-k 40, temperature 1, seed {number + 1}",
            )
        )
    return found


def overlaps() -> list[Overlap]:
    """Held-out text overlaps much, samples little."""
    draw = random.Random(4)
    rows = [("heldout", "train", [draw.betavariate(0.8, 3) for _ in range(23)])]
    rows += [(f"samples {name}", "train", [draw.betavariate(0.2, 9) for _ in range(8)]) for name in SIZES]
    rows += [(f"samples {name}", "heldout", [0.0] * 8) for name in SIZES]
    return [
        Overlap(
            name=name,
            against=against,
            documents=len(shares),
            ngrams=1000 * len(shares),
            hits=round(1000 * sum(shares)),
            share=sum(shares) / len(shares),
            false_positive_rate=1e-10,
            by_document=shares,
        )
        for name, against, shares in rows
    ]


def splits(name: str) -> list[OverlapSplit]:
    """Half of what is known is remembered; no example of the other task is without overlap."""
    of = {"model": name, "protocol": "p"}
    halves = {"without_error": 0.03, "without_n": 115, "within_error": 0.02, "within_n": 1208}
    none = {"without": None, "without_error": None, "without_n": 0, "within_error": 0.1, "within_n": 23}
    return [
        OverlapSplit(**of, task="lastword", metric="accuracy", value=0.4, without=0.125, within=0.75, **halves),
        OverlapSplit(**of, task="heldout", metric="bits_per_byte", value=1.5, within=1.5, **none),
    ]


def make_corpus(folder: Path, *, minute: int = 0) -> None:
    """A corpus folder."""
    storage.write_json(folder / storage.RUN_FILE, record("corpus build", minute=minute, seconds=39.5))
    rows = [FunnelRow(stage=stage, reason=reason, count=count) for stage, reason, count in _FUNNEL]
    storage.write_json(folder / "funnel.json", rows)
    for split, number in (("train", 207), ("heldout", 23)):
        texts = (Document(id=f"d{n}", text=f"Text {n}. {HOSTILE}", url=f"http://a.test/{n}") for n in range(number))
        storage.write_jsonl(folder / f"{split}.jsonl.zst", texts)
    drops = [Drop(id="s1", url="http://a.test/x", stage="links", reason="karma below 3")]
    storage.write_jsonl(folder / "drops.jsonl.zst", drops)


def make_training(folder: Path, name: str, *, minute: int) -> None:
    """A training run without its weights."""
    storage.write_json(folder / storage.RUN_FILE, record("train", minute=minute, seconds=95.0))
    storage.write_jsonl(folder / storage.LOG_FILE, learning(name))


def make_evaluation(folder: Path, name: str, *, minute: int, data: bool = True) -> None:
    """An evaluation."""
    storage.write_json(folder / storage.RUN_FILE, record("evaluate", minute=minute, seconds=21.0))
    storage.write_json(folder / "results.json", scores(name, data=data))
    storage.write_json(folder / "by-overlap.json", splits(name))


def make_samples(folder: Path, name: str, *, minute: int) -> None:
    """A folder of samples."""
    storage.write_json(folder / storage.RUN_FILE, record("generate", minute=minute, seconds=4.0))
    storage.write_jsonl(folder / "samples.jsonl", samples(name))


def make_overlap(folder: Path, *, minute: int) -> None:
    """A measurement of overlap with one copied span."""
    storage.write_json(folder / storage.RUN_FILE, record("overlap", minute=minute, seconds=0.6))
    storage.write_json(folder / "overlap.json", overlaps())
    span = CopiedSpan(
        name="samples 4x192",
        sample=2,
        words=11,
        text="the iterator is exhausted and a default value is not given " + HOSTILE,
        document="d7",
        url="http://a.test/7",
    )
    storage.write_jsonl(folder / "copied.jsonl", [span])


def _losses(mean: float, count: int) -> tuple[DocumentLoss, ...]:
    """Losses of documents that are hard or easy for every size alike."""
    draw = random.Random(count)
    return tuple(
        DocumentLoss(document=f"d{number}", nats=100 * (mean + draw.gauss(0, 0.5)), tokens=100)
        for number in range(count)
    )


def memorization(name: str) -> Memorization:
    """What a model remembers: more, the larger it is."""
    draw, gain = random.Random(name), math.log(SIZES[name] / 152_032, 3)
    texts = [f"real continuation {n} {HOSTILE}" for n in range(10)]
    shares = [
        Overlap(
            name=who,
            against="train",
            documents=10,
            ngrams=1000,
            hits=20,
            share=0.02,
            false_positive_rate=1e-10,
            by_document=[draw.betavariate(0.3, 8) for _ in texts],
        )
        for who in ("real continuations", f"samples {name}")
    ]
    continued = [
        Continued(
            document=f"d{n}",
            url="",
            context=f"Context {n}. {HOSTILE}",
            real=text,
            drawn="drawn",
            real_share=0.1,
            drawn_share=0,
        )
        for n, text in enumerate(texts)
    ]
    recalls = [
        Recall(settings=way, text=f"as {way} {HOSTILE}", words=9, tokens=12, left=True)
        for way in ("greedy, seed 1", "t")
    ]
    passages = [
        Passage(
            documents=count,
            prompt=f"held by {count}",
            following="the text itself",
            document="d1",
            url="http://a.test/1",
            position=4,
            nats_per_token=4 - gain,
            recalls=tuple(recalls),
        )
        for count in (40, 3, 1, 0)
    ]
    return Memorization(
        model=name,
        parameters=SIZES[name],
        protocol="10 held-out documents",
        shares=tuple(shares),
        more_copied=Difference(value=-0.01, low=-0.02, high=-0.001),
        continued=tuple(continued),
        copies=(
            CopiedSpan(name=f"samples {name}", sample=1, words=9, text=HOSTILE, document="d3", url="", position=1234),
        ),
        diversity=(
            Diversity(
                document="d0",
                context=f"Context {HOSTILE}",
                completions=("one", "two"),
                distinct=(0.4, 0.8, 0.9, 1),
                self_bleu=0.1,
            ),
        ),
        passages=tuple(passages),
        gap=Gap(
            train=4 - gain,
            heldout=4.1 - 0.9 * gain,
            low=-0.1,
            high=0.3 + gain / 10,
            train_documents=_losses(4 - gain, 50),
            heldout_documents=_losses(4.1 - 0.9 * gain, 22),
        ),
        seconds=10.0,
    )


def make_memorization(folder: Path, name: str, *, minute: int) -> None:
    """A measurement of memorisation."""
    storage.write_json(folder / storage.RUN_FILE, record("memorize", minute=minute, seconds=60.0))
    storage.write_json(folder / "memorization.json", memorization(name))


def make_demo(folder: Path, *, data: bool = True) -> Path:
    """The whole folder of a demo, but for tokens and weights."""
    storage.write_json(folder / storage.RUN_FILE, record("demo", minute=0, seconds=590.0, words=("--out", str(folder))))
    make_corpus(folder / "corpus")
    for minute, name in enumerate(SIZES, start=2):
        make_training(folder / "models" / name, name, minute=minute)
        make_evaluation(folder / "evaluation" / name, name, minute=minute + 4, data=data)
        make_samples(folder / "samples" / name, name, minute=minute + 4)
        make_memorization(folder / "memorize" / name, name, minute=minute + 5)
    make_overlap(folder / "overlap", minute=11)
    return folder


if __name__ == "__main__":
    make_demo(Path(sys.argv[1]))
