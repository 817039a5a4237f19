"""Tokenizer: ours beside tiktoken, Hugging Face's tokenizers and the bare fastokens, on the same text with the same vocabulary.

    python bench/tokenizer.py [--quick] [--json FILE]

The vocabulary is GPT-2's where its two files lie in ../shared/data/vocab/gpt2, else one that we learn here; the text is that
of ../shared/data/text, else the sources of Python's standard library. Rates are megabytes of UTF-8 a second of processor
time, all threads added. Before anything is timed, the ids of every contender are compared with ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from real_text import DATA, documents, within
from selftaught.tokenizer.alphabet import written
from selftaught.tokenizer.files import END_OF_TEXT
from selftaught.tokenizer.formats import plain_document
from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.pieces import PATTERN
from selftaught.tokenizer.scanning import Array
from selftaught.tokenizer.tokenizer import Tokenizer
from side_by_side import SideBySide, Work

LEARNED_SIZES = (4096, 50_257)
"""The demo's vocabulary and the paper's."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One contender's verbs over the same vocabulary."""

    name: str
    encode: Any
    """str -> list of ids."""
    encode_batch: Any
    """list of str -> ids of each, with one thread."""
    decode: Any
    """list of ids -> str."""

    def decode_array(self, ids: Array) -> str:
        """Text of an array of ids, which the peers want as a list."""
        text: str = self.decode(ids.tolist())
        return text


def main() -> None:
    """Compare and show."""
    bench = SideBySide("tokenizer")
    texts = list(within(documents(), 3_000_000 if bench.quick else 12_000_000))
    tokenizer = _tokenizer(texts)
    tiktoken, tokenizers = bench.peer("tiktoken"), bench.peer("tokenizers")
    peers = [_tiktoken(tiktoken, tokenizer)] if tiktoken else []
    peers += [_tokenizers(tokenizers, tokenizer)] if tokenizers else []
    fastokens = bench.peer("fastokens")
    peers += [_fastokens(fastokens, tokenizer)] if fastokens else []
    tokenizer.encode_array("The fast encoder is loaded before anything is timed. " * 200_000)
    for peer in peers:
        _require_same_ids(tokenizer, peer, texts)
    _encode(bench, tokenizer, peers, texts)
    _decode(bench, tokenizer, peers, texts)
    if tokenizers:
        _learn(bench, tokenizers, texts)
    bench.finish()


def _tokenizer(texts: Sequence[str]) -> Tokenizer:
    folder = DATA / "vocab" / "gpt2"
    return Tokenizer.load(folder) if folder.is_dir() else learn_tokenizer(texts, vocabulary_size=16_384)


def _tiktoken(module: ModuleType, tokenizer: Tokenizer) -> Peer:
    ranks = tokenizer.vocabulary.ids
    encoding = module.Encoding(
        "ours", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: tokenizer.end_of_text}
    )
    return Peer(
        name="tiktoken",
        encode=encoding.encode_ordinary,
        encode_batch=lambda texts: [encoding.encode_to_numpy(text, disallowed_special=()) for text in texts],
        decode=encoding.decode,
    )


def _tokenizers(module: ModuleType, tokenizer: Tokenizer) -> Peer:
    vocabulary = tokenizer.vocabulary
    theirs = module.Tokenizer(
        module.models.BPE(
            {written(token): number for token, number in vocabulary.ids.items()},
            [(written(left), written(right)) for left, right in vocabulary.merges],
        )
    )
    theirs.pre_tokenizer = module.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = module.decoders.ByteLevel()
    return Peer(
        name="tokenizers",
        encode=lambda text: theirs.encode(text).ids,
        encode_batch=lambda texts: [one.ids for one in theirs.encode_batch(texts)],
        decode=theirs.decode,
    )


def _fastokens(module: ModuleType, tokenizer: Tokenizer) -> Peer:
    """What ours calls: the difference is what our face of it costs."""
    theirs = module.Tokenizer.from_json_str(json.dumps(plain_document(tokenizer.vocabulary)))
    return Peer(
        name="fastokens",
        encode=lambda text: theirs.encode_ordinary(text).ids,
        encode_batch=theirs.encode_batch_flat,
        decode=theirs.decode,
    )


def _require_same_ids(tokenizer: Tokenizer, peer: Peer, texts: Sequence[str]) -> None:
    for text in texts[:200]:
        if tokenizer.encode(text) != list(peer.encode(text)):
            raise SystemExit(f"{peer.name} and ours disagree on a document that begins {text[:60]!r}")


def _encode(bench: SideBySide, tokenizer: Tokenizer, peers: Sequence[Peer], texts: list[str]) -> None:
    """Documents never seen before, the same ones again, all of them as arrays, and short strings as a chat sends them."""
    encoders = {"": tokenizer.encode, **{peer.name: peer.encode for peer in peers}}
    lines = [line for text in texts[:400] for line in text.split("\n") if line][:20_000]
    repeats = bench.repeats
    streams = {name: _stream(encode, texts, repeats) for name, encode in encoders.items()}
    share = _megabytes(texts) / repeats
    bench.compare(
        "encode new documents", streams.pop(""), streams, amount=share, unit="MB/s", repeats=repeats, warm=False
    )
    for case, values in (("encode documents again", texts), ("encode lines", lines)):
        works = {name: _each(encode, values) for name, encode in encoders.items()}
        bench.compare(case, works.pop(""), works, amount=_megabytes(values), unit="MB/s")
    bench.compare(
        "encode to arrays",
        lambda: tokenizer.encode_batch(texts),
        {peer.name: _batch(peer, texts) for peer in peers},
        amount=_megabytes(texts),
        unit="MB/s",
    )


def _stream(encode: Any, texts: Sequence[str], parts: int) -> Work:
    """Each call encodes the next part of the texts, so none is met twice; what a contender remembers is from other texts."""
    shares = iter([texts[part::parts] for part in range(parts)])
    return lambda: [encode(text) for text in next(shares)]


def _decode(bench: SideBySide, tokenizer: Tokenizer, peers: Sequence[Peer], texts: Sequence[str]) -> None:
    arrays = tokenizer.encode_batch(texts)
    lists = [array.tolist() for array in arrays]
    bench.compare(
        "decode lists",
        _each(tokenizer.decode, lists),
        {peer.name: _each(peer.decode, lists) for peer in peers},
        amount=_megabytes(texts),
        unit="MB/s",
    )
    bench.compare(
        "decode arrays",
        _each(tokenizer.decode, arrays),
        {peer.name: _each(peer.decode_array, arrays) for peer in peers},
        amount=_megabytes(texts),
        unit="MB/s",
    )


def _learn(bench: SideBySide, tokenizers: ModuleType, texts: list[str]) -> None:
    for size in LEARNED_SIZES[: 1 if bench.quick else 2]:
        bench.compare(
            f"learn {size:,} ids from {_megabytes(texts):.0f} MB",
            partial(learn_tokenizer, texts, vocabulary_size=size),
            {"tokenizers": partial(_trained, tokenizers, texts, size)},
            repeats=1 if bench.quick else 2,
        )


def _trained(module: ModuleType, texts: Sequence[str], size: int) -> object:
    theirs = module.Tokenizer(module.models.BPE())
    theirs.pre_tokenizer = module.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = module.pre_tokenizers.ByteLevel.alphabet()
    trainer = module.trainers.BpeTrainer(vocab_size=size - 1, initial_alphabet=alphabet, show_progress=False)
    theirs.train_from_iterator(texts, trainer)
    return theirs


def _each(work: Any, values: Sequence[Any]) -> Work:
    return lambda: [work(value) for value in values]


def _batch(peer: Peer, texts: list[str]) -> Work:
    return lambda: peer.encode_batch(texts)


def _megabytes(texts: Sequence[str]) -> float:
    return sum(len(text.encode()) for text in texts) / 1e6


if __name__ == "__main__":
    main()
