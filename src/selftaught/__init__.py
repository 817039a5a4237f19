"""selftaught: the two first GPT papers as one working system, from web pages to zero-shot results.

Importing this package imports none of its rooms (and so no torch): each name below is fetched from its room when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selftaught.checkpoint.native import save
    from selftaught.corpus.building import build_corpus
    from selftaught.evaluation.classification import classify
    from selftaught.evaluation.running import evaluate
    from selftaught.finetuning.running import finetune
    from selftaught.inference.language_model import LanguageModel, load
    from selftaught.model.shape import ModelShape
    from selftaught.overlap.measuring import measure_overlap
    from selftaught.overlap.memorization import measure_memorization
    from selftaught.tokenizer.learning import learn_tokenizer
    from selftaught.tokenizer.tokenizer import Tokenizer
    from selftaught.tokens.packing import pack
    from selftaught.training.plan import TrainingPlan
    from selftaught.training.pretraining import pretrain
    from selftaught.training.recipes import recipes

__version__ = "0.1.0"

__all__ = [
    "LanguageModel",
    "ModelShape",
    "Tokenizer",
    "TrainingPlan",
    "build_corpus",
    "classify",
    "evaluate",
    "finetune",
    "learn_tokenizer",
    "load",
    "measure_memorization",
    "measure_overlap",
    "pack",
    "pretrain",
    "recipes",
    "save",
]

_ROOMS = {
    "LanguageModel": "inference.language_model",
    "ModelShape": "model.shape",
    "Tokenizer": "tokenizer.tokenizer",
    "TrainingPlan": "training.plan",
    "build_corpus": "corpus.building",
    "classify": "evaluation.classification",
    "evaluate": "evaluation.running",
    "finetune": "finetuning.running",
    "learn_tokenizer": "tokenizer.learning",
    "load": "inference.language_model",
    "measure_memorization": "overlap.memorization",
    "measure_overlap": "overlap.measuring",
    "pack": "tokens.packing",
    "pretrain": "training.pretraining",
    "recipes": "training.recipes",
    "save": "checkpoint.native",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'selftaught' has no attribute {name!r}")
    return getattr(importlib.import_module(f"selftaught.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
