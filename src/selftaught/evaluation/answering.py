"""Questions that a model answers in its own words: CoQA and Natural Questions (GPT-2 paper, sections 3.5 and 3.8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from selftaught import console
from selftaught.evaluation import measuring
from selftaught.evaluation.answers import ConversationAnswer, QuizAnswer
from selftaught.evaluation.experiments import Question, Result
from selftaught.evaluation.measuring import Baseline, Measured
from selftaught.inference import prompting
from selftaught.inference.dialogue import Dialogues
from selftaught.inference.prompting import Continuation, Prompt
from selftaught.tasks import answers, conversations, marking, questions
from selftaught.tasks.conversations import Conversation, Laid

CONSTANT_ANSWER = "yes"
"""CoQA's most frequent answer."""
STORIES_TOGETHER, QUESTIONS_TOGETHER = 8, 128


@dataclass(frozen=True, kw_only=True)
class _Story:
    """A conversation with the id that its answers have."""

    id: str
    conversation: Conversation


def coqa(asked: Question) -> Result:
    """All turns of the development set, with gold answers or the model's own before them."""
    read = asked.limited(conversations.read_coqa(asked.source))
    stories = [_Story(id=one.id, conversation=one) for one in read]
    with console.progress("CoQA", len(stories), unit="stories") as bar:
        found = asked.keeping.answers(
            stories, ConversationAnswer, partial(_talk, asked, bar.advance), bar.advance, block=STORIES_TOGETHER
        )
    return found, _mark_coqa(asked, read, found)


def _talk(asked: Question, advance: Callable[[float], None], stories: Sequence[_Story]) -> list[ConversationAnswer]:
    """Some conversations to their ends."""
    model, rules = asked.model, asked.rules
    length = lru_cache(4096)(partial(prompting.length, model))
    lay = partial(
        conversations.lay,
        room=max(1, model.context + 1 - rules.answer_tokens),
        length=length,
        beginning=partial(prompting.beginning, model),
    )
    if rules.history == "gold":
        told = [[turn.answers[0] for turn in story.conversation.turns] for story in stories]
        laid = [
            [lay(story.conversation, number, answers) for number in range(len(answers))]
            for story, answers in zip(stories, told, strict=True)
        ]
        prompts = [Prompt(text=one.prompt, limit=rules.answer_tokens) for turns in laid for one in turns]
        found = iter(prompting.complete(model, prompts))
        written = [[next(found) for _ in turns] for turns in laid]
    else:
        laid, written = _with_own_answers(asked, lay, [story.conversation for story in stories])
    advance(len(stories))
    return [
        _answer(story.conversation, turns, answers)
        for story, turns, answers in zip(stories, laid, written, strict=True)
    ]


def _with_own_answers(
    asked: Question, lay: Callable[..., Laid], stories: Sequence[Conversation]
) -> tuple[list[list[Laid]], list[list[Continuation]]]:
    """Turn by turn, since each needs the answers before; what was read at a turn is remembered for the next."""
    dialogues = Dialogues(asked.model, len(stories))
    laid: list[list[Laid]] = [[] for _ in stories]
    written: list[list[Continuation]] = [[] for _ in stories]
    for number in range(max(len(story.turns) for story in stories)):
        prompts = {}
        for row, story in enumerate(stories):
            if number < len(story.turns):
                laid[row].append(lay(story, number, list(map(_said, written[row]))))
                prompts[row] = Prompt(text=laid[row][-1].prompt, limit=asked.rules.answer_tokens)
        for row, one in dialogues.complete(prompts).items():
            written[row].append(one)
    return laid, written


def _said(written: Continuation) -> str:
    return written.text.partition("Q:")[0].strip()


def _answer(conversation: Conversation, laid: Sequence[Laid], written: Sequence[Continuation]) -> ConversationAnswer:
    said = list(map(_said, written))
    references = [turn.answers for turn in conversation.turns]
    return ConversationAnswer(
        id=conversation.id,
        source=conversation.source,
        said=tuple(said),
        f1=tuple(answers.left_out_f1(one, gold) for one, gold in zip(said, references, strict=True)),
        exact=tuple(answers.left_out_exact(one, gold) for one, gold in zip(said, references, strict=True)),
        turns_left_out=sum(one.turns_left_out for one in laid),
        stories_cut=sum(one.story_cut for one in laid),
        questions_cut=sum(one.cut for one in written),
    )


def _mark_coqa(asked: Question, read: Sequence[Conversation], found: Sequence[ConversationAnswer]) -> list[Measured]:
    turns = [len(one.said) for one in found]
    total = sum(turns)
    references = [turn.answers for one in read for turn in one.turns]
    empty = sum(not said for one in found for said in one.said)
    questions_cut = sum(one.questions_cut for one in found)
    protocol = (
        f"development set, all {total:,} turns, {asked.rules.history} answers before, greedy, up to a line end and "
        f"{asked.rules.answer_tokens} tokens; {empty:,} empty answers; for want of room "
        f"{sum(one.turns_left_out for one in found):,} earlier turns (counted at each turn) and, at "
        f"{sum(one.stories_cut for one in found):,} turns, the end of the story left out"
        f"{f', at {questions_cut:,} of the question itself' if questions_cut else ''}{asked.rules.first_only}"
    )
    metrics = (
        ("f1", [sum(one.f1) for one in found], answers.left_out_f1),
        ("exact_match", [sum(one.exact) for one in found], answers.left_out_exact),
    )
    return [
        Measured(
            metric=metric,
            # The turns of a story are not independent: the error is that of stories.
            mark=marking.grouped(sums, turns),
            protocol=protocol,
            baseline=Baseline(
                what=f"always `{CONSTANT_ANSWER}`",
                value=sum(compare(CONSTANT_ANSWER, gold) for gold in references) / total,
            ),
        )
        for metric, sums, compare in metrics
    ]


def natural_questions(asked: Question) -> Result:
    """Short answers after example questions, with the model's confidence in each."""
    rules = asked.rules
    quiz = questions.read_questions(asked.source, examples=rules.example_questions, seed=rules.seed)
    chosen = asked.limited(quiz.asked)
    examples = _fitting(asked, quiz)

    def ask(block: Sequence[questions.Trivia]) -> list[QuizAnswer]:
        prompts = [Prompt(text=questions.prompt(examples, one.question), limit=rules.question_tokens) for one in block]
        written = prompting.complete(asked.model, prompts, advance=bar.advance)
        return [_quiz_answer(asked, one, each) for one, each in zip(block, written, strict=True)]

    with console.progress("Natural Questions", len(chosen), unit="questions") as bar:
        found = asked.keeping.answers(chosen, QuizAnswer, ask, bar.advance, block=QUESTIONS_TOGETHER)
    curve = questions.reliability([one.probability for one in found], [one.exact for one in found])
    asked.keeping.table("reliability", curve)
    shown = f"{quiz.words}{'' if len(examples) == len(quiz.examples) else f', {len(examples)} of which fit'}"
    return found, _mark_quiz(asked, quiz, found, shown)


def _fitting(asked: Question, quiz: questions.Quiz) -> list[questions.Trivia]:
    """The first examples that leave room for the longest question."""
    longest = max((one.question for one in quiz.asked), key=len)
    room = asked.model.context + 1 - asked.rules.question_tokens
    count = len(quiz.examples)
    while count and prompting.length(asked.model, questions.prompt(quiz.examples[:count], longest)) > room:
        count -= 1
    return quiz.examples[:count]


def _quiz_answer(asked: Question, one: questions.Trivia, written: Continuation) -> QuizAnswer:
    said = written.text.strip()
    sure = written.log_prob if asked.rules.confidence == "answer-and-end" else written.log_prob_text
    return QuizAnswer(
        id=one.id,
        question=one.question,
        said=said,
        answers=one.answers,
        probability=math.exp(sure),
        exact=answers.best_exact(said, one.answers),
        f1=answers.best_f1(said, one.answers),
        cut=written.cut,
    )


def _mark_quiz(
    asked: Question,
    quiz: questions.Quiz,
    found: Sequence[QuizAnswer],
    shown: str,
) -> list[Measured]:
    rules = asked.rules
    frequent = questions.frequent_answers(quiz.known)
    guesses = [(frequent.get(questions.question_word(one.question), ""), one.answers) for one in found]
    simple = f"most frequent answer for each question word, counted in the {'training' if quiz.trained else 'same'} set"
    protocol = (
        f"development set, {shown}, greedy, up to a line end and {rules.question_tokens} tokens; "
        f"{sum(not one.said for one in found):,} empty answers{measuring.left_out(found)}{rules.first_only}"
    )
    sure = "answer and its end" if rules.confidence == "answer-and-end" else "answer without its end"
    exact = [one.exact for one in found]
    probabilities = [one.probability for one in found]
    top = questions.most_confident(probabilities)
    guessed = sum(answers.best_exact(*guess) for guess in guesses) / len(found)
    return [
        Measured(
            metric="exact_match",
            mark=marking.accuracy(exact),
            protocol=protocol,
            baseline=Baseline(what=simple, value=guessed),
        ),
        Measured(
            metric="f1",
            mark=marking.mean([one.f1 for one in found]),
            protocol=protocol,
            baseline=Baseline(what=simple, value=marking.mean([answers.best_f1(*guess) for guess in guesses]).value),
        ),
        Measured(
            metric="accuracy_most_confident",
            mark=marking.accuracy([exact[number] for number in top]),
            protocol=f"{protocol}; the 1 % answered with the highest probability ({sure})",
            baseline=Baseline(what="all questions", value=marking.accuracy(exact).value),
        ),
        Measured(
            metric="calibration_error",
            mark=marking.resampled(
                list(zip(probabilities, exact, strict=True)), questions.calibration, seed=rules.seed
            ),
            protocol=f"{protocol}; probability of the {sure}, ten intervals (reliability-nq.jsonl)",
        ),
    ]
