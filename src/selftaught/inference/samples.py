"""Continuations of many prompts, several side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from selftaught import compute
from selftaught.inference import beam, generation, writing
from selftaught.inference.generation import Drawn, Request
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.rules import SamplingSettings
from selftaught.report.records import Sample


def samples(
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    count: int = 1,
    max_new_tokens: int = 200,
    sampling: SamplingSettings | None = None,
    seed: int = 1,
    stop: Sequence[str] = (),
    top: int = 0,
    together: int = 8,
    advance: Callable[[float], None] | None = None,
) -> list[Sample]:
    """Continue each prompt `count` times, sample n with the seed `seed` + n, up to `together` texts side by side; in order.

    Each text is the one that `LanguageModel.sample` draws alone, up to a stop string. With `top`, pieces are `writing.Choice`
    with so many alternatives. `advance(1)` is called when a text is done.
    """
    rules, end = sampling or SamplingSettings(), model.tokenizer.end_of_text
    asked = [(prompt, seed + number) for prompt in prompts for number in range(count)]
    requests = [
        Request(
            prompt=model.tokenizer.encode(prompt) or [end],
            rules=rules,
            seed=number,
            most=max_new_tokens,
            end=end,
            top=top,
            ended=writing.Ending(model.tokenizer, stop),
        )
        for prompt, number in asked
    ]
    texts: list[list[Drawn]] = [[] for _ in asked]
    for number, drawn, last in _drawn(model, requests, together):
        if drawn.token != end:
            texts[number].append(drawn)
        if last and advance is not None:
            advance(1)
    return [
        writing.sample(
            writing.cut(writing.pieces(model.tokenizer, text), stop),
            model=model.name,
            parameters=model.parameters,
            prompt=prompt,
            settings=f"{rules.words()}, seed {number}",
        )
        for text, (prompt, number) in zip(texts, asked, strict=True)
    ]


def searched(
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    beams: int,
    count: int = 1,
    max_new_tokens: int = 200,
    stop: Sequence[str] = (),
    advance: Callable[[float], None] | None = None,
) -> list[Sample]:
    """The best `count` continuations of each prompt that a search with beams finds (see `inference.beam`).

    A prompt keeps its last tokens, and a text is cut short, so that both fit into the context together. Pieces have the
    probabilities that the model gives them.
    """
    end, room = model.tokenizer.end_of_text, model.context
    found: list[Sample] = []
    for prompt in prompts:
        ids = (model.tokenizer.encode(prompt) or [end])[-max(1, room - max_new_tokens + 1) :]
        most = min(max_new_tokens, room + 1 - len(ids))
        texts = beam.search(
            model.decoder, ids, beams=beams, most=most, end=end, vocabulary=model.tokenizer.vocabulary_size
        )
        for rank, text in enumerate(texts[:count], start=1):
            drawn = _described(model, ids, [token for token in text.tokens if token != end])
            found.append(
                writing.sample(
                    writing.cut(writing.pieces(model.tokenizer, drawn), stop),
                    model=model.name,
                    parameters=model.parameters,
                    prompt=prompt,
                    settings=f"{beams} beams, number {rank}",
                )
            )
            if advance is not None:
                advance(1)
    return found


def _described(model: LanguageModel, prompt: Sequence[int], tokens: Sequence[int]) -> list[Drawn]:
    if not tokens:
        return []
    decoder, size = model.decoder, model.tokenizer.vocabulary_size
    cache = decoder.cache(length=len(prompt) + len(tokens))
    first_V = decoder.prefill(cache, 0, prompt)
    later_TV = decoder.prefill(cache, 0, tokens[:-1], every=True) if len(tokens) > 1 else ()
    return [
        generation.described(logits_V[:size], token)
        for logits_V, token in zip((first_V, *later_TV), tokens, strict=True)
    ]


def _drawn(model: LanguageModel, requests: Sequence[Request], together: int) -> Iterator[tuple[int, Drawn, bool]]:
    """Number of a text, its next token, whether it is the last; one text after another where a smaller model drafts."""
    size = model.tokenizer.vocabulary_size
    if model.speculator is None:
        yield from generation.complete(model.decoder, requests, rows=together, vocabulary=size)
        return
    for number, request in enumerate(requests):
        if request.most < 1:
            continue
        numbers = compute.generator("sampling", request.seed)
        tokens = model.speculator.draw(request.prompt, request.rules, numbers, size, request.top)
        for count, drawn in enumerate(tokens, start=1):
            last = request.ends(drawn.token, count)
            yield number, drawn, last
            if last:
                break
