"""Schemas as their authors and others hand them on: WSCollection.xml and pdp-test.xml, and texts with [MASK] for the pronoun.

The sentences are made as Trinh and Le (2018) made theirs: each name in the pronoun's place, with 's for a possessive, its
article small unless a sentence begins with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from selftaught import storage
from selftaught.errors import InputError
from selftaught.tasks.rows import malformed, read_lines

_MASK = "[MASK]"
_POSSESSIVE = frozenset(("my", "his", "her", "our", "their", "its", "your"))
_ARTICLES = ("the ", "a ", "an ", "my ", "his ", "her ", "their ", "our ", "some ")


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A pronoun between two pieces of text, and what it may stand for."""

    id: str
    prefix: str
    pronoun: str
    """ "" where the file does not tell."""
    suffix: str
    names: list[str]
    label: int

    @property
    def candidates(self) -> list[str]:
        """The names as they stand in the sentence."""
        begins = not self.prefix or re.search(r"[.!?][\"')]*$", self.prefix) is not None
        possessive = self.pronoun.lower() in _POSSESSIVE and not (
            self.pronoun.lower() == "her" and self.suffix[:1] in ".,;!?"
        )
        return [_placed(name, begins=begins, possessive=possessive) for name in self.names]

    @property
    def sentences(self) -> list[str]:
        """The whole text with each name."""
        return [joined(self.prefix, name, self.suffix) for name in self.candidates]


def _placed(name: str, *, begins: bool, possessive: bool) -> str:
    if begins:
        name = name[:1].upper() + name[1:]
    elif name.lower().startswith(_ARTICLES):
        name = name[:1].lower() + name[1:]
    return f"{name}'s" if possessive and not name.endswith("'s") else name


def joined(prefix: str, name: str, suffix: str) -> str:
    """A text with a name, or a pronoun, between its two pieces."""
    before = f"{prefix} " if prefix else ""
    after = suffix if suffix[:1] in ".,;:!?')" else f" {suffix}"
    return f"{before}{name}{after}"


def read_collection(path: Path, limit: int = 0) -> list[Schema]:
    """The schemas of WSCollection.xml (the first 273 of which are the challenge) or pdp-test.xml.

    Raises InputError for what is no XML and for a schema without text, names, or a right answer among them.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(storage.read_bytes(path), parser)
    except etree.XMLSyntaxError as problem:
        raise InputError(f"{path} is no XML", got=str(problem)) from problem
    found = []
    for number, element in enumerate(root.iter("schema"), start=1):
        names = [_text(answer) for answer in element.iterfind("answers/answer")]
        letter = _text(element.find("correctAnswer")).rstrip(".").upper()
        label = ord(letter) - ord("A") if len(letter) == 1 else -1
        schema = Schema(
            id=f"{path.stem}-{number}",
            prefix=_text(element.find("text/txt1")),
            pronoun=_text(element.find("text/pron")),
            suffix=_text(element.find("text/txt2")),
            names=names,
            label=label,
        )
        if len(names) < 2 or not all(names) or not schema.pronoun or not 0 <= label < len(names):
            raise malformed(
                path, element.sourceline or 0, expected="a text with a pronoun, two names or more, a right one"
            )
        found.append(schema)
    if not found:
        raise InputError(f"{path} holds no schema")
    return found[:limit] if limit else found


def _text(element: etree._Element | None) -> str:
    return "" if element is None else " ".join("".join(map(str, element.itertext())).split())


def read_masked(path: Path) -> list[Schema]:
    """Groups of four lines and a blank one: text with [MASK], [MASK], names parted by commas, the right name.

    Raises InputError for a group that is not so.
    """
    return [_masked(path, number, group) for number, group in _groups(path)]


def _groups(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines between blank ones, and the number of the first."""
    group: list[str] = []
    for number, line in enumerate([*read_lines(path), ""], start=1):
        if line.strip():
            group.append(" ".join(line.split()))
        elif group:
            yield number - len(group), group
            group = []


def _masked(path: Path, number: int, group: list[str]) -> Schema:
    names = [name.strip() for name in group[2].split(",")] if len(group) == 4 else []
    if len(names) < 2 or group[3] not in names or group[0].count(_MASK) != 1:
        raise malformed(
            path, number, expected=f"a line with one {_MASK}, {_MASK}, names parted by commas, the right name"
        )
    before, _, after = group[0].partition(_MASK)
    return Schema(
        id=f"{path.stem}-{number}",
        prefix=before.strip(),
        pronoun="",
        suffix=after.strip(),
        names=names,
        label=names.index(group[3]),
    )
