"""Schemas in the formats of their authors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.errors import InputError
from selftaught.tasks import schema_files, winograd
from selftaught.tasks.schema_files import Schema

XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<collection>
<schema><text><txt1>
Caf\xe9 owners refused the workers a permit because</txt1><pron> they </pron><txt2> feared violence.
</txt2></text>
<answers><answer>Caf\xe9 owners </answer><answer>The workers</answer></answers><correctAnswer> B. </correctAnswer></schema>
<schema><text><txt1>Anna met Clara.</txt1><pron>Her</pron><txt2>dog barked.</txt2></text>
<answers><answer>Anna</answer><answer>the girl</answer></answers><correctAnswer>A</correctAnswer></schema>
</collection>
"""


def test_the_authors_xml(tmp_path: Path) -> None:
    storage.write_bytes(tmp_path / "WSCollection.xml", XML.encode("latin-1"))
    first, second = schema_files.read_collection(tmp_path / "WSCollection.xml")
    assert first.sentences == [
        "Caf\xe9 owners refused the workers a permit because Caf\xe9 owners feared violence.",
        "Caf\xe9 owners refused the workers a permit because the workers feared violence.",
    ]
    assert (first.label, second.label) == (1, 0)
    assert second.sentences == ["Anna met Clara. Anna's dog barked.", "Anna met Clara. The girl's dog barked."]
    (one,) = schema_files.read_collection(tmp_path / "WSCollection.xml", limit=1)
    assert one == first
    asked = winograd.read_schemas(tmp_path / "WSCollection.xml", "partial")
    assert [schema.continuations[0] for schema in asked] == [" feared violence.", "'s dog barked."]


@pytest.mark.parametrize(
    ("pronoun", "suffix", "names"),
    [
        ("her", "dog ran.", ["Anna's", "the girl's"]),
        ("her", ".", ["Anna", "the girl"]),
        ("he", "ran.", ["Anna", "the girl"]),
    ],
)
def test_names_in_the_place_of_the_pronoun(pronoun: str, suffix: str, names: list[str]) -> None:
    schema = Schema(id="1", prefix="They saw", pronoun=pronoun, suffix=suffix, names=["Anna", "The girl"], label=0)
    assert schema.candidates == names
    assert schema.sentences[0] == f"They saw {names[0]}{'' if suffix == '.' else ' '}{suffix}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("B. ", "C"), "line 3"), (("<answer>Anna</answer>", ""), "line 7"), (("<pron>Her</pron>", ""), "line 7"),
        (("</collection>", ""), "no XML"),
    ],
)  # fmt: skip
def test_malformed_xml_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    storage.write_bytes(tmp_path / "pdp-test.xml", XML.replace(*change).encode("latin-1"))
    with pytest.raises(InputError, match=message):
        schema_files.read_collection(tmp_path / "pdp-test.xml")
    storage.write_text(tmp_path / "pdp-test.xml", "<collection></collection>")
    with pytest.raises(InputError, match="no schema"):
        schema_files.read_collection(tmp_path / "pdp-test.xml")


def test_xml_reaches_for_nothing_outside(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "secret", "Anna")
    entity = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'
    text = XML.replace("<collection>", f"{entity}<collection>").replace("<answer>Anna</answer>", "<answer>&e;</answer>")
    storage.write_bytes(tmp_path / "a.xml", text.encode("latin-1"))
    assert "Anna" not in schema_files.read_collection(tmp_path / "a.xml")[1].names


MASKED = "Dad owed Tom. [MASK]  paid .\n[MASK]\n Dad , the man ,Tom\n the man \n\n\nIt was [MASK] .\n[MASK]\nA,B\nB\n"


def test_texts_with_a_mask(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "PDP.txt", MASKED)
    first, second = schema_files.read_masked(tmp_path / "PDP.txt")
    assert first.sentences == ["Dad owed Tom. Dad paid .", "Dad owed Tom. The man paid .", "Dad owed Tom. Tom paid ."]
    assert (first.label, second.label, second.sentences) == (1, 1, ["It was A.", "It was B."])
    for wrong in (
        "a [MASK]\n[MASK]\nA,B\n",
        "a [MASK]\n[MASK]\nA,B\nC\n",
        "a\n[MASK]\nA,B\nA\n",
        "a [MASK]\n[MASK]\nA\nA\n",
    ):
        storage.write_text(tmp_path / "PDP.txt", MASKED + "\n" + wrong)
        with pytest.raises(InputError, match="line 12"):
            schema_files.read_masked(tmp_path / "PDP.txt")


def test_real_schemas_in_every_format(shared_data: Path) -> None:
    folder = shared_data / "zeroshot" / "winograd"
    rows = [json.loads(line) for line in (folder / "pdp60.jsonl").read_text(encoding="utf-8").splitlines()]
    found = schema_files.read_masked(folder / "PDP_vidkoci.txt")
    assert [(one.sentences, one.label) for one in found] == [(row["sentences"], row["label"]) for row in rows]
    rows = [json.loads(line) for line in (folder / "wsc273.jsonl").read_text(encoding="utf-8").splitlines()]
    found = schema_files.read_collection(folder / "WSCollection.xml", winograd.SCHEMAS)
    assert [(one.label, one.prefix, one.suffix) for one in found] == [
        (row["label"], row["prefix"], row["suffix"]) for row in rows
    ]
    assert len(schema_files.read_masked(folder / "wsc273_vidkoci.txt")) == 273
