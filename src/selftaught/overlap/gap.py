"""Training against held-out text (GPT-2 paper, figure 4): the distance of the two losses and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selftaught import console
from selftaught.corpus import documents
from selftaught.errors import InputError
from selftaught.overlap import bootstrap
from selftaught.overlap.drawing import Answers
from selftaught.report.overlap_records import DocumentLoss, Gap
from selftaught.tasks import modelling
from selftaught.tasks.examples import Text

STRETCH_CHARACTERS = 4000
"""Of one document at most so much is read, so that the same amount of text comes from more documents."""


def measure(answers: Answers, corpus: Path, *, most_bytes: int, seed: int) -> Gap:
    """Nats per token on beginnings of documents, up to `most_bytes` of each side, in an order drawn by the seed."""
    train, heldout = (_losses(answers, split, _texts(corpus, split, most_bytes, seed)) for split in documents.SPLITS)
    low, high = bootstrap.ratio_difference(_columns(heldout), _columns(train), seed=seed)
    return Gap(
        train=_per_token(train),
        heldout=_per_token(heldout),
        low=low,
        high=high,
        train_documents=train,
        heldout_documents=heldout,
    )


def _columns(losses: Sequence[DocumentLoss]) -> tuple[list[float], list[float]]:
    return [one.nats for one in losses], [float(one.tokens) for one in losses]


def _per_token(losses: Sequence[DocumentLoss]) -> float:
    return sum(one.nats for one in losses) / sum(one.tokens for one in losses)


def _texts(corpus: Path, split: str, most_bytes: int, seed: int) -> list[Text]:
    rows = ((row.id, row.text[:STRETCH_CHARACTERS]) for row in documents.read(corpus, split) if row.text.strip())
    chosen = modelling.choose_texts(rows, most_bytes=most_bytes, seed=seed)
    if not chosen:
        raise InputError(f"{corpus} has no {split} text", hint="Hold out more of it, or give it more text.")
    return chosen


def _losses(answers: Answers, split: str, texts: Sequence[Text]) -> tuple[DocumentLoss, ...]:
    losses = []
    with console.progress(f"{split}: perplexity", len(texts), unit="documents") as bar:
        for text in texts:
            answer = answers.document_loss(text.text)
            losses.append(DocumentLoss(document=text.id, nats=answer.nats, tokens=answer.tokens))
            bar.advance()
    return tuple(losses)
