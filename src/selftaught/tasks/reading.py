"""Files of tasks that are no plain tables: RACE's passages with several questions each, Story Cloze's five sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from selftaught import storage
from selftaught.errors import InputError
from selftaught.tasks.labelled import ExampleReader, Labelled, Row, Splits, table_rows
from selftaught.tasks.rows import malformed

_STORY_SEED, _STORY_DEV = 3535999445, 374
"""Seed and size of the split of Story Cloze's validation set in OpenAI's code (protocol, part 12)."""


def first_found(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The files of the first pattern that there are any of."""
    return next((found for pattern in patterns if (found := sorted(folder.glob(pattern)))), [])


def race(folder: Path, reader: ExampleReader) -> Splits:
    """RACE as unpacked (train/middle/*.txt, a JSON document a passage) or as JSON lines (train-middle*.jsonl, dev-high*.jsonl).

    Measured at the end: `middle` and `high` of the test set, or of the dev set where there is no test set.
    """
    found: dict[tuple[str, str], list[Labelled]] = {}
    for split in ("train", "dev", "test"):
        found |= {(split, level): rows for level, rows in race_levels(folder, split, reader).items()}
    if not any(split == "train" for split, _ in found):
        expected = "train/middle/*.txt or train-middle*.jsonl in a folder RACE"
        raise InputError(f"no training examples of race in {folder}", expected=expected)

    def both(split: str) -> list[Labelled]:
        return [example for (one, _), rows in found.items() if one == split for example in rows]

    levels = [level for split, level in found if split == "train"]
    last = "test" if both("test") else "dev"
    others = {level: rows for (split, level), rows in found.items() if split == last}
    notes = (f"trained on {' and '.join(levels)} alone",) if len(levels) == 1 else ()
    return Splits(
        train=both("train"),
        dev=both("dev"),
        others=({"test": both("test")} if both("test") else {}) | others,
        notes=notes,
    )


def race_levels(folder: Path, split: str, reader: ExampleReader) -> dict[str, list[Labelled]]:
    """The questions of one split of RACE, for middle and for high schools, as far as there are any."""
    found = {}
    for level in ("middle", "high"):
        inner = sorted((folder / split / level).glob("*.txt"))
        paths = inner or sorted(folder.glob(f"{split}-{level}*.jsonl*"))
        if rows := [example for path in paths for example in _passages(path, reader)]:
            found[level] = rows
    return found


def _passages(path: Path, reader: ExampleReader) -> Iterator[Labelled]:
    rows = table_rows(path) if ".jsonl" in path.suffixes else iter([(1, storage.read_json(path, dict[str, object]))])
    for number, row in rows:
        yield from reader.examples(path, _questions(path, number, row), labelled=True)


def _questions(path: Path, number: int, row: Row) -> Iterator[tuple[int, Row]]:
    lists = [row.get(name) for name in ("questions", "options", "answers")]
    if not all(isinstance(one, list) for one in lists) or len({len(one) for one in lists if one is not None}) != 1:
        raise malformed(path, number, expected="an article with equally many questions, options and answers")
    for question, options, answer in zip(*(one for one in lists if one is not None), strict=True):
        yield number, {"article": row.get("article"), "question": question, "options": options, "answer": answer}


_SENTENCES = tuple(f"InputSentence{number}" for number in range(1, 5))


def story_cloze(folder: Path, reader: ExampleReader) -> Splits:
    """Story Cloze: trained on 1,497 stories of the validation file, the other 374 choose the epoch; measured on the test file.

    The two parts are those of OpenAI's code, which shuffles with numpy's Mersenne Twister as scikit-learn does.
    """
    known, test = (
        [
            example
            for path in first_found(folder, patterns)
            for example in reader.examples(path, _stories(path), labelled=True)
        ]
        for patterns in (
            ("*ALL_val*.csv", "*val*.csv", "train*.jsonl"),
            ("*ALL_test*.csv", "*test*.csv", "test*.jsonl"),
        )
    )
    if not known:
        raise InputError(f"no stories in {folder}", expected="cloze_test_val__spring2016 - cloze_test_ALL_val.csv")
    order = np.random.RandomState(_STORY_SEED).permutation(len(known))  # the split is made with this one
    count = _STORY_DEV if len(known) > 2 * _STORY_DEV else max(1, len(known) // 5)
    dev, train = ([known[place] for place in part] for part in (order[:count], order[count:]))
    return Splits(train=train, dev=dev, others={"test": test} if test else {})


def _stories(path: Path) -> Iterator[tuple[int, Row]]:
    for number, row in table_rows(path):
        missing = [name for name in _SENTENCES if not str(row.get(name) or "").strip()]
        if missing:
            raise malformed(path, number, expected=f"the columns {', '.join(_SENTENCES)}", got=f"no {missing[0]}")
        right = str(row.get("AnswerRightEnding") or "-").strip()
        if right not in ("-", "1", "2"):
            raise malformed(path, number, expected="1 or 2 as AnswerRightEnding", got=right)
        yield (
            number,
            {
                **row,
                "story": " ".join(str(row[name]).strip() for name in _SENTENCES),
                "answer": right if right == "-" else str(int(right) - 1),
            },
        )
