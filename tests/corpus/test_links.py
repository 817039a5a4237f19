"""URLs in normal form and links of submissions."""

from __future__ import annotations

import gzip
import io
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.corpus import blocking, submissions, urls
from selftaught.corpus import links as links_module
from selftaught.corpus.blocking import BlockList
from selftaught.corpus.documents import Funnel
from selftaught.corpus.links import Link, LinkSettings, read_links
from selftaught.errors import InputError, UsageError
from tests.reference.normal_form import blocked, normal_form


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTP://Example.ORG:80/a?b=1&amp;c=2#top", "http://example.org/a?b=1&c=2"),
        ("https://example.org", "https://example.org/"),
        ("https://example.org?a=b", "https://example.org/?a=b"),
        ("http://example.org/?a=1&section=2&copy=%203", "http://example.org/?a=1&section=2&copy=%203"),
        ("http://example.org/a?x=1&amp;section=2&fbclid=Z", "http://example.org/a?x=1&section=2"),
        ("http://example.org./a?", "http://example.org/a"),
        ("https://example.org/x?utm_source=feed&id=7", "https://example.org/x?id=7"),
        ("http://example.org:8080/x y", "http://example.org:8080/x%20y"),
        ("http://bücher.example/straße", "http://xn--bcher-kva.example/stra%C3%9Fe"),
        ("http://[2001:DB8::1]:80/a", "http://[2001:db8::1]/a"),
        ("http://[URL]", ""),
        ("ftp://example.org/file", ""),
        ("http://localhost/", ""),
        ("mailto:a@example.org", ""),
        ("http://example.org:99999/", ""),
        ("", ""),
    ],
)
def test_normal_form(url: str, normal: str) -> None:
    assert urls.normalise(url) == normal


@given(st.text(max_size=60))
def test_any_text_is_normalised_or_refused_and_normal_forms_stay(text: str) -> None:
    once = urls.normalise("http://example.org/" + text)
    assert urls.normalise(once) == once


_PIECES = (
    "utm_source=a utm_ utm%5Fx=1 fbclid=x fbclid gclid= bfbclid=x ref_src=%41 a=b b = & &amp; &#35; &lt; &nbsp; # ? % + ; / "
    ".. :80 : @ \u00e9 A | \\ ~ - . _ '"
)
PIECES = st.sampled_from([*_PIECES.split(), "%20", " ", "\t", "\n", "\u3000"])


@given(st.sampled_from(["", "/", "/p", "?", "/p?a=1&"]), st.lists(PIECES, max_size=9))
def test_the_short_way_is_the_long_one_for_whole_addresses(start: str, pieces: list[str]) -> None:
    url = "http://example.org" + start + "".join(pieces)
    assert urls.normalise(url) == normal_form(url)


@given(st.text(alphabet="aZ9.-_:@%/=&?+utm_fbclid", max_size=30))
def test_the_short_way_is_the_long_one_for_queries_too(query: str) -> None:
    url = "http://example.org/a?" + query
    assert urls.normalise(url) == normal_form(url)


@given(st.text(alphabet="aZ9.-_:@%/\u00e9 [];'\t", max_size=30))
def test_the_short_way_to_the_normal_form_is_the_long_one(text: str) -> None:
    url = "http://" + text
    wanted = normal_form(url)
    assert urls.normalise(url) == wanted or "[" in text  # addresses in numbers have their own rule


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://en.wikipedia.org/wiki/X", "wikipedia"),
        ("http://en.wikipedia.org:8080/wiki/X", "wikipedia"),
        ("http://wikipedia.org.example.com/", ""),
        ("http://example.org/a.png?size=1", "media file"),
        ("http://example.org/?file=a.png", ""),
        ("http://notwikipedia.org/wiki/X", ""),
        ("http://www.reddit.com/r/a", "reddit"),
        ("http://i.imgur.com/x", "images and video"),
        ("http://example.org/a.PNG", "media file"),
        ("http://example.org/a", ""),
        ("https://www.wikiwand.com/en/X", "wikipedia mirror"),
        ("http://www.answers.com/topic/x", "wikipedia mirror"),
        ("http://www.answers.com/other/x", ""),
        ("http://unwanted.example/x", "listed in mine.txt"),
        ("http://www.half.example/bad/x?y", "listed in mine.txt"),
        ("http://www.half.example/badly", ""),
    ],
)
def test_blocked(url: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(
        "# mine\nunwanted.example\n\nhttp://half.example/bad/  # a part\n", encoding="utf-8"
    )
    assert BlockList.load([tmp_path / "mine.txt"]).reason(url) == reason


@given(
    st.lists(st.sampled_from(["www", "a", "half", "whole", "example", "reddit", "com"]), min_size=2, max_size=5),
    st.data(),
)
def test_hosts_that_are_remembered_are_blocked_as_the_slow_twin_says(labels: list[str], data: st.DataObject) -> None:
    listed = {"whole.example": "one", "half.example/bad": "two", "half.example/a/b": "three", "example.com": "four"}
    listed |= {"a.half.example/bad": "five", "com.example": "six"}
    block = BlockList({reason: [entry] for entry, reason in listed.items()})
    for _ in range(3):
        path = "/".join(data.draw(st.lists(st.sampled_from(["", "a", "b", "bad", "x.PNG", "png", ".gz"]), max_size=3)))
        url = f"http://{'.'.join(labels)}/{path}?q=a.png"
        assert block.reason(url) == blocked(url, block._reasons, blocking._MEDIA)


def test_a_block_list_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("good.example\nno domain at all\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.txt:2 is no domain"):
        BlockList.load([tmp_path / "mine.txt"])


def test_links_keep_the_best_of_reposts_and_count_every_row(tmp_path: Path) -> None:
    rows: list[object] = [
        {"id": "1", "url": "http://a.org/", "score": 3, "subreddit": "first", "created_utc": 0},
        {"id": "2", "url": "http://a.org/#x", "score": 9, "subreddit": "second", "created_utc": "86400"},
        {"id": "3", "url": "http://b.org/", "score": 2},
        {"id": "4", "url": "http://c.org/", "score": 50, "over_18": True},
        {"id": "5", "url": "http://d.org/", "score": 50, "is_self": True},
        {"id": "6", "url": "http://[URL]", "score": 50},
        {"id": "7", "url": "http://e.org/"},
        [],
        {"u": "http://f.org/", "k": 4, "r": "short"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\nbroken\n", encoding="utf-8")
    funnel = Funnel()
    links = list(read_links([path], LinkSettings(), funnel))
    assert [(link.url, link.karma, link.subreddit, link.date) for link in links] == [
        ("http://a.org/", 9, "second", "1970-01-02"),
        ("http://f.org/", 4, "short", ""),
    ]
    counts = {reason: count for (_, reason), count in funnel.counts.items()}
    assert counts == {
        "": 10,
        "kept": 2,
        "repost": 1,
        "karma below 3": 1,
        "over 18": 1,
        "self post": 1,
        "not a web address": 1,
        "no score": 1,
        "not JSON": 2,
    }


def test_real_submissions(shared_data: Path) -> None:
    """Counts stated in the data's description: 83 and 757 of 103 and 1,079 rows have at least 3 points."""
    funnel = Funnel()
    kept = read_links(
        [shared_data / "reddit" / "RS_v2_2005-06.xz", shared_data / "reddit" / "RS_v2_2005-07.xz"],
        LinkSettings(),
        funnel,
    )
    assert len(list(kept)) > 600
    counts = {reason: count for (_, reason), count in funnel.counts.items()}
    assert counts[""] == 103 + 1079
    assert counts[""] - counts["karma below 3"] - counts.get("over 18", 0) - counts.get("self post", 0) <= 83 + 757


def read(path: Path, **rules: object) -> tuple[list[Link], dict[str, int]]:
    funnel = Funnel()
    links = list(read_links([path], LinkSettings(**rules), funnel))  # type: ignore[arg-type]
    return links, {reason: count for (_, reason), count in funnel.counts.items() if reason not in ("", "kept")}


def test_tables_and_plain_lists(tmp_path: Path) -> None:
    table = tmp_path / "links.csv.gz"
    table.write_bytes(
        gzip.compress(
            b'Title,URL,score,date,nsfw\n"A, b",http://a.org/,7,2015-02-03,no\nc,http://c.org/,x,,\nd,http://d.org/,9,,true\n'
        )
    )
    links, drops = read(table)
    assert links == [Link(url="http://a.org/", karma=7, title="A, b", date="2015-02-03")]
    assert drops == {"no score": 1, "over 18": 1}
    plain = tmp_path / "urls.txt"
    plain.write_text("http://b.org/\n\nhttp://a.org/?x=1&amp;y=2\nnone\n", encoding="utf-8")
    assert read(plain, karma=5) == (
        [Link(url="http://a.org/?x=1&y=2", karma=5), Link(url="http://b.org/", karma=5)],
        {"not a web address": 1},
    )
    table.with_name("no.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="no column of addresses"):
        read(table.with_name("no.csv"))


def test_days_and_removed_submissions(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"url": "http://old.org/", "score": 3, "created_utc": 0},
        {"url": "http://new.org/", "score": 3, "created_utc": "1514764800"},
        {"url": "http://when.org/", "score": "3"},
        {"url": "http://gone.org/", "score": 3.0, "created_utc": 86400, "removed_by_category": "moderator"},
        {"url": "[deleted]", "score": 3},
        {"url": "http://in.org/", "score": 3, "created_utc": 86400.0},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    links, drops = read(path, since="1970-01-02", until="2018-01-01")
    assert [link.url for link in links] == ["http://in.org/"]
    assert drops == {"out of the dates": 2, "no date": 1, "removed": 2}
    assert {link.url for link in read(path, removed=True)[0]} >= {"http://gone.org/", "http://when.org/"}
    with pytest.raises(UsageError, match="--until cannot be 2018"):
        LinkSettings(until="2018")


def test_more_links_than_memory_holds_come_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(3)
    rows = [
        {"url": f"http://h{draw.randrange(80)}.org/", "score": draw.randrange(3, 9), "title": f"{n}"}
        for n in range(400)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    whole = read(path)
    monkeypatch.setattr(links_module, "_HELD_LINKS", 7)
    assert read(path) == whole


def test_a_line_that_is_too_long_is_one_row_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "LONGEST_ROW_BYTES", 1000)
    monkeypatch.setattr(submissions, "_READ_BYTES", 300)
    good = json.dumps({"url": "http://a.org/", "score": 5})
    long = json.dumps({"url": "http://b.org/", "score": 5, "selftext": "x" * 5000})
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{long}\n{good}\n{long}", encoding="utf-8")
    links, drops = read(path)
    assert [link.url for link in links] == ["http://a.org/"]
    assert drops == {"not JSON": 2}


@given(
    st.lists(st.sampled_from([b'{"score": 3}', b"{", b"", b"  ", b'{"score": "\xff"}', b'{"score": 44444444}'])),
    st.integers(1, 40),
)
def test_rows_are_the_lines_however_they_are_read(lines: list[bytes], read_bytes: int) -> None:
    read = submissions._blocks(io.BytesIO(b"\n".join(lines)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submissions, "_READ_BYTES", read_bytes)
        rows = [row for block in read for row in submissions._decoded(block)]
    assert rows == [submissions._decoded_row(line) for line in lines if line.strip()]
