"""Texts that are longer than a model's context, cut so that what stands around them stays whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from selftaught.errors import UsageError
from selftaught.inference.language_model import LanguageModel

Keep: TypeAlias = Literal["beginning", "end"]


def fit(
    model: LanguageModel, parts: tuple[str, str, str], continuations: Sequence[str], *, keep: Keep = "beginning"
) -> str:
    """As much of the middle one of three parts as the model can see together with the others and each of the continuations.

    It is cut at a blank where it has one. Raises UsageError where nothing but the other parts fits.
    """
    before, text, after = parts
    while (excess := _excess(model, before + text + after, continuations)) > 0:
        ids = model.tokenizer.encode(text)
        if not ids:
            raise UsageError(
                "the template and its longest label leave no room for text",
                expected=f"at most {model.context} tokens",
                got=str(model.context + excess),
            )
        # Cut text is encoded anew, so more than these may be too many still.
        kept = ids[: max(0, len(ids) - excess)] if keep == "beginning" else ids[excess:]
        text = _at_blank(model.tokenizer.decode(kept), keep)
    return text


def _excess(model: LanguageModel, prompt: str, continuations: Sequence[str]) -> int:
    """How many tokens of prompt and longest continuation do not fit; not more than 0 if all do."""
    room = model.context + 1
    prompt_ids, trailing = model.encode_pair(prompt, "")
    most = max(len(one.encode("utf-8", "replace")) for one in continuations)
    if len(prompt_ids) + len(trailing) + most <= room:  # no text has more tokens than bytes
        return 0
    pairs = [model.encode_pair(prompt, one) for one in continuations]
    return max(len(context) + len(continuation) for context, continuation in pairs) - room


def _at_blank(text: str, keep: Keep) -> str:
    """Without the word, or the half character, that was cut in two."""
    bare = text.strip("\N{REPLACEMENT CHARACTER}")
    if keep == "beginning":
        return bare.rpartition(" ")[0] or bare
    return bare.partition(" ")[2] or bare
