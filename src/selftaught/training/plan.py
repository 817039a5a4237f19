"""Plans of pre-training runs: every setting, and what values it may have. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from selftaught.errors import UsageError
from selftaught.model.shape import ModelShape


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Every setting of a pre-training run. The vocabulary is the token shards' own."""

    layers: int = 4
    """Transformer blocks (GPT-2 paper, table 2: 12 to 48)."""
    heads: int = 4
    """Attention heads in a block; they share its channels out."""
    channels: int = 256
    """Width of the residual stream (GPT-2 paper, table 2: 768 to 1600)."""
    context: int = 256
    """Tokens in a training example (GPT-1 paper, section 4.1: 512; GPT-2 paper, section 2.3: 1024)."""
    norm: Literal["before", "after"] = "before"
    """Layer normalisation before each sub-block (GPT-2 paper, section 2.3) or after it (GPT-1)."""
    dropout: float = 0.0
    """On embeddings, attention and residuals (GPT-1 paper, section 4.1: 0.1; the GPT-2 paper says nothing)."""
    steps: int = 600
    """Optimizer steps; with batch size and context, the number of tokens trained on."""
    batch_size: int = 16
    """Examples in a step (GPT-1 paper, section 4.1: 64; GPT-2 paper, section 2.3: 512)."""
    micro_batch_size: int = field(default=16, metadata={"changeable": True})
    """Examples computed at a time, less memory the fewer; the step is the same but for rounding and the places of dropout."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: Muon for the matrices of the blocks (Jordan et al. 2024, scaled as in Liu et al. 2025), AdamW for the rest."""
    momentum: float = 0.95
    """Share of the gradients' running mean that Muon keeps at each step."""
    embedding_rate: float = 1.0
    """Learning rate of the embeddings, as a multiple of that of the matrices."""
    gain_rate: float = 1.0
    """Learning rate of gains and biases, as a multiple of that of the matrices."""
    peak_rate: float = 3e-3
    """Highest learning rate (GPT-1 paper, section 4.1: 2.5e-4; GPT-2 paper, section 3: tuned for each size)."""
    warmup_steps: int = 50
    """Steps over which the rate rises from zero (GPT-1 paper, section 4.1: 2000); at most half of all steps."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the rate falls after the warm-up (GPT-1 paper, section 4.1: cosine)."""
    decay_share: float = 1.0
    """Share of the steps after the warm-up over which the rate falls; before, it stays at its peak (warm-up, stable, decay)."""
    final_rate: float = 0.0
    """Last learning rate, as a share of the highest (GPT-1 paper, section 4.1: 0)."""
    weight_decay: float = 0.1
    """Of matrices and embeddings, none on biases and gains (GPT-1 paper, section 4.1: 0.01)."""
    beta1: float = 0.9
    """Share of the gradients' running mean that AdamW keeps at each step."""
    beta2: float = 0.95
    """Share of the squared gradients' running mean that AdamW keeps at each step."""
    clip: float = 1.0
    """Largest norm of the gradient; a longer one is scaled down to it."""
    spike_deviations: float = 6.0
    """A loss so many standard deviations above the mean of the last 50 is reported as a spike; 0 looks for none."""
    skip_spikes: bool = False
    """Leave out steps whose loss is a spike or no number, instead of only reporting the first and stopping at the second."""
    attention: Literal["window", "documents"] = "window"
    """What a token sees of its row, which may hold several documents: all before it (as the papers do), or its own document."""
    mix: tuple[str, ...] = ()
    """Further folders of token shards with their shares of the examples, FOLDER=SHARE; --tokens has the rest."""
    seed: int = 1
    """Seed of weights, order of examples and dropout."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Format of matrix products; auto is bfloat16 where the machine has it. Weights and losses are float32 always."""
    parallel: Literal["ddp", "fsdp", "hsdp"] = field(default="ddp", metadata={"changeable": True})
    """Under torchrun: ddp keeps all weights in every process, fsdp (FSDP2) a share in each, for networks too large for one; hsdp
    shares them out in groups of processes, such as those of a machine, for networks over which a cluster is too slow."""
    shard_processes: int = field(default=0, metadata={"changeable": True})
    """Processes that hold the weights between them under hsdp; 0: those of one machine."""
    activation_checkpointing: bool = field(default=False, metadata={"changeable": True})
    """Keep only what comes into each block and compute the rest again on the way back: less memory, a third more to compute."""
    compile: bool = field(default=False, metadata={"changeable": True})
    """Let torch.compile write the kernels of the blocks: for GPUs; slower where our own kernels run (docs/train.md)."""
    threads: int = field(default=0, metadata={"changeable": True})
    """Threads of a process; 0: what the run began with, or for a new one what is fastest in trial steps (one process only)."""
    evaluate_every: int = field(default=100, metadata={"changeable": True})
    """Steps between measurements on held-out text."""
    evaluate_tokens: int = field(default=16384, metadata={"changeable": True})
    """Held-out tokens of such a measurement, spread over all of the held-out text, the same ones each time."""
    log_every: int = field(default=10, metadata={"changeable": True})
    """Steps between rows of log.jsonl."""
    checkpoint_seconds: float = field(default=60.0, metadata={"changeable": True})
    """Time between checkpoints; a power cut loses at most this much."""
    keep_every: int = field(default=0, metadata={"changeable": True})
    """Steps between checkpoints that are kept for good, besides; 0 keeps none."""
    keep_best: bool = field(default=False, metadata={"changeable": True})
    """Keep the checkpoint with the lowest loss on held-out text, too; its training.json says which it is."""
    checkpoints_kept: int = field(default=2, metadata={"changeable": True})
    """Checkpoints on the disk; more than one, so that a damaged newest does not cost the run."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have. What depends on several of them is refused by `shape`."""
        for names, holds, expected in _RULES:
            for name in names:
                if not holds(getattr(self, name)):
                    raise _refusal(name, expected, getattr(self, name))

    def shares(self) -> dict[str, float]:
        """Folder -> share of the examples, of the further folders. Raises UsageError for what is no share."""
        found: dict[str, float] = {}
        for words in self.mix:
            folder, _, share = words.rpartition("=")
            try:
                found[folder] = float(share)
            except ValueError:
                found[folder] = math.nan
            if not folder or not 0 < found[folder] < 1:
                raise UsageError("--mix needs folders with shares", expected="FOLDER=0.25", got=words)
        if sum(found.values()) >= 1:
            raise UsageError("--mix leaves nothing for --tokens", expected="shares that add up to less than 1")
        return found

    def shape(self, vocabulary: int) -> ModelShape:
        """The network's shape for a vocabulary. Raises UsageError if channels cannot be shared out among the heads."""
        return ModelShape(
            layers=self.layers,
            heads=self.heads,
            channels=self.channels,
            context=self.context,
            vocabulary=vocabulary,
            norm=self.norm,
            dropout=self.dropout,
        )

    @property
    def step_tokens(self) -> int:
        """Tokens trained on in one step."""
        return self.batch_size * self.context

    @property
    def tokens(self) -> int:
        """Tokens trained on in all."""
        return self.steps * self.step_tokens


_COUNTS = (
    *("layers", "heads", "channels", "context", "steps", "batch_size", "micro_batch_size"),
    *("evaluate_every", "evaluate_tokens", "log_every", "checkpoints_kept"),
)


_RULES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (_COUNTS, lambda value: value >= 1, "at least 1"),
    (("peak_rate", "clip", "embedding_rate", "gain_rate"), lambda value: 0 < value < math.inf, "more than 0"),
    (("dropout", "momentum", "beta1", "beta2"), lambda value: 0 <= value < 1, "0 or more and less than 1"),
    (
        (
            "warmup_steps",
            "weight_decay",
            "checkpoint_seconds",
            "spike_deviations",
            "keep_every",
            "shard_processes",
            "threads",
        ),
        lambda value: 0 <= value < math.inf,
        "0 or more",
    ),
    (("final_rate",), lambda value: 0 <= value <= 1, "0 to 1"),
    (("decay_share",), lambda value: 0 < value <= 1, "more than 0 and at most 1"),
)


def _refusal(name: str, expected: str, got: float) -> UsageError:
    return UsageError(f"--{name.replace('_', '-')} is out of range", expected=expected, got=f"{got:g}")
