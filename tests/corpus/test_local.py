"""Folders of text, good and bad."""

from __future__ import annotations

import gzip
import json
import os
import time
import zipfile
from pathlib import Path

import pytest

from selftaught.corpus import books, local
from selftaught.corpus.documents import Document, Funnel
from selftaught.errors import InputError


def read(*paths: Path, longest: int = local.LONGEST_DOCUMENT) -> tuple[list[Document], dict[str, int]]:
    funnel = Funnel()
    rules = local.ReadingSettings(longest_document=longest)
    rows = list(local.read_documents(local.find_files(paths), funnel, rules))
    return rows, {reason: count for (_, reason), count in funnel.counts.items() if reason not in ("", "kept")}


def test_reads_every_kind_below_a_folder_in_a_fixed_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "note.md").write_text("# A note", encoding="utf-8")
    (tmp_path / "a.txt").write_text("plain", encoding="utf-8")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": "row", "url": "http://x.org/"}).encode()))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    rows, drops = read(tmp_path)
    assert [(row.id, row.text, row.url) for row in rows] == [
        ("a.txt", "plain", "a.txt"),
        ("c.jsonl.gz#1", "row", "http://x.org/"),
        ("b/note.md", "# A note", "b/note.md"),
    ]
    assert drops == {}


def test_names_do_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.txt").write_text("text", encoding="utf-8")
    assert read(tmp_path / "one")[0] == read(tmp_path / "two")[0]


def test_bad_files_and_rows_are_dropped_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"MZ\x00\x01\x02")
    (tmp_path / "empty.txt").write_bytes(b"  \n")
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "good"}\n{"no": 1}\nnot json\n{"text": 5}\n\n[1]\n')
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    rows, drops = read(tmp_path)
    assert [row.text for row in rows] == ["caf\ufffd", "good"]
    assert drops == {"binary": 1, "empty": 1, "no text": 3, "not JSON": 1}


def test_a_long_text_is_cut_where_it_can_be_and_nothing_is_lost(tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {number}. " + "word " * 200 for number in range(300))
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    rows, _ = read(tmp_path / "book.txt")
    assert len(rows) > 2
    assert "".join(row.text for row in rows) == text
    assert all(len(row.text) <= local.LONGEST_DOCUMENT for row in rows)
    assert all(row.text.endswith("\n\n") for row in rows[:-1])
    assert len({row.url for row in rows}) == len(rows)
    assert [row.text for row in read(tmp_path / "book.txt", longest=0)[0]] == [text]


def test_one_endless_line_is_read_in_bounded_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_READ_BYTES", 512)
    (tmp_path / "line.txt").write_text("é" * 50_001, encoding="utf-8")
    rows, _ = read(tmp_path, longest=1000)
    assert "".join(row.text for row in rows) == "é" * 50_001
    assert max(len(row.text) for row in rows) == 1000


def test_a_row_that_is_too_long_is_dropped_and_the_next_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LONGEST_ROW_BYTES", 1000)
    long = json.dumps({"text": "x" * 5000})
    (tmp_path / "rows.jsonl").write_text(f'{{"text": "before"}}\n{long}\n{{"text": "after"}}\n', encoding="utf-8")
    rows, drops = read(tmp_path)
    assert [row.text for row in rows] == ["before", "after"]
    assert drops == {"row too long": 1}


def test_nothing_to_read_is_an_error_that_says_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no text in .*expected files ending in \.txt") as problem:
        read(tmp_path)
    assert problem.value.exit_code == 3
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path)


CHAPTER = (
    "<?xml version='1.0' encoding='utf-8'?><html xmlns='http://www.w3.org/1999/xhtml'><body><p>{}</p></body></html>"
)
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><dc:title>A Book</dc:title></metadata>
<manifest><item id="two" href="text/two.xhtml"/><item id="one" href="text/chapter%20one.xhtml"/>
<item id="toc" href="toc.xhtml" properties="nav"/><item id="note" href="note.xhtml"/></manifest>
<spine><itemref idref="toc"/><itemref idref="one"/><itemref idref="two"/><itemref idref="note" linear="no"/></spine></package>"""


def write_epub(path: Path, **entries: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        container = "<container><rootfiles><rootfile full-path='OEBPS/book.opf'/></rootfiles></container>"
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("OEBPS/book.opf", entries.get("package", PACKAGE))
        archive.writestr("OEBPS/text/chapter one.xhtml", CHAPTER.format("It began in \u00c9vora."))
        archive.writestr("OEBPS/text/two.xhtml", CHAPTER.format("It ended there."))
        archive.writestr("OEBPS/toc.xhtml", CHAPTER.format("Contents"))
        archive.writestr("OEBPS/note.xhtml", CHAPTER.format("Aside"))


def test_books_are_read_in_the_order_of_their_spine(tmp_path: Path) -> None:
    write_epub(tmp_path / "a.epub")
    write_epub(tmp_path / "b.epub", package=PACKAGE.replace("text/two", "text/nowhere"))
    (tmp_path / "c.epub").write_bytes(b"no zip at all")
    rows, drops = read(tmp_path)
    assert [(row.title, row.text) for row in rows] == [("A Book", "It began in \u00c9vora.\n\nIt ended there.")]
    assert drops == {"not EPUB": 2}


def test_a_book_does_not_read_files_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    entity = f'<!DOCTYPE package [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>' + PACKAGE.replace("A Book", "&x;")
    write_epub(tmp_path / "a.epub", package=entity)
    assert "secret" not in str(read(tmp_path)[0])


def test_pages_and_pdf(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf", reason="needs the extra `corpus`")
    paragraphs = "".join(
        f"<p>Paragraph {number} tells how a kettle is cleaned with vinegar.</p>" for number in range(9)
    )
    page = f"<html><body><nav>Home</nav><article>{paragraphs}</article></body></html>"
    (tmp_path / "a.html.gz").write_bytes(gzip.compress(page.encode()))
    with pypdf.PdfWriter() as blank:
        blank.add_blank_page(100, 100)
        blank.write(tmp_path / "b.pdf")
        blank.encrypt("secret")
        blank.write(tmp_path / "c.pdf")
    (tmp_path / "d.pdf").write_bytes(b"no PDF")
    (tmp_path / "e.pdf").write_bytes(hello_pdf())
    rows, drops = read(tmp_path)
    assert "Paragraph 8 tells" in rows[0].text
    assert [row.text for row in rows[1:]] == ["Hello there"]
    assert drops == {"empty": 1, "locked": 1, "not PDF": 1}


def test_books_that_harm_who_reads_them_are_dropped_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "SECONDS", 1.0)
    monkeypatch.setattr(books, "_read", harm)
    for name in ("crash", "hang", "good", "raise", "late"):
        (tmp_path / f"{name}.html").write_text(name, encoding="utf-8")
    rows, drops = read(tmp_path)
    assert [row.text for row in rows] == ["good", "late"]
    assert drops == {"crash": 1, "timeout": 1, "error": 1}


def harm(data: bytes, kind: str) -> books.Book:
    """What a book does to the process that reads it."""
    if data == b"crash":
        os._exit(9)
    if data == b"hang":
        time.sleep(60)
    if data == b"raise":
        raise RecursionError(kind)
    return books.Book(text=data.decode())


def test_a_book_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LARGEST_BOOK_BYTES", 10)
    (tmp_path / "a.html").write_text("more than ten bytes", encoding="utf-8")
    assert read(tmp_path) == ([], {"too large": 1})


def hello_pdf() -> bytes:
    """A PDF of one page that says Hello there."""
    content = b"BT /F1 12 Tf 10 50 Td (Hello there) Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data, places = b"%PDF-1.4\n", list[int]()
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(data)
    return data + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet", reason="needs the extra `corpus`")
    import pyarrow as pa

    pyarrow.write_table(
        pa.table({"text": ["one", "", "two"], "karma": [3, 4, None], "n": [1, 2, 3]}), tmp_path / "a.parquet"
    )
    rows, drops = read(tmp_path)
    assert [(row.text, row.karma, row.url) for row in rows] == [("one", 3, "a.parquet#1"), ("two", None, "a.parquet#3")]
    assert drops == {"no text": 1}
    (tmp_path / "b.parquet").write_bytes(b"none")
    with pytest.raises(InputError, match=r"b\.parquet is damaged"):
        read(tmp_path)
    pyarrow.write_table(pa.table({"body": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="no column of text"):
        read(tmp_path)
