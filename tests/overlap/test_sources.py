"""Text that stays bytes is the text that `corpus.local` and `corpus.documents` read as strings."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught import storage
from selftaught.corpus import documents, local
from selftaught.corpus.documents import Document
from selftaught.corpus.ngrams import joined, ngram_hashes
from selftaught.errors import DamagedFileError, InputError
from selftaught.overlap import chunks, indexing, sources, utf8
from selftaught.overlap.plan import IndexSettings

SIGNS = "ab \n.\u00e9\u0130\u03a3\u03c3\u2028\u3000\U0001d11e"


def hashes_of(source: sources.Source, n: int = 2) -> tuple[list[int], list[int]]:
    """Of the pieces of bytes: all hashes, and n-grams of each document."""
    found = [chunks.hashed(piece, n) for piece in chunks.pieces(source, n)]
    counts = [count for one in found for count in np.diff(one.ends, prepend=0).tolist()]
    return [value for one in found for value in one.hashes.tolist()], counts


def expected(source: sources.Source, n: int = 2) -> tuple[list[int], list[int]]:
    """The same of the documents as strings."""
    each = [ngram_hashes(text, n).tolist() for text in source]
    return [value for one in each for value in one], [len(one) for one in each]


@given(st.binary(max_size=12) | st.text(SIGNS, max_size=9).map(str.encode))
def test_utf8_is_told_from_what_is_not(data: bytes) -> None:
    whole = utf8.well_formed(np.frombuffer(data, np.uint8))
    assert data[:whole].decode() is not None
    if whole < len(data):
        with pytest.raises(UnicodeDecodeError):
            data[: whole + 4].decode()


@given(st.text(SIGNS), st.integers(2, 9))
def test_text_is_cut_where_strings_are(text: str, longest: int) -> None:
    data = text.encode()
    ends = [0, *utf8.cuts(np.frombuffer(data, np.uint8), longest).tolist()]
    first, places = 0, [0]
    while len(text) - first > longest:
        first = local._cut(text, first, longest)
        places.append(first)
    assert [data[:end].decode() for end in ends] == [text[:place] for place in places]


@given(st.lists(st.text(), min_size=1, max_size=4), st.booleans())
def test_json_strings_are_unescaped_or_left_alone(texts: list[str], ascii_only: bool) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    rows = [json.dumps(text, ensure_ascii=ascii_only).encode() for text in texts]
    out, size = utf8.unescaped(np.frombuffer(b"\xff".join(rows), np.uint8))
    if size >= 0:
        assert out[:size].tobytes() == b"\xff".join(text.encode() for text in texts)
    else:
        assert any(not any("!" <= sign < "\x80" for sign in text) for text in texts)


@pytest.mark.parametrize("rest", ["", "\n", "\n\n  \n"])
@pytest.mark.parametrize("size", [40, 1 << 22])
def test_rows_of_every_kind_are_the_rows_that_local_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: str, size: int
) -> None:
    monkeypatch.setattr(sources, "READ_BYTES", size)
    rows = [
        b'{"text": "one two three"}',
        b'{"id": 1, "text": "O\\u0130NE \\u03a3\\u03a3 \\ud834\\udd1e x \\n y\\t\\"z\\" \\/ \\\\ end"}',
        b'{"text": "a b \\ud834 c"}',
        b'{"text": "a b \xff c"}',
        b'{"text": "a b c", "x": "\xff"}',
        b'{"text": 7}',
        b'{"text": "   "}',
        b'{"text": "\\u2028 \\u3000"}',
        '{"text": "\u00e9\u00e9 \u00e8\u00e8 \u03a3\u03a3\u03a3"}'.encode(),
        b'{"words": "a b c"}',
        b"[1, 2]",
        b"{",
        b'{"text": "a b", "text": "c d e"}',
        b'{"te\\u0078t": "five six"} ',
    ]
    for number in range(len(rows)):
        path = tmp_path / "rows.jsonl"
        # Each with plain rows around it, so that both ways of reading are gone.
        path.write_bytes(b"\n".join([rows[0], rows[number], b'{"text": "last of all"}']) + rest.encode())
        source = sources.text_of(path)
        assert hashes_of(source) == expected(source), rows[number]
    draw = random.Random(1)
    path.write_bytes(b"\n".join(draw.choices(rows, k=50)))
    assert hashes_of(sources.text_of(path)) == expected(sources.text_of(path))


@given(st.binary(max_size=30), st.integers(0, 30))
def test_rows_that_were_damaged_are_dropped_alike(noise: bytes, place: int) -> None:
    row = b'{"text": "some words of a row", "more": {"x": [1, 2.5, null, true]}}'
    line = (row[:place] + noise + row[place:]).replace(b"\n", b"")
    fast = sources.Lines(line, sources._texts_in).joined()
    texts = sources._texts_in(line)
    # What other fields hold is skipped and not judged; there numbers beyond all bounds may stand.
    try:
        msgspec.json.decode(line)
    except msgspec.ValidationError:
        return
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    assert fast == (joined(texts), len(texts))


@pytest.mark.parametrize("size", [5, 17, 1 << 22])
@pytest.mark.parametrize(
    "data",
    [
        "\ufeffone two three.\n\nfour \u03a3five six\nseven".encode(),
        b"\xef\xbb",
        "caf\u00e9 \u00e9t\u00e9 na\u00efve ".encode() * 9,
        b"one two three four \xff five six seven eight nine ten",
        b"one two three four five six \0 seven eight",
        "ends within \u00e9".encode()[:-1],
        b"   \n \n",
        b"word " * 30 + b"   " * 30,
    ],
)
def test_text_of_every_kind_is_the_text_that_local_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, size: int
) -> None:
    for room in (sources, local):
        monkeypatch.setattr(room, "READ_BYTES" if room is sources else "_READ_BYTES", size)
    monkeypatch.setattr(local, "LONGEST_DOCUMENT", 20)
    monkeypatch.setattr(local, "read_documents", with_short_documents(local.read_documents))
    (tmp_path / "a.txt").write_text("never nothing at all")
    (tmp_path / "b.txt").write_bytes(data)
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(data))
    source = sources.text_of(tmp_path)
    assert hashes_of(source) == expected(source)


def with_short_documents(read):
    return lambda files, funnel: read(files, funnel, local.ReadingSettings(longest_document=20))


def test_a_row_that_is_too_long_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LONGEST_ROW_BYTES", 64)
    monkeypatch.setattr(sources, "READ_BYTES", 16)
    for size in range(30, 70):
        long = json.dumps({"text": "w " * size})
        for rows in (["{}", long, '{"text": "x y z"}'], [long], ['{"text": "x y z"}', long, long, '{"text": "x y"}']):
            (tmp_path / "rows.jsonl").write_text("\n".join(rows))
            source = sources.text_of(tmp_path / "rows.jsonl")
            try:
                wanted = expected(source)
            except InputError:
                with pytest.raises(InputError, match="no text"):
                    hashes_of(source)
            else:
                assert hashes_of(source) == wanted


def test_a_corpus_is_its_documents_and_damage_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "READ_BYTES", 50)
    path = documents.split_file(tmp_path, "train")
    storage.write_jsonl(path, [Document(id=str(n), text=f"\u03a3 a{n} b \n" * n, title="x\xff") for n in range(9)])
    source = sources.text_of(tmp_path)
    assert hashes_of(source) == expected(source)
    assert len(hashes_of(source)[1]) == 9
    storage.write_jsonl(path, [{"id": "1", "text": "a b c d"}, {"id": "2", "words": "a"}])
    with pytest.raises(DamagedFileError):
        hashes_of(source)


@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary"])
def test_columns_are_the_rows_that_local_reads(tmp_path: Path, kind: str) -> None:
    arrow, writer = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = ["a b c", "  ", None, "\u03a3\u03a3 \u03a3 x", "", "\u3000", "d e f"] * 300 + ["x y z"] * 2000
    column = arrow.array(texts, arrow.dictionary(arrow.int32(), arrow.string()) if kind == "dictionary" else kind)
    for rows in (column, column[2100:], column[:0]):
        writer.write_table(arrow.table({"id": rows, "text": rows}), tmp_path / "t.parquet")
        source = sources.text_of(tmp_path / "t.parquet")
        if len(rows):
            assert hashes_of(source) == expected(source)
        else:
            with pytest.raises(InputError, match="no text"):
                hashes_of(source)


def test_any_number_of_threads_make_the_same_filter_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(3)
    monkeypatch.setattr(sources, "READ_BYTES", 30_000)
    texts = [" ".join("".join(draw.choices("abcdefghij", k=5)) for _ in range(300)) for _ in range(200)]
    (tmp_path / "a.txt").write_text("\n\n".join(texts[:100]))
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts[100:]))
    made = [indexing.filled(sources.text_of(tmp_path), IndexSettings(jobs=jobs)) for jobs in (1, 2, 5)]
    assert len(made[0].blocks) >= 1 << 12
    for other in made[1:]:
        assert (other.keys, other.capacity) == (made[0].keys, made[0].capacity)
        assert np.array_equal(other.blocks, made[0].blocks)
    monkeypatch.setattr(indexing, "KEPT_HASHES", 10_000)
    twice = indexing.filled(sources.text_of(tmp_path), IndexSettings(jobs=2))
    assert np.array_equal(twice.blocks, made[0].blocks)
