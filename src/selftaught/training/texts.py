"""What a run learns from and is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selftaught import compute
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.tokens.batches import Batches, Mixture
from selftaught.tokens.selection import Tokens, divide
from selftaught.tokens.shards import Shards, open_shards
from selftaught.training import checkpoints
from selftaught.training.heldout import Heldout
from selftaught.training.plan import TrainingPlan


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The shards of a run, and what its plan makes of them."""

    train: Shards
    tokenizer: Tokenizer
    batches: Batches | Mixture
    heldout: Heldout


def open_texts(plan: TrainingPlan, tokens: Path, hold_out: float) -> Texts:
    """Open a TOKENS folder; with `hold_out`, that share of the training documents is measured on, and not learned from.

    Raises InputError or DamagedFileError for shards that are none, MismatchError for a tokenizer that is not theirs.
    """
    train, tokenizer = open_shards(tokens, "train"), Tokenizer.load(tokens)
    checkpoints.require_same_tokenizer(tokenizer, train)
    learned, measured = divide(train, hold_out, plan.seed) if hold_out else (train, open_shards(tokens, "heldout"))
    return Texts(
        train=train,
        tokenizer=tokenizer,
        batches=_batches(plan, learned, tokenizer),
        heldout=Heldout(measured, context=plan.context, tokens=plan.evaluate_tokens, rows=plan.micro_batch_size),
    )


def _batches(plan: TrainingPlan, learned: Tokens, tokenizer: Tokenizer) -> Batches | Mixture:
    """Batches of the training text, or of a mixture of it with others, which must have the same tokenizer."""
    size = {"batch_size": plan.batch_size, "context": plan.context}
    own, shares = Batches(learned, seed=plan.seed, **size), plan.shares()
    if not shares:
        return own
    corpora = [(own, 1 - sum(shares.values()))]
    for number, (folder, share) in enumerate(shares.items(), start=1):
        other = open_shards(folder, "train")
        checkpoints.require_same_tokenizer(tokenizer, other)
        corpora.append((Batches(other, seed=compute.seed_of("mix", plan.seed, number), **size), share))
    return Mixture(corpora, seed=plan.seed, batch_size=plan.batch_size)
