"""Scoring: ours beside a plain transformers loop and lm-evaluation-harness, on the same weights and the same questions.

    python bench/evaluation.py [--quick] [--json FILE]

Questions a second of processor time, all threads added, in float32. The peers are handed ids; ours encodes text as part of its
time. Questions are of the forms of the Children's Book Test (ten candidates after 20 sentences), LAMBADA and Winograd, made
from the texts that Python carries; two more cases are windows of a long text. The turns of a conversation (CoQA's form) are
answered greedily by ours, all at once, and by transformers' `generate`, one after another. Before anything is timed, the
log-probabilities of all, and the answers, are compared. --quick leaves GPT-2 small out. The harness takes part if `lm_eval` is
installed: it is in no extra, because it brings a hundred packages along.
"""

from __future__ import annotations

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
from selftaught.model.initial import initialise
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer
from selftaught.tasks import cloze, passages
from selftaught.tokenizer.learning import learn_tokenizer
from selftaught.tokenizer.tokenizer import Tokenizer
from side_by_side import SideBySide

VOCABULARY = 4096
SHAPES = {
    "4 x 256": ModelShape(layers=4, heads=4, channels=256, context=1024, vocabulary=VOCABULARY),
    "GPT-2 small": ModelShape(layers=12, heads=12, channels=768, context=1024, vocabulary=50257),
}
ANSWER_TOKENS, ANSWERED_CHARACTERS = 20, 1500
"""Longest answer in a conversation, and the length of its story."""
PEER_BATCH = 10
"""Sequences at a time in the peers: the candidates of one question."""
TOLERANCE = 1e-4
"""Largest difference of a sum of log-probabilities that is rounding, relative to it."""

Ids = tuple[Sequence[int], Sequence[int]]
Score = Callable[[], list[float]]
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
    pairs: Sequence[tuple[str, str]] = ()
    text: str = ""
    stride: int | None = None


def _cases(lm: LanguageModel, *, many: int) -> list[Case]:
    texts = sorted(topics.items())
    questions = list(cloze.make_questions(texts, seed=1))[:many]
    choices = [
        (context, continuation)
        for one in questions
        for context, continuation in zip(
            [lm.trimmed(one.contexts[0], one.continuations)] * len(one.candidates), one.continuations, strict=True
        )
    ]
    last_words = [(one.context, one.word) for one in passages.make_passages(texts)][: 8 * many]
    schemas = [
        (before.format(*two).capitalize() + name, after)
        for two in permutations(NAMES, 2)
        for before, after in SCHEMAS
        for name in two
    ][: 16 * many]
    text = lm.tokenizer.decode(lm.tokenizer.encode("\n".join(dict(texts).values()))[: 1024 * 2])
    return [
        Case(name="ten candidates", questions=len(questions), pairs=choices),
        Case(name="last words", questions=len(last_words), pairs=last_words),
        Case(name="schemas", questions=len(schemas) // 2, pairs=schemas),
        Case(name="windows, disjoint", questions=2, text=text),
        Case(name="windows, stride 256", questions=8, text=text, stride=256),
    ]


def _ids(lm: LanguageModel, case: Case) -> list[Ids]:
    if not case.text:
        return [lm.encode_pair(*pair) for pair in case.pairs]
    return list(lm.windows(case.text, stride=case.stride).pairs())


def _ours(lm: LanguageModel, case: Case) -> list[float]:
    if case.text:
        return [one.total for one in lm.document_log_probs([case.text], stride=case.stride)]
    return [one.total for one in lm.log_probs(case.pairs)]


@torch.inference_mode()
def _plain(model: Any, pairs: Sequence[Ids]) -> list[float]:
    """As such loops are written: padded batches in the order given, the softmax of everything."""
    found = []
    for start in range(0, len(pairs), PEER_BATCH):
        batch = pairs[start : start + PEER_BATCH]
        rows = [torch.tensor([*before, *after]) for before, after in batch]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        log_probs = torch.log_softmax(model(padded[:, :-1], use_cache=False).logits.float(), dim=-1)
        for row, (before, after) in enumerate(batch):
            places = torch.arange(len(before) - 1, len(before) + len(after) - 1)
            found.append(float(log_probs[row, places, torch.tensor(after)].sum()))
    return found


def _harness(lm_eval: Any, pairs: Sequence[Ids]) -> list[float]:
    requests = [(("", str(number)), list(before), list(after)) for number, (before, after) in enumerate(pairs)]
    return [total for total, _ in lm_eval._loglikelihood_tokens(requests, disable_tqdm=True)]  # noqa: SLF001  # it takes ids


def _require_same(case: Case, found: dict[str, list[float]], ours: list[float]) -> None:
    for name, theirs in found.items():
        sums = [sum(theirs)] if case.text else theirs
        worst = max(abs(a - b) / abs(b) for a, b in zip(ours, sums, strict=True))
        if worst > TOLERANCE:
            raise SystemExit(f"{case.name}: {name} and ours differ by {worst:.1e} of a log-probability")


def _compare(
    bench: SideBySide, name: str, lm: LanguageModel, peers: dict[str, Callable[[list[Ids]], list[float]]]
) -> None:
    for case in _cases(lm, many=3 if bench.quick else 6 if name == "4 x 256" else 2):
        pairs = _ids(lm, case)
        _require_same(case, {peer: score(pairs) for peer, score in peers.items()}, _ours(lm, case))
        bench.compare(
            f"{name}, {case.name}",
            lambda case=case: _ours(lm, case),  # type: ignore[misc]  # binds it
            {peer: lambda score=score, pairs=pairs: score(pairs) for peer, score in peers.items()},  # type: ignore[misc]
            amount=case.questions,
            unit="1/CPU-s",
            repeats=3,
            warm=False,
        )


def _peers(
    lm: LanguageModel, transformers: ModuleType | None, lm_eval: ModuleType | None
) -> dict[str, Callable[[list[Ids]], list[float]]]:
    found: dict[str, Callable[[list[Ids]], list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        huggingface.save(lm.model, lm.tokenizer, Path(folder))
        if transformers:
            model = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
            found["transformers"] = lambda pairs: _plain(model, pairs)
        if lm_eval:
            logging.disable(logging.WARNING)
            harness = lm_eval.HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=PEER_BATCH)
            found["lm-eval"] = lambda pairs: _harness(harness, pairs)
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


def _compare_conversations(bench: SideBySide, name: str, lm: LanguageModel, transformers: ModuleType | None) -> None:
    if transformers is None:
        return
    prompts = _conversation(turns=6 if bench.quick else 12)
    with tempfile.TemporaryDirectory() as folder:
        huggingface.save(lm.model, lm.tokenizer, Path(folder))
        model = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
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
    bench = SideBySide("evaluation")
    if bench.quick:
        # Threads that wait for one another spin, and a busy machine would be measured instead of the work.
        torch.set_num_threads(1)
    transformers = bench.peer("transformers")
    if importlib.util.find_spec("lm_eval"):
        lm_eval = bench.peer("lm_eval.models.huggingface")
    else:
        lm_eval = None
        print("lm_eval is not installed, so it is left out; type: pip install lm_eval")
    tokenizer = learn_tokenizer(topics.values(), vocabulary_size=VOCABULARY)
    for name, shape in SHAPES.items():
        if name == "4 x 256" or not bench.quick:
            lm = _model(shape, tokenizer)
            _compare(bench, name, lm, _peers(lm, transformers, lm_eval))
            _compare_conversations(bench, name, lm, transformers)
    bench.finish()


if __name__ == "__main__":
    main()
