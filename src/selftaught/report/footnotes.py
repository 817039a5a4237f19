"""What stands below a table of scores: what is reached without a model, and by which choices each score was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from selftaught.report.records import Score

_END = "; "
"""Parts of a protocol are parted by it."""


def footnotes(scores: Sequence[Score]) -> Iterator[str]:
    """Lines for all scores: baselines, then protocols, what the metrics of a task share being said once."""
    yield from _baselines(scores)
    models = list(dict.fromkeys(score.model for score in scores))
    for task in dict.fromkeys(score.task for score in scores):
        said = {model: _protocol([one for one in scores if (one.task, one.model) == (task, model)]) for model in models}
        said = {model: lines for model, lines in said.items() if lines}
        if len({*map(tuple, said.values())}) == 1:
            said = {"": next(iter(said.values()))}
        for model, lines in said.items():
            yield f"protocol, {task}{f', {model}' if model else ''}: {lines[0]}".rstrip()
            yield from (f"  {line}" for line in lines[1:])


def _baselines(scores: Sequence[Score]) -> Iterator[str]:
    known = [one for one in scores if one.baseline is not None]
    words = {task: {one.baseline_words for one in known if one.task == task} for task in {one.task for one in known}}
    found: dict[str, dict[str, None]] = {}
    for one in known:
        name = one.task if len(words[one.task]) == 1 else f"{one.task} {one.metric}"
        found.setdefault(one.baseline_words, {})[name] = None
    for what, names in found.items():
        yield f"baseline, {', '.join(names)}: {what}"


def _protocol(scores: Sequence[Score]) -> list[str]:
    """What all of a task's scores share, then of each what it has besides."""
    if not scores:
        return []
    # The cell of a grid is called by its settings, which its protocol says first.
    parts = {one.metric: one.protocol.split(_END)[1 if "(" in one.metric else 0 :] for one in scores}
    whole = [found for metric, found in parts.items() if "(" not in metric]
    shared = [part for part in whole[0] if all(part in found for found in whole)] if whole else []
    rests: dict[str, list[str]] = {}
    for metric, found in parts.items():
        if rest := _END.join(part for part in found if part not in shared):
            rests.setdefault(rest, []).append(metric)
    return [_END.join(shared), *(f"{', '.join(metrics)}: {rest}" for rest, metrics in rests.items())]
