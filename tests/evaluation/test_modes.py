"""Modes and readings of the data sets: `harness` against lm-evaluation-harness, `raw`, and the grid."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from selftaught import compute, storage
from selftaught.checkpoint import huggingface
from selftaught.cli import evaluate as cli
from selftaught.evaluation.protocols import MODES, EvaluateSettings
from selftaught.evaluation.running import evaluate
from selftaught.inference.language_model import LanguageModel
from selftaught.model.initial import initialise
from selftaught.model.loss import loss_sum
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.report.records import Score
from selftaught.tasks import detokenizers, modelling, winograd
from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer
from tests.reference import harness
from tests.reference.scoring import score

LINES = """
= Anna =

Anna sold 5 @,@ 000 kettles ( in all ) , and " many " of Peter 's well @-@ known lanterns .
She was , as he said , the best ; and so on .

= = Life = =

She lived at 7 ° north , in the house of the Smiths ' .

= Peter =

Peter carried letters , ribbons and baskets across the garden .

"""
RAW = "".join(f" {line} \n" if line else " \n" for line in LINES.splitlines())
SCHEMAS: list[dict[str, Any]] = [
    {
        "id": "1",
        "prefix": "Anna thanked Peter because",
        "pronoun": "she",
        "suffix": "had been helped.",
        "candidates": ["Anna", "Peter"],
        "candidates_raw": ["Anna", "Peter"],
        "label": 0,
    },
    {
        "id": "2",
        "prefix": "The garden was near the market.",
        "pronoun": "Its",
        "suffix": "gate was old.",
        "candidates": ["The garden", "The market"],
        "candidates_raw": ["The garden", "The market"],
        "label": 0,
    },
    {
        "id": "3",
        "prefix": "Anna took",
        "pronoun": "her",
        "suffix": "basket.",
        "candidates": ["Anna's", "the girl's"],
        "candidates_raw": ["Anna", "The girl"],
        "label": 0,
    },
]
PASSAGES = ["Anna sold the kettles to Peter and then Anna", "“ He is here, ” said Clara.\nPeter carried the basket"]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    tokenizer = learn_tokenizer([RAW * 9], vocabulary_size=300)
    network = Transformer(ModelShape(layers=2, heads=2, channels=16, context=40, vocabulary=300))
    initialise(network, compute.generator("modes"))
    return LanguageModel(network, tokenizer, name="tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    storage.write_jsonl(folder / "lambada" / "lambada_test.jsonl", [{"text": text} for text in PASSAGES])
    storage.write_text(folder / "wikitext2" / "wiki.test.raw", RAW)
    storage.write_text(folder / "wikitext2" / "wiki.test.tokens", RAW.replace("lanterns", "<unk>"))
    rows = [
        {**row, "sentences": [f"{row['prefix']} {name} {row['suffix']}" for name in row["candidates"]]}
        for row in SCHEMAS
    ]
    storage.write_jsonl(folder / "winograd" / "wsc273.jsonl", rows)
    return folder


def scored(lm: LanguageModel, task: str, data: Path, out: Path, rules: EvaluateSettings) -> dict[str, Score]:
    return {one.metric: one for one in evaluate(lm, task, data=data, out=out, settings=rules)}


def pages() -> list[str]:
    return ["\n".join(lines) for lines in modelling.articles(RAW.split("\n"))]


def harness_nats(lm: LanguageModel, text: str) -> float:
    """Disjoint windows, the last one filled from before; each token by itself, after <|endoftext|>."""
    ids = lm.tokenizer.encode(text)
    total = 0.0
    for first in range(0, len(ids), lm.context):
        end = min(first + lm.context, len(ids))
        start = max(0, end - lm.context)
        before = [lm.tokenizer.end_of_text if start == 0 else ids[start - 1], *ids[start:first]]
        total -= sum(value for value, _ in score(lm.model, before, ids[first:end]))
    return total


def test_wikitext_as_the_harness_counts(lm: LanguageModel, data: Path, tmp_path: Path) -> None:
    found = scored(lm, "wikitext2", data, tmp_path, MODES["harness"])
    nats = sum(harness_nats(lm, detokenizers.megatron(page)) for page in pages())
    words = sum(len(re.split(r"\s+", page)) for page in pages())
    size = sum(len(page.encode()) for page in pages())
    assert found["perplexity"].value == pytest.approx(math.exp(nats / words), rel=1e-4)
    assert found["bits_per_byte"].value == pytest.approx(nats / math.log(2) / size, rel=1e-4)


def test_articles_begin_at_titles_of_one_sign() -> None:
    first, second = pages()
    assert first.startswith(" = Anna = \n \n Anna sold")
    assert first.endswith(" Smiths ' . \n ")
    assert second.startswith(" = Peter = \n")
    assert second.endswith("garden . \n \n")


def test_real_wikitext_has_62_articles(shared_data: Path) -> None:
    """241,335 pieces and 1,290,527 bytes are what the figures that others publish for GPT-2 small imply."""
    path = shared_data / "zeroshot" / modelling.WIKITEXT2_FILE
    found = modelling.read_wikitext(path, MODES["harness"].reading)
    assert len(found.texts) == 62
    assert (sum(text.units for text in found.texts), found.size) == (241_335, 1_290_527)
    nats = 241_335 * math.log(37.3698)
    assert nats / math.log(2) / found.size == pytest.approx(0.9769, abs=2e-4)


def test_schemas_as_the_harness_asks(data: Path) -> None:
    found = winograd.read_schemas(data / winograd.WSC273_FILE, "partial", "harness")
    assert [one.contexts[1] for one in found] == [
        "Anna thanked Peter because Peter", "The garden was near the market. The market", "Anna took the girl's"
    ]  # fmt: skip
    assert [one.continuations[0] for one in found] == ["  had been helped.", "  gate was old.", "  basket."]


def test_raw_text_by_tokens(lm: LanguageModel, data: Path, tmp_path: Path) -> None:
    found = scored(lm, "wikitext2", data, tmp_path, MODES["raw"])
    (one,) = lm.document_log_probs([RAW])
    assert found["perplexity"].value == pytest.approx(math.exp(-one.total / len(one.by_token)), rel=1e-5)
    assert found["perplexity"].baseline is None
    assert "raw" in found["perplexity"].protocol


def test_the_mode_is_where_settings_begin(lm: LanguageModel, data: Path, tmp_path: Path) -> None:
    huggingface.save(lm.model, lm.tokenizer, tmp_path / "model")
    words = [str(tmp_path / "model"), "lambada", "--data", str(data), "--out", str(tmp_path / "o")]
    cli.run([*words, "--mode", "harness", "--word-beams", "2"])
    plan = json.loads((tmp_path / "o" / "plan.json").read_text(encoding="utf-8"))
    assert (plan["clean_lambada"], plan["word_beams"], plan["detokeniser"]) == (False, 2, "megatron")


def train(network: Transformer, tokenizer: Tokenizer, steps: int) -> None:
    """Some steps on the text of the tests."""
    ids_BT = torch.tensor(tokenizer.encode(RAW))[: network.shape.context + 1][None]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    first = last = 0.0
    for _ in range(steps):
        loss = loss_sum(network, ids_BT[:, :-1], ids_BT[:, 1:])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        first, last = first or loss.item(), loss.item()
    assert not steps or last < first / 2


@pytest.mark.parametrize(("layers", "steps"), [(1, 0), (3, 0), (2, 60)])
def test_parity_with_the_harness(layers: int, steps: int, data: Path, tmp_path: Path) -> None:
    """The numbers that lm-evaluation-harness itself computes from the same files, to 1e-3, of random and trained weights."""
    missing = [name for name in ("lm_eval", "datasets") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}: pip install lm_eval")
    tokenizer = learn_tokenizer([RAW * 9], vocabulary_size=300)
    network = Transformer(ModelShape(layers=layers, heads=2, channels=32, context=64, vocabulary=300))
    initialise(network, compute.generator("parity", layers))
    train(network, tokenizer, steps)
    huggingface.save(network, tokenizer, tmp_path / "model")
    storage.write_jsonl(tmp_path / "lambada.jsonl", [{"text": text} for text in PASSAGES])
    storage.write_jsonl(tmp_path / "pages.jsonl", [{"page": page} for page in pages()])
    rows = [
        {
            "text": f"{row['prefix']} {row['pronoun']} {row['suffix']}",
            "pronoun": row["pronoun"],
            "pronoun_loc": len(row["prefix"]) + 1,
            "options": row["candidates_raw"],
            "label": row["label"],
        }
        for row in SCHEMAS
    ]
    storage.write_jsonl(tmp_path / "schemas.jsonl", rows)
    command = [sys.executable, str(Path(harness.__file__)), str(tmp_path / "model"), str(tmp_path)]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=offline)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    scores = evaluate(
        tmp_path / "model",
        ["lambada", "wikitext2", "winograd"],
        data=data,
        out=tmp_path / "o",
        settings=MODES["harness"],
    )
    ours = {(score.task, score.metric): score.value for score in scores}
    for key, task, metric in (
        (("lambada", "perplexity"), "lambada_openai", "perplexity"),
        (("lambada", "accuracy"), "lambada_openai", "acc"),
        (("wikitext2", "perplexity"), "wikitext", "word_perplexity"),
        (("wikitext2", "bits_per_byte"), "wikitext", "bits_per_byte"),
        (("winograd", "accuracy"), "wsc273", "acc"),
    ):
        assert ours[key] == pytest.approx(theirs[task][f"{metric},none"], rel=1e-3)


def test_the_grid_holds_every_way_and_tells_the_nearest(lm: LanguageModel, data: Path, tmp_path: Path) -> None:
    found = scored(lm, "wikitext2", data, tmp_path / "o", EvaluateSettings(grid=True, stride=0))
    cells = {metric: one for metric, one in found.items() if metric.startswith("perplexity (")}
    assert len(cells) == 3 * 2 * 2 * 2  # de-tokenisers, <unk>, strides 32 and the whole context of 40, units
    assert sum("nearest to the paper" in one.protocol for one in cells.values()) == 1
    same = cells["perplexity (invertible, <unk> keep, stride none, words-and-ends)"]
    assert same.value == pytest.approx(found["perplexity"].value, rel=1e-6)
    assert (same.error, same.n) == (pytest.approx(found["perplexity"].error, rel=1e-6), found["perplexity"].n)
    other = EvaluateSettings(stride=32, detokeniser="none", unknown="replace", units="words")
    alone = scored(lm, "wikitext2", data, tmp_path / "alone", other)["perplexity"]
    assert cells["perplexity (none, <unk> replace, stride 32, words)"].value == pytest.approx(alone.value, rel=1e-6)
    table = [json.loads(line) for line in (tmp_path / "o" / "grid-wikitext2.jsonl").read_text().splitlines()]
    assert len(table) == 12
