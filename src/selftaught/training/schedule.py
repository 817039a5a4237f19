"""The learning rate of each step."""

from __future__ import annotations

import math

from selftaught.training.plan import TrainingPlan


def rate(plan: TrainingPlan, step: int) -> float:
    """Learning rate of a step (0 is the first): a linear rise to the peak, a level, then cosine or linear to the final rate."""
    warmup = min(plan.warmup_steps, plan.steps // 2)
    if step < warmup:
        return plan.peak_rate * (step + 1) / warmup
    after = plan.steps - warmup
    done = max(0.0, step - warmup - after * (1 - plan.decay_share)) / max(1, after * plan.decay_share)
    share = 0.5 * (1 + math.cos(math.pi * done)) if plan.schedule == "cosine" else 1 - done
    return plan.peak_rate * (plan.final_rate + (1 - plan.final_rate) * share)
