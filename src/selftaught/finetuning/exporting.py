"""Fine-tuned models for transformers: `GPT2ForSequenceClassification`, or OpenAIGPT's, computes what ours does.

Their output layer has no bias. It follows the last layer normalisation, whose own bias can take it up: with W the output layer's
matrix and c its bias, W (h + d) = W h + c for d = pinv(W) c, exactly where W has full rank.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch

from selftaught import storage
from selftaught.checkpoint import huggingface, native
from selftaught.checkpoint.huggingface_config import CONFIG_FILE
from selftaught.errors import MismatchError
from selftaught.finetuning.heads import Classifier
from selftaught.finetuning.inputs import SPECIAL_TOKENS, Specials
from selftaught.finetuning.saving import Finetuned
from selftaught.model.transformer import Transformer
from selftaught.tokenizer.files import END_OF_TEXT

_README, _GENERATION = "README.md", "generation_config.json"
_TOLERANCE = 1e-4
_CLASSES = {"before": "GPT2ForSequenceClassification", "after": "OpenAIGPTForSequenceClassification"}
_CARD = """---
library_name: transformers
pipeline_tag: text-classification
---
# {name}, fine-tuned on {task}

Written by selftaught. A row is `<|start|>` text `<|extract|>`, or `<|start|>` one text `<|delimiter|>` the other `<|extract|>`,
of at most {context} tokens, without blanks around the special tokens. {more}
"""
_MORE = {
    "classification": "",
    "entailment": "",
    "similarity": "Add the outputs of both orders of a pair.",
    "choice": "There is one output a row: the answer whose row has the largest is chosen.",
}


def export(found: Finetuned, folder: Path) -> None:
    """Write a folder that `AutoModelForSequenceClassification` and `AutoTokenizer` of transformers read.

    Raises MismatchError for an LSTM, for which they have no class, and for an output layer whose bias cannot be taken up.
    """
    network = found.model.network
    if not isinstance(network, Transformer):
        raise MismatchError("transformers has no class for this classifier", expected="a Transformer", got="an LSTM")
    taken_up = _with_bias_in_norm(found.model, network)
    huggingface.save(taken_up, found.tokenizer, folder)
    tensors = native.read_tensors(folder / huggingface.WEIGHTS_FILE)
    tensors.pop("lm_head.weight", None)
    tensors["score.weight"] = found.model.output.weight.detach().clone().cpu()
    _write_tensors(folder / huggingface.WEIGHTS_FILE, tensors)
    _name_tokens(folder, found.description.specials)
    about = found.description
    config = storage.read_json(folder / CONFIG_FILE, dict[str, Any])
    storage.write_json(folder / CONFIG_FILE, config | _as_classifier(found, network))
    (folder / _GENERATION).unlink(missing_ok=True)
    card = _CARD.format(name=about.name, task=about.task, context=about.context, more=_MORE[about.head.kind])
    storage.write_text(folder / _README, card.rstrip() + "\n")


def _with_bias_in_norm(model: Classifier, network: Transformer) -> Transformer:
    """The network with its last bias moved so that the output layer needs none. Similarity adds two rows: each takes half."""
    moved = copy.deepcopy(network)
    weight, bias = model.output.weight.detach().double(), model.output.bias.detach().double()
    share = bias / 2 if model.shape.kind == "similarity" else bias
    shift = torch.linalg.pinv(weight) @ share
    if (weight @ shift - share).abs().max() > _TOLERANCE:
        raise MismatchError("the output layer's bias has no place in transformers' class", got="a matrix of lower rank")
    last = "norm" if network.shape.norm == "before" else f"blocks.{network.shape.layers - 1}.feed_norm"
    with torch.no_grad():
        moved.get_parameter(f"{last}.bias").add_(shift.float())
    return moved


def _as_classifier(found: Finetuned, network: Transformer) -> dict[str, Any]:
    head = found.description.head
    names = head.labels or tuple(f"{number}" for number in range(head.outputs))
    more = {"problem_type": "regression"} if head.answer == "score" else {}
    return more | {
        "architectures": [_CLASSES[network.shape.norm]],
        "num_labels": head.outputs,
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        # Their class reads the last token that is no padding; no row holds this one.
        "pad_token_id": found.tokenizer.end_of_text,
    }


def _name_tokens(folder: Path, specials: Specials) -> None:
    """Give the three tokens their names in every file of the tokenizer."""
    ids = dict(zip(SPECIAL_TOKENS, (specials.start, specials.delimiter, specials.extract), strict=True))
    for name in ("vocab.json", "tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        document = storage.read_json(path, dict[str, Any])
        if name == "vocab.json":
            document |= ids
        elif name == "tokenizer.json":
            flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": True}
            known = document.get("added_tokens") or []
            document["added_tokens"] = [*known, *({"id": i, "content": token, **flags} for token, i in ids.items())]
            document["model"]["vocab"] |= ids
        else:
            document |= {"additional_special_tokens": list(ids), "pad_token": END_OF_TEXT}
        storage.write_text(path, json.dumps(document))


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    import safetensors.torch

    storage.write_bytes(path, safetensors.torch.save(tensors, metadata={"format": "pt"}))
