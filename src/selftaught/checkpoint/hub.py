"""Models on the Hugging Face hub: fetched when their name is written as `hf://OWNER/NAME[@REVISION]`, never otherwise."""

from __future__ import annotations

import re
from pathlib import Path

from selftaught import console
from selftaught.errors import InputError, MissingExtraError

_NAME = re.compile(r"hf:/{1,2}(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
"""One slash may be missing: a Path has taken it away."""
_WANTED = ("*.safetensors", "*.safetensors.index.json", "config.json", "vocab.json", "merges.txt", "tokenizer.json")


def fetched(name: str) -> Path | None:
    """The folder of a model on the hub, fetched unless it is in the hub's own cache; None for a name that is not of the hub.

    Raises InputError if there is no such model or no way to it, MissingExtraError without huggingface_hub.
    """
    if not name.startswith("hf:/"):
        return None
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise InputError(
            f"{name} is no name of a model on the hub", expected="hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as problem:
        raise MissingExtraError("huggingface_hub", extra="hub") from problem
    console.line(f"fetching {parts['name']} from the Hugging Face hub, unless its cache has it")
    try:
        return Path(snapshot_download(parts["name"], revision=parts["revision"], allow_patterns=list(_WANTED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as problem:
        raise InputError(f"cannot fetch {name}", got=(str(problem).splitlines() or [""])[0]) from problem
