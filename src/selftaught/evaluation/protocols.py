"""The choices that the papers leave open, as named settings whose defaults are the paper's reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selftaught.compute import DeviceName, PrecisionName
from selftaught.errors import UsageError
from selftaught.tasks.cloze import Join
from selftaught.tasks.modelling import Form, Reading, Units, Version
from selftaught.tasks.winograd import Form as SchemaForm


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Every choice that a score depends on; each score's protocol repeats those it used."""

    stride: int = 32
    """Tokens scored by each window of a long text (the authors are reported to have used 32); 0: windows do not overlap."""
    detokeniser: Form = "invertible"
    """How the tokenisation of data sets is undone: so that it can be had back (GPT-2 paper, section 3.1), by the rules of
    Megatron-LM (WikiText only), or not at all. Losses are always divided by the original units."""
    unknown: Literal["keep", "replace"] = "keep"
    """Whether <unk> stays in a data set's text or becomes `?`, which is easier to predict."""
    units: Units = "words-and-ends"
    """What WikiText, the Penn Treebank and One Billion Words divide losses by: words with or without line ends, pieces between
    blanks (as lm-evaluation-harness counts), or the model's own tokens."""
    wikitext: Version = "tokens"
    """Which WikiText: wiki.test.tokens, or wiki.test.raw as one text or article by article."""
    full_windows: bool = False
    """Let the last window of a text begin earlier, so that it is as long as the others."""
    grid: bool = False
    """Score data sets of language modelling also in every other way: de-tokeniser, <unk>, stride, units."""
    sentences_alone: bool = False
    """Score the sentences of One Billion Words each alone instead of joined by newlines."""
    clean_lambada: bool = True
    """Straight quotes and a newline before each passage, as the authors said they did."""
    cbt_join: Join = "blank"
    """What stands between the sentences of the Children's Book Test."""
    schemas: SchemaForm = "sentences"
    """Partial scoring of schemas: of the sentences as they are, or with the blanks that lm-evaluation-harness has there."""
    word_beams: int = 32
    """Beams of the search for the most probable last word of LAMBADA that is no stop word; 0: bar tokens only."""
    history: Literal["gold", "own"] = "gold"
    """Whose answers stand before a question of CoQA: the data set's first ones, or the model's."""
    answer_tokens: int = 50
    """Longest answer in CoQA."""
    summary_k: int = 2
    """Summaries are drawn among so many tokens: 2 in the paper's text, 100 by a secondary source."""
    article_kept: Literal["beginning", "end"] = "beginning"
    """Which part of an article that does not fit into the model's context is summarised."""
    summary_tokens: int = 100
    """Written after each article; the first three sentences count."""
    example_pairs: int = 5
    """Translated sentences shown before each one to translate, as many of them as fit."""
    example_questions: int = 5
    """Questions with answers shown before each of Natural Questions."""
    question_tokens: int = 20
    """Longest answer in Natural Questions."""
    confidence: Literal["answer-and-end", "answer"] = "answer-and-end"
    """Whether the probability of an answer counts that of the line end after it."""
    most_bytes: int = 400_000
    """Of held-out text, and as much of training text."""
    most_questions: int = 400
    """Of each kind made from held-out text."""
    limit: int = 0
    """Use only the first questions or lines of each data set; 0: all. For trying things out."""
    seed: int = 1
    """Seed of what is chosen from the corpus."""
    device: DeviceName = "auto"
    """Where the model is computed."""
    precision: PrecisionName = "float32"
    """Format of matrix products; auto: bfloat16 where the machine has it."""
    float32_questions: int = 64
    """With bfloat16: first questions (or lines of a text) that are asked again in float32, to tell what the format changes of
    each score; 0: all."""

    def __post_init__(self) -> None:
        """Refuse what measures nothing."""
        counts = ("answer_tokens", "summary_tokens", "question_tokens", "most_bytes", "most_questions")
        for least, names in (
            (
                0,
                (
                    "stride",
                    "limit",
                    "word_beams",
                    "summary_k",
                    "example_pairs",
                    "example_questions",
                    "float32_questions",
                ),
            ),
            (1, counts),
        ):
            for name in names:
                if getattr(self, name) < least:
                    raise UsageError(
                        f"--{name.replace('_', '-')} is too small",
                        expected=f"{least} or more",
                        got=str(getattr(self, name)),
                    )

    @property
    def windows(self) -> str:
        """The stride in words."""
        if self.stride:
            return f"windows scoring {self.stride} tokens each"
        return "windows that do not overlap" + (", the last one full" if self.full_windows else "")

    @property
    def first_only(self) -> str:
        """The limit in words, with a separator before it."""
        return f"; only the first {self.limit:,}" if self.limit else ""

    @property
    def reading(self) -> Reading:
        """How text that was tokenised is read."""
        return Reading(
            detokeniser=self.detokeniser,
            unknown=self.unknown,
            units=self.units,
            version=self.wikitext,
            limit=self.limit,
        )


MODES = {
    "paper": EvaluateSettings(),
    "harness": EvaluateSettings(
        stride=0,
        detokeniser="megatron",
        units="pieces",
        wikitext="articles",
        full_windows=True,
        clean_lambada=False,
        schemas="harness",
        word_beams=0,
    ),
    "raw": EvaluateSettings(stride=0, detokeniser="none", units="tokens", wikitext="raw", clean_lambada=False),
}
"""The paper's reading; what lm-evaluation-harness computes for LAMBADA, WikiText and partial scoring of schemas; text as it is,
by the model's tokens."""
