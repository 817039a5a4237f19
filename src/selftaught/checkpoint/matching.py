"""Fitting another tool's tensors into our network: names, layouts, and all that does not fit said at once."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from selftaught import console, storage
from selftaught.errors import InputError
from selftaught.model.initial import without_values
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer

_SHOWN = 8
"""Problems that a message names; of more it gives the number."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a tensor of ours lies in another tool's file."""

    name: str
    turned: bool = False
    """Whether it is stored with inputs as rows, as Hugging Face's Conv1D and OpenAI's code do."""


MATRICES = {
    "attention.query_key_value": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feed.inner": "mlp.c_fc",
    "feed.outer": "mlp.c_proj",
}
"""Our name of a block's matrix -> the name that OpenAI gave it, and Hugging Face, nanoGPT and llm.c took over."""
NORMS = {"attention_norm": "ln_1", "feed_norm": "ln_2"}


def fit(
    shape: ModelShape,
    places: Mapping[str, Place],
    tensors: Mapping[str, torch.Tensor],
    *,
    origin: Path,
    spare: Callable[[str], bool] = lambda _name: False,
    as_stored: bool = False,
) -> Transformer:
    """A network in float32 with the tensors that lie in `places` (our name -> theirs), ready to use.

    Those `as_stored` keep their number format and, where they are turned, the order of their numbers: nothing of them is read.

    Raises InputError that names every tensor that is missing or has another shape; warns of those left over, `spare` excepted.
    """
    with without_values():
        model = Transformer(shape)
    state, problems = {}, []
    wanted = {places[name].name for name in model.state_dict()}
    extra = [name for name in tensors if name not in wanted and not spare(name)]
    for name, like in model.state_dict().items():
        place = places[name]
        if place.name not in tensors:
            near = get_close_matches(place.name, extra, n=1)
            problems.append(f"{place.name} is missing" + (f" (there is {near[0]})" if near else ""))
            continue
        tensor = tensors[place.name]
        tensor = tensor.T if place.turned and tensor.dim() == 2 else tensor
        if tensor.shape != like.shape:
            problems.append(f"{place.name} is {_size(tensor, place)} where {_size(like, place)} was expected")
            continue
        state[name] = tensor if as_stored else tensor.to(torch.float32).contiguous()
    if problems:
        raise InputError(f"the weights in {origin} do not fit its description", got=_said(problems, extra))
    if extra:
        console.warn(f"{origin} holds tensors that are no part of this network: {', '.join(extra[:_SHOWN])}")
    model.load_state_dict(state, assign=True)
    return model.requires_grad_().eval()


def _size(tensor: torch.Tensor, place: Place) -> str:
    sides = tensor.shape[::-1] if place.turned else tensor.shape
    return " x ".join(map(str, sides))


def _said(problems: list[str], extra: list[str]) -> str:
    shown = "; ".join(problems[:_SHOWN]) + (f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else "")
    return shown + (f"; left over: {', '.join(extra[:_SHOWN])}" if extra else "")


def read_pickled(path: Path) -> dict[Any, Any]:
    """A dictionary out of a file of `torch.save`, by the loader that builds tensors and plain values and runs nothing.

    Raises InputError for anything else, a file that would run code included.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as problem:
        raise storage.input_error(path, problem) from problem
    except pickle.UnpicklingError as problem:
        # torch's own words advise to run the file's code.
        raise _no_tensors(
            path, "something else than tensors, numbers and names, which is not run, or damage"
        ) from problem
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError) as problem:
        raise _no_tensors(path, "a file that is damaged or cut short") from problem
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no tensors by name", got=type(found).__name__)
    return found


def _no_tensors(path: Path, got: str) -> InputError:
    return InputError(f"{path} cannot be read as plain tensors", expected="what torch.save wrote of them", got=got)
