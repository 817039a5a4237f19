"""Scoring: ours beside lm-evaluation-harness and a plain transformers loop, on the same weights and the same questions.

    python bench/scoring.py [--quick] [--data DIR] [--vocabulary DIR] [--only WORD] [--threads N] [--json FILE]

Questions are of the forms of the Children's Book Test (ten candidates after 20 sentences), LAMBADA and Winograd, read from the
data sets in DIR as `selftaught evaluate --data` reads them, or else made from the texts that Python carries; two more cases are
windows of a long text. Ours runs in float32 and in bfloat16 (with a float32 output layer), the peers in float32; all take turns,
and medians are kept: seconds of processor time on one thread, of the clock on more. The peers are handed ids; ours encodes text
as part of its time. Before anything is timed all log-probabilities are compared, and the largest differences printed.

The turns of a conversation (CoQA's form) are answered greedily by ours, all at once, and by transformers' `generate`, one after
another. --only runs the cases whose name contains WORD, --quick leaves GPT-2 small out. Networks are random, of GPT-2's
vocabulary; text is cut by the vocabulary in DIR, or by a small one learned from Python's texts. The harness takes part if
`lm_eval` is installed: it is in no extra, because it brings a hundred packages along.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from pydoc_data.topics import topics
from types import ModuleType
from typing import Any

import torch

from selftaught import compute
from selftaught.checkpoint import huggingface
from selftaught.inference import prompting
from selftaught.inference.language_model import LanguageModel
from selftaught.inference.prompting import Prompt
from selftaught.inference.windows import windows
from selftaught.model.initial import initialise
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tasks import cloze, passages, winograd
from selftaught.tasks.examples import Choice
from selftaught.tokenizer import files
from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer
from side_by_side import CLOCKS, SideBySide, in_turns

LEARNED = 4096
"""Size of the vocabulary where GPT-2's is not given."""
SHAPES = {
    "16M": ModelShape(layers=4, heads=4, channels=256),
    "GPT-2 small": ModelShape(layers=12, heads=12, channels=768),
}
ANSWER_TOKENS, ANSWERED_CHARACTERS = 20, 1500
"""Longest answer in a conversation, and the length of its story."""
TOLERANCE = {"float32": 3e-5, "bfloat16": 3e-3}
"""Largest difference of a log-probability of a question that is rounding, relative to it."""

Ids = tuple[Sequence[int], Sequence[int]]
Scores = Callable[[], list[float]]
SCHEMAS = (
    ("{} refused {} a permit because ", " feared violence."),
    ("{} tried to call {} on the phone, but ", " was not available this morning."),
    ("{} asked {} a question, but ", " was reluctant to repeat it."),
    ("{} could not see {} from the stage because ", " stood behind a pillar all evening."),
)
NAMES = ("the council", "the workers", "Paul", "George", "the lawyer", "the witness")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Pairs of context and continuation, or one long text."""

    name: str
    questions: int
    batch: int
    """Sequences at a time in the peers."""
    pairs: Sequence[tuple[str, str]] = ()
    text: str = ""
    stride: int | None = None


def _choices(lm: LanguageModel, asked: Sequence[Choice]) -> list[tuple[str, str]]:
    return [
        (lm.trimmed(context, one.continuations), continuation)
        for one in asked
        for context, continuation in zip(one.contexts, one.continuations, strict=True)
    ]


def _made_schemas() -> list[Choice]:
    return [
        Choice(
            id="", contexts=tuple(before.format(*two) + name for name in two), continuations=(after,) * 2,
            candidates=two, answer=0,
        )
        for two in permutations(NAMES, 2)
        for before, after in SCHEMAS
    ]  # fmt: skip


def _cases(lm: LanguageModel, data: Path | None, *, many: int) -> list[Case]:
    texts = sorted(topics.items())
    if data is None:
        questions, last_words = list(cloze.make_questions(texts, seed=1)), list(passages.make_passages(texts))
        schemas, text = _made_schemas(), "\n".join(dict(texts).values())
    else:
        questions = [one for category in cloze.read_cbt(data).values() for one in category]
        last_words = passages.read_lambada(data)
        schemas = winograd.read_schemas(data / "winograd" / "wsc273.jsonl", "partial", "harness")
        text = (data / "wikitext2" / "wiki.test.raw").read_text(encoding="utf-8")
    tokens = lm.tokenizer.encode(text[:100_000])
    few = schemas[: 8 * many]
    return [
        Case(name="CBT form", questions=many, batch=10, pairs=_choices(lm, questions[:many])),
        Case(
            name="LAMBADA form",
            questions=16 * many,
            batch=16,
            pairs=[(one.context, one.word) for one in last_words[: 16 * many]],
        ),
        Case(name="Winograd", questions=len(few), batch=10, pairs=_choices(lm, few)),
        Case(name="disjoint windows", questions=2, batch=1, text=lm.tokenizer.decode(tokens[: 2 * lm.context])),
        Case(
            name="stride-32 windows",
            questions=3,
            batch=1,
            text=lm.tokenizer.decode(tokens[: lm.context + 2 * 32]),
            stride=32,
        ),
    ]


def _ids(lm: LanguageModel, case: Case) -> list[Ids]:
    if not case.text:
        return [lm.encode_pair(*pair) for pair in case.pairs]
    tokenizer = lm.tokenizer
    read = windows(tokenizer.encode(case.text), tokenizer.end_of_text, lm.context, case.stride)
    return [(list(context), list(continuation)) for context, continuation in read.pairs()]


def _ours(lm: LanguageModel, case: Case) -> list[float]:
    if case.text:
        return [one.total for one in lm.document_log_probs([case.text], stride=case.stride)]
    return [one.total for one in lm.log_probs(case.pairs)]


@torch.inference_mode()
def _plain(model: Any, pairs: Sequence[Ids], batch: int) -> list[float]:
    """As such loops are written: padded batches in the order given, the softmax of everything."""
    found = []
    for start in range(0, len(pairs), batch):
        some = pairs[start : start + batch]
        rows = [torch.tensor([*before, *after]) for before, after in some]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        log_probs = torch.log_softmax(model(padded[:, :-1], use_cache=False).logits.float(), dim=-1)
        for row, (before, after) in enumerate(some):
            places = torch.arange(len(before) - 1, len(before) + len(after) - 1)
            found.append(float(log_probs[row, places, torch.tensor(after)].sum()))
    return found


def _harness(lm_eval: Any, pairs: Sequence[Ids], batch: int) -> list[float]:
    lm_eval.batch_size_per_gpu = batch
    requests = [(("", str(number)), list(before), list(after)) for number, (before, after) in enumerate(pairs)]
    return [total for total, _ in lm_eval._loglikelihood_tokens(requests, disable_tqdm=True)]  # noqa: SLF001  # it takes ids


def _differences(case: Case, works: dict[str, Scores]) -> None:
    """Run each once, which also warms it; print how far apart they are, and stop where that is more than rounding."""
    found = {
        name: [sum(sums)] if case.text else sums for name, sums in ((name, work()) for name, work in works.items())
    }
    for ours, tolerance in TOLERANCE.items():
        for name in found.keys() - TOLERANCE.keys():
            pairs = list(zip(found[ours], found[name], strict=True))
            worst = max(abs(a - b) / abs(b) for a, b in pairs)
            print(f"{case.name}: ours in {ours} and {name} differ by {worst:.1e} at most", flush=True)
            if worst > tolerance:
                raise SystemExit(f"more than the {tolerance:.0e} that rounding would explain")


def _compare(bench: SideBySide, name: str, lm: LanguageModel, case: Case, peers: dict[str, Any]) -> None:
    half, pairs = LanguageModel(lm.model, lm.tokenizer, precision="bfloat16"), _ids(lm, case)
    works: dict[str, Scores] = {"float32": lambda: _ours(lm, case), "bfloat16": lambda: _ours(half, case)}
    if "transformers" in peers:
        works["transformers"] = lambda: _plain(peers["transformers"], pairs, case.batch)
    if "lm-eval" in peers:
        works["lm-eval"] = lambda: _harness(peers["lm-eval"], pairs, case.batch)
    _differences(case, works)
    clock = CLOCKS["cpu" if torch.get_num_threads() == 1 else "wall"]
    seconds = in_turns(works, clock, 3 if name == "GPT-2 small" else 5)
    for ours in TOLERANCE:
        for peer in works.keys() - TOLERANCE.keys():
            bench.note(
                f"{name}, {case.name}, {ours}",
                case.questions / seconds[ours],
                case.questions / seconds[peer],
                peer,
                unit="1/s",
                larger_is_better=True,
            )


def _peers(lm: LanguageModel, transformers: ModuleType | None, lm_eval: ModuleType | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        huggingface.save(lm.model, lm.tokenizer, Path(folder))
        if lm_eval:
            logging.disable(logging.WARNING)
            found["lm-eval"] = lm_eval.HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=10)
        if transformers:
            found["transformers"] = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    return found


def _conversation(*, turns: int) -> list[str]:
    """A story and questions about it, each prompt with the turns before it."""
    story = " ".join(dict(topics)["lambda"].split() + dict(topics)["class"].split())[:ANSWERED_CHARACTERS]
    asked = [f"Q: What is said of {word}?\nA:" for word in sorted(set(story.split()), key=len)[-turns:]]
    return [
        f"{story}\n\n{''.join(f'{one} It is said in the story.' + chr(10) for one in asked[:number])}{question}"
        for number, question in enumerate(asked)
    ]


def _answers(lm: LanguageModel, prompts: Sequence[str]) -> list[str]:
    return [one.text for one in prompting.complete(lm, [Prompt(text=one, limit=ANSWER_TOKENS) for one in prompts])]


@torch.inference_mode()
def _generated(model: Any, lm: LanguageModel, prompts: Sequence[str]) -> list[str]:
    """As the documentation of transformers has it, up to a line end."""
    stop = sorted(prompting.newline_tokens(lm.tokenizer) | {lm.tokenizer.end_of_text})
    found = []
    for prompt in prompts:
        ids = torch.tensor([lm.tokenizer.encode(prompt)])
        mask = torch.ones_like(ids)
        rules = {"max_new_tokens": ANSWER_TOKENS, "do_sample": False, "eos_token_id": stop, "pad_token_id": 0}
        written = model.generate(ids, attention_mask=mask, **rules)[0, ids.shape[1] :].tolist()
        text = lm.tokenizer.decode([token for token in written if token != lm.tokenizer.end_of_text])
        found.append(text.partition("\n")[0])
    return found


def _compare_conversations(bench: SideBySide, name: str, lm: LanguageModel, model: Any) -> None:
    prompts = _conversation(turns=6 if bench.quick else 12)
    if _answers(lm, prompts) != _generated(model, lm, prompts):
        raise SystemExit(f"{name}: the answers of transformers and ours differ")
    bench.compare(
        f"{name}, conversation",
        lambda: _answers(lm, prompts),
        {"transformers": lambda: _generated(model, lm, prompts)},
        amount=len(prompts),
        unit="1/CPU-s",
        repeats=3,
        warm=False,
    )


def _model(shape: ModelShape, tokenizer: Tokenizer) -> LanguageModel:
    network = Transformer(shape)
    initialise(network, compute.generator("bench"))
    return LanguageModel(network, tokenizer)


def main() -> None:
    """Compare and show."""
    parser = argparse.ArgumentParser(prog="bench/scoring.py", add_help=False)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--vocabulary", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--threads", type=int, default=1)
    given, rest = parser.parse_known_args()
    bench = SideBySide("scoring", rest)
    torch.set_num_threads(given.threads)
    transformers = bench.peer("transformers")
    if importlib.util.find_spec("lm_eval"):
        lm_eval = bench.peer("lm_eval.models.huggingface")
    else:
        lm_eval = None
        print("lm_eval is not installed, so it is left out; type: pip install lm_eval")
    tokenizer = Tokenizer(files.read(given.vocabulary)) if given.vocabulary else None
    tokenizer = tokenizer or learn_tokenizer(topics.values(), vocabulary_size=LEARNED)
    for name, shape in SHAPES.items():
        if name == "GPT-2 small" and bench.quick:
            continue
        lm = _model(shape, tokenizer)
        peers = _peers(lm, transformers, lm_eval)
        for case in _cases(lm, given.data, many=1 if name == "GPT-2 small" else 4):
            if given.only in f"{name}, {case.name}":
                _compare(bench, name, lm, case, peers)
        if "transformers" in peers and given.only in f"{name}, conversation":
            _compare_conversations(bench, name, lm, peers["transformers"])
    bench.finish()


if __name__ == "__main__":
    main()
