"""A language model as text sees it: probabilities of continuations, and continuations. No ids go in or out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal

from selftaught import compute
from selftaught.checkpoint import loading
from selftaught.errors import MismatchError, UsageError
from selftaught.inference import compiled, generation, joining, reading, writing
from selftaught.inference.decoding import Decoder
from selftaught.inference.joining import LogProb
from selftaught.inference.recasting import WeightFormat
from selftaught.inference.rules import SamplingSettings
from selftaught.inference.speculation import Speculator
from selftaught.inference.textstream import TextStream, first, suspicious
from selftaught.inference.trees import Pair
from selftaught.inference.windows import Windows, windows
from selftaught.model import cost
from selftaught.model.transformer import Transformer
from selftaught.report.records import Sample
from selftaught.tokenizer.tokenizer import Tokenizer

REMEMBERED_CONTEXTS = 64
"""Encoded contexts that are kept: the pairs of one question follow each other."""


class LanguageModel:
    """A network and its tokenizer. Make one with `load`."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        name: str = "model",
        precision: Literal["float32", "bfloat16"] = "float32",
        weights: WeightFormat | None = None,
    ) -> None:
        self._network: Transformer | None = model.eval()
        self.tokenizer, self.name, self.shape = tokenizer, name, model.shape
        self.precision = precision
        """Format of matrix products; log-probabilities are float32 always."""
        self.weights: WeightFormat = weights or precision
        """Format in which generation reads the weights."""
        self._encode = lru_cache(REMEMBERED_CONTEXTS)(tokenizer.encode)

        self.speculator: Speculator | None = None
        """Draws for this model and a smaller one together, once `draft_with` has been called."""

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: compute.DeviceName = "auto",
        precision: compute.PrecisionName = "float32",
        weights: WeightFormat | None = None,
        only_generates: bool = False,
    ) -> LanguageModel:
        """Read a model folder, a training run (its newest checkpoint) or a Hugging Face GPT-2 folder.

        `weights` is the format in which generation reads the weights, if not that of `precision`. A model that only generates
        has them in memory in that format alone: it scores nothing, and has no `model`.
        """
        machine = compute.machine(device, precision)
        loaded = loading.load(path, machine.device, as_stored=only_generates)
        made = cls(loaded.model, loaded.tokenizer, name=loaded.name, precision=machine.precision, weights=weights)
        if only_generates:
            made._network = None
            made.decoder = compiled.only_decoder(loaded.model, made.weights)
        return made

    @property
    def model(self) -> Transformer:
        """The network. Raises UsageError where it was let go."""
        if self._network is None:
            raise UsageError(f"{self.name} was loaded to generate only", hint="Load it without only_generates.")
        return self._network

    def draft_with(self, smaller: LanguageModel) -> None:
        """From now on let a smaller model propose tokens: faster where its guesses are good, and the same distribution of texts.

        Raises MismatchError if it has another tokenizer.
        """
        if smaller.tokenizer.fingerprint != self.tokenizer.fingerprint:
            raise MismatchError(
                f"{smaller.name} cannot draft for {self.name}: it has another tokenizer",
                hint="Take a smaller model that was trained on the same shards.",
            )
        self.speculator = Speculator(self.decoder, smaller.decoder)

    @cached_property
    def parameters(self) -> int:
        """Number of weights, the head counted once."""
        return cost.parameters(self.shape)

    @cached_property
    def decoder(self) -> Decoder:
        """The network made ready for generation, when that is first asked for."""
        return compiled.decoder(self.model, self.weights)

    @cached_property
    def reader(self) -> reading.Reader:
        """The network made ready for scoring, when that is first asked for."""
        return reading.reader(self.model, self.precision)

    @property
    def context(self) -> int:
        """Tokens that the model sees at a time."""
        return self.shape.context

    def log_prob(self, context: str, continuation: str) -> LogProb:
        """Log-probability of a continuation given a context (see `log_probs`)."""
        return self.log_probs([(context, continuation)])[0]

    def log_probs(
        self,
        pairs: Sequence[tuple[str, str]],
        advance: Callable[[float], None] | None = None,
        *,
        barred: Sequence[str] = (),
    ) -> list[LogProb]:
        """Log-probability of each continuation given its context, in nats.

        An empty context stands for the beginning of a document. A context that is too long keeps its last tokens; a continuation
        longer than the model's context is read in several windows. Equal contexts are computed once; neither order nor company
        changes a result by more than rounding (1e-4 nats). `advance(n)` is called when n more pairs are done. Words that are
        `barred` (with the blank before them, if there is to be one) cannot be chosen in `LogProb.allowed`, if they are one token.
        """
        encoded = [self.encode_pair(*pair) for pair in pairs]
        ids = [self.tokenizer.encode(word) for word in barred]
        alone = sorted({one[0] for one in ids if len(one) == 1})
        return joining.score(
            self.reader, [list(self._parts(before, after)) for before, after in encoded], advance, barred=alone
        )

    def trimmed(self, context: str, continuations: Sequence[str]) -> str:
        """The end of a context that fits into the model together with the longest of the continuations, cut before a word.

        With it, candidates for one place are all judged on the same context, which is then computed once.
        """
        pairs = [self.encode_pair(context, continuation) for continuation in continuations]
        room = self.context + 1 - max(len(after) for _, after in pairs)
        before = pairs[0][0]
        if len(before) <= room or room < 1:
            return context
        kept = self.tokenizer.decode(before[-room:])
        trailing = context[len(context.rstrip()) :]
        return kept[kept.find(" ") + 1 :] + trailing

    def encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Ids of a context (at least <|endoftext|>) and of a continuation, as `log_probs` uses them.

        Blanks at the end of the context count as the continuation's. Together the ids are those of the whole text, unless a
        token of it spans the boundary: then each side is encoded alone.
        """
        bare = context.rstrip()
        continuation = context[len(bare) :] + continuation
        before = self._encode(bare)
        if not before or continuation[:1] in ("", " ", "\n"):  # no token goes on across such a boundary
            after = self.tokenizer.encode(continuation)
        else:
            whole = self.tokenizer.encode(bare + continuation)
            together = whole[: len(before)] == before
            after = whole[len(before) :] if together else self.tokenizer.encode(continuation)
        return before or [self.tokenizer.end_of_text], after

    def _parts(self, before: list[int], after: list[int]) -> Iterator[Pair]:
        """One pair, or several if the continuation alone is longer than the context."""
        for done in range(0, len(after), self.context):
            yield [*before, *after[:done]], after[done : done + self.context]

    def document_log_probs(
        self,
        texts: Sequence[str],
        *,
        stride: int | None = None,
        filled: bool = False,
        advance: Callable[[float], None] | None = None,
    ) -> list[LogProb]:
        """Log-probability of whole texts of any length, each begun after <|endoftext|>, by windows of the context's length.

        Without `stride` windows do not overlap; with it each scores `stride` tokens (GPT-2 paper, table 3: see docs/evaluate.md).
        With `filled` the last window begins earlier if it would be shorter than the others.
        `advance(n)` is called when n more texts are done, which may be a part of one.
        """
        parts = [list(self.windows(text, stride=stride, filled=filled).pairs()) for text in texts]
        return joining.score(self.reader, parts, advance)

    def windows(self, text: str, *, stride: int | None = None, filled: bool = False) -> Windows:
        """A text as the windows in which `document_log_probs` reads it."""
        start = self.tokenizer.end_of_text
        return windows(self.tokenizer.encode(text), start, self.context, stride, filled=filled)

    def window_log_probs(self, read: Windows, parts: Sequence[range]) -> list[LogProb]:
        """Log-probability of parts of a text, each what some of its windows score."""
        return joining.score(self.reader, [list(read.pairs(part)) for part in parts])

    def stream(
        self,
        prompt: str = "",
        *,
        max_new_tokens: int = 200,
        sampling: SamplingSettings | None = None,
        seed: int = 1,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """Continue a prompt piece by piece, never half a character; ends at <|endoftext|> or before a stop string."""
        text, held = TextStream(), ""
        for drawn in self._draw(prompt, max_new_tokens, sampling or SamplingSettings(), seed):
            held += text.add(self.tokenizer.decode_bytes([drawn.token]))
            if (end := first(stop, held)) is not None:
                yield held[:end]
                return
            if safe := len(held) - suspicious(stop, held):
                yield held[:safe]
                held = held[safe:]
        if rest := held + text.end():
            yield rest

    def generate(
        self,
        prompt: str = "",
        *,
        max_new_tokens: int = 200,
        temperature: float = 1.0,
        top_k: int = 40,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        seed: int = 1,
        stop: Sequence[str] = (),
    ) -> str:
        """Continue a prompt (not repeated in the result). The same seed gives the same text. See `SamplingSettings`."""
        rules = SamplingSettings(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
        )
        return "".join(self.stream(prompt, max_new_tokens=max_new_tokens, sampling=rules, seed=seed, stop=stop))

    def sample(
        self, prompt: str, *, max_new_tokens: int = 200, sampling: SamplingSettings | None = None, seed: int = 1
    ) -> Sample:
        """Continue a prompt and keep each token with its probability; `inference.samples` does so for many prompts."""
        rules = sampling or SamplingSettings()
        return writing.sample(
            writing.pieces(self.tokenizer, self._draw(prompt, max_new_tokens, rules, seed)),
            model=self.name,
            parameters=self.parameters,
            prompt=prompt,
            settings=f"{rules.words()}, seed {seed}",
        )

    def _draw(self, prompt: str, count: int, rules: SamplingSettings, seed: int) -> Iterator[generation.Drawn]:
        ids = self.tokenizer.encode(prompt) or [self.tokenizer.end_of_text]
        if count < 0:
            raise UsageError("the number of new tokens is too small", expected="0 or more", got=str(count))
        size = self.tokenizer.vocabulary_size
        numbers = compute.generator("sampling", seed)
        if self.speculator is None:
            drawn = generation.draw(self.decoder, ids, rules, numbers, size)
        else:
            drawn = self.speculator.draw(ids, rules, numbers, size)
        for one in islice(drawn, count):
            if one.token == self.tokenizer.end_of_text:
                return
            yield one


def load(
    path: str | Path, *, device: compute.DeviceName = "auto", precision: compute.PrecisionName = "float32"
) -> LanguageModel:
    """Read a language model: a model folder, a training run (its newest checkpoint) or a Hugging Face GPT-2 folder."""
    return LanguageModel.load(path, device=device, precision=precision)
