"""What fine-tuning measured, and its tables beside the GPT-1 paper's."""

from __future__ import annotations

from dataclasses import dataclass

FINETUNED_FILE = "finetuned.json"
"""A JSON list of `FineTuned`, in every folder that fine-tuning wrote."""


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """One number of one task under one plan, over all seeds."""

    model: str
    parameters: int
    task: str
    variant: str
    """`full`, `no-auxiliary`, `from-scratch`, `lstm`, `layers-2`..."""
    split: str
    """`dev` chose the epoch; `test`, `mismatched`, `middle`, `high`; `train`: as many of the rows it was trained on."""
    metric: str
    median: float
    lowest: float
    highest: float
    by_seed: tuple[float, ...]
    error: float
    """Standard error of the first seed's value, from the number of items."""
    n: int
    seconds: float
    """All seeds together, measuring included."""
    protocol: str
