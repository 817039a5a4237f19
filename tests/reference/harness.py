"""What lm-evaluation-harness itself computes on local files, run in a process of its own: `python harness.py MODEL DATA`.

MODEL is a Hugging Face folder, DATA holds lambada.jsonl {text}, pages.jsonl {page} and schemas.jsonl {text, pronoun,
pronoun_loc, options, label}. Its own task definitions are used, except that they read these files.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

FILES = {"lambada_openai": "lambada.jsonl", "wikitext": "pages.jsonl", "wsc273": "schemas.jsonl"}
DEFINITIONS = {
    "lambada_openai": "lambada/lambada_openai.yaml",
    "wikitext": "wikitext/wikitext.yaml",
    "wsc273": "wsc273/default.yaml",
}


def task(name: str, tasks: Path, data: Path) -> dict[str, Any]:
    """The harness's definition of a task, with its data on this disk."""
    from lm_eval.tasks._yaml_loader import load_yaml

    config: dict[str, Any] = load_yaml(tasks / DEFINITIONS[name])
    for key in ("dataset_name", "training_split", "validation_split", "tag"):
        config.pop(key, None)
    config["dataset_kwargs"] = {"data_files": {"test": str(data / FILES[name])}}
    return {**config, "task": name, "dataset_path": "json", "test_split": "test"}


def main() -> None:
    """Print the scores as one JSON document."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    logging.disable(logging.WARNING)
    model, data = sys.argv[1], Path(sys.argv[2])
    tasks = Path(lm_eval.__file__).parent / "tasks"
    harness = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=4)
    found = lm_eval.simple_evaluate(model=harness, tasks=[task(name, tasks, data) for name in FILES], bootstrap_iters=0)
    sys.stdout.write(f"\n{json.dumps(found['results'])}\n")


if __name__ == "__main__":
    main()
