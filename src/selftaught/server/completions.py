"""What a request for completions may say (OpenAI's API reference, "Completions"); how it is answered: `server.answers`.

Beyond OpenAI's fields: `top_k`, `min_p` and `repetition_penalty`.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from selftaught.errors import UsageError
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.rules import SamplingSettings
from selftaught.inference.scheduling import Request
from selftaught.server.limits import Limits
from selftaught.server.problems import ProblemError, misfit
from selftaught.tokenizer.files import END_OF_TEXT

MOST_ALTERNATIVES = 20
MOST_STOPS = 16
LONGEST_STOP = 512
"""Characters."""
DEFAULT_TOKENS = 16
"""OpenAI's."""

Penalty = Annotated[float, Meta(ge=-2, le=2)]


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """`stream_options`."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Completion(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of a request; null stands for the default."""

    model: str | None = None
    prompt: str | list[str | int | list[int]] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    best_of: Annotated[int, Meta(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Annotated[int, Meta(ge=0, le=MOST_ALTERNATIVES)] | None = None
    echo: bool | None = None
    stop: (
        Annotated[str, Meta(max_length=LONGEST_STOP)]
        | Annotated[list[Annotated[str, Meta(max_length=LONGEST_STOP)]], Meta(max_length=MOST_STOPS)]
        | None
    ) = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    suffix: str | None = None
    logit_bias: dict[int, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    user: str | None = None


Kind = TypeVar("Kind")


def decode(body: bytes, kind: type[Kind]) -> Kind:
    """Read a request. Raises ProblemError 400 that says where it is not what it should be."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as problem:
        raise misfit(problem, body) from problem
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as problem:
        raise ProblemError(400, f"the body is not JSON: {problem}") from problem


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that makes sense: one text for each of `requests`, in the order of the answer's choices."""

    model: str
    requests: list[Request]
    prompts: list[str]
    """The prompt of each text."""
    stop: tuple[str, ...]
    alternatives: int | None
    """As many as `logprobs` says; None leaves log-probabilities out."""
    echo: bool
    stream: bool
    usage: bool
    """Whether a stream ends with the counts of tokens."""
    prompt_tokens: int
    """Tokens of all prompts, each counted once."""
    samples: int
    """Texts that are drawn for each prompt."""
    kept: int
    """Texts that are answered for each prompt."""
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))


def understand(body: Completion, name: str, model: LanguageModel, limits: Limits) -> Asked:
    """What a request asks of a model. Raises ProblemError 400 where it asks for what cannot be had."""
    _refuse_unsupported(body)
    kept, most = body.n or 1, DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    if most > limits.max_tokens:
        raise ProblemError(400, f"max_tokens: expected at most {limits.max_tokens}, got {most}", param="max_tokens")
    samples = max(kept, body.best_of or 1)
    stop = tuple([body.stop] if isinstance(body.stop, str) else body.stop or ())
    if "" in stop:
        raise ProblemError(400, "stop: an empty string is in every text", param="stop")
    prompts = _prompts(body.prompt)
    if len(prompts) * samples > limits.texts:
        raise ProblemError(
            400,
            f"expected at most {limits.texts} texts, got {len(prompts)} prompts times n or best_of = {samples}",
            param="n",
        )
    encoded = [_encoded(prompt, model, limits) for prompt in prompts]
    bias = body.logit_bias or {}
    if any(not 0 <= token < model.tokenizer.vocabulary_size for token in bias):
        most = model.tokenizer.vocabulary_size - 1
        raise ProblemError(400, f"logit_bias: expected ids of 0 to {most}", param="logit_bias")
    rules, first = _rules(body), secrets.randbits(31) if body.seed is None else body.seed
    echo = bool(body.echo)
    requests = [
        Request(
            prompt=ids,
            tokens=most,
            rules=rules,
            seed=first + number,
            end=model.tokenizer.end_of_text,
            alternatives=body.logprobs or 0,
            log_probs=body.logprobs is not None or samples > kept,
            echo=echo and body.logprobs is not None,
        )
        for ids in encoded
        for number in range(samples)
    ]
    texts = [model.tokenizer.decode(ids) if echo or body.logprobs is not None else "" for ids in encoded]
    return Asked(
        model=name,
        requests=requests,
        prompts=[text for text in texts for _ in range(samples)],
        stop=stop,
        alternatives=body.logprobs,
        echo=echo,
        stream=bool(body.stream),
        usage=bool(body.stream_options and body.stream_options.include_usage),
        prompt_tokens=sum(map(len, encoded)),
        samples=samples,
        kept=kept,
    )


def _refuse_unsupported(body: Completion) -> None:
    if body.suffix:
        raise ProblemError(400, "suffix: these models only continue a text", param="suffix")
    kept, samples = body.n or 1, body.best_of or body.n or 1
    if samples < kept:
        raise ProblemError(400, f"best_of: expected at least n, which is {kept}, got {samples}", param="best_of")
    if samples > kept and body.stream:
        raise ProblemError(
            400, "best_of: which text is best is known at the end, so it is not streamed", param="best_of"
        )


def _rules(body: Completion) -> SamplingSettings:
    asked = {
        name: value
        for name in ("top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty")
        if (value := getattr(body, name)) is not None
    }
    temperature = 1.0 if body.temperature is None else body.temperature
    try:
        return SamplingSettings(
            temperature=temperature,
            top_k=body.top_k or 0,
            logit_bias=tuple((body.logit_bias or {}).items()),
            **asked,
        )
    except UsageError as problem:
        raise ProblemError(400, problem.line().removeprefix("--")) from problem


def _prompts(prompt: str | list[str | int | list[int]] | None) -> list[str | list[int]]:
    """One prompt or several, each as text or ids."""
    if prompt is None or isinstance(prompt, str):
        return [prompt or ""]
    if not prompt:
        return [[]]
    if all(isinstance(one, int) for one in prompt):
        return [[one for one in prompt if isinstance(one, int)]]
    if any(isinstance(one, int) for one in prompt):
        raise ProblemError(400, "prompt: expected ids or prompts, got both in one list", param="prompt")
    return [one for one in prompt if not isinstance(one, int)]


def _encoded(prompt: str | list[int], model: LanguageModel, limits: Limits) -> list[int]:
    """Ids of a prompt; without any, or for <|endoftext|> alone, the beginning of a document."""
    tokenizer = model.tokenizer
    if prompt == END_OF_TEXT:
        prompt = []
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    if len(ids) > limits.prompt_tokens:
        raise ProblemError(
            400,
            f"prompt: expected at most {limits.prompt_tokens} tokens, got {len(ids)}",
            param="prompt",
            code="context_length_exceeded",
        )
    if ids and not 0 <= min(ids) <= max(ids) < tokenizer.vocabulary_size:
        raise ProblemError(400, f"prompt: expected ids of 0 to {tokenizer.vocabulary_size - 1}", param="prompt")
    return ids or [tokenizer.end_of_text]
