"""Addresses that are never fetched: Wikipedia and its copies, Reddit itself, what is no text, and lists of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from selftaught import storage
from selftaught.corpus import urls
from selftaught.errors import InputError

_MEDIA = frozenset(
    (
        *(".jpg", ".jpeg", ".png", ".gif", ".gifv", ".webp", ".svg", ".bmp", ".ico", ".tif", ".tiff"),
        *(".mp4", ".webm", ".avi", ".mov", ".wmv", ".flv", ".swf", ".mkv", ".mpg", ".mpeg", ".m4v"),
        *(".mp3", ".ogg", ".wav", ".m4a", ".pdf", ".doc", ".docx", ".ppt", ".xls", ".epub"),
        *(".zip", ".gz", ".bz2", ".xz", ".rar", ".7z", ".tar", ".tgz", ".torrent", ".exe", ".dmg", ".iso", ".apk"),
    )
)
_HOSTS_KEPT = 100_000
_BLOCKED = {
    "wikipedia": (
        "wikipedia.org",
        "wikipedia.com",
        "wikimedia.org",
        "wiktionary.org",
        "wikibooks.org",
        "wikiquote.org",
    ),
    "wikipedia mirror": (
        *(
            "wikiwand.com",
            "wikivisually.com",
            "wiki2.org",
            "wikimili.com",
            "wikizero.com",
            "wikibrief.org",
            "kiddle.co",
        ),
        *("infogalactic.com", "everipedia.org", "revolvy.com", "digplanet.com", "dbpedia.org", "justapedia.org"),
        *(
            "absoluteastronomy.com",
            "fact-index.com",
            "wordiq.com",
            "enacademic.com",
            "en.academic.ru",
            "self.gutenberg.org",
        ),
        *("encyclopedia.thefreedictionary.com", "nationmaster.com/encyclopedia", "reference.com/browse/wiki"),
        *(
            "answers.com/topic",
            "biocrawler.com",
            "wikinfo.org",
            "worldheritage.org",
            "en.wikialpha.org",
            "wikiless.org",
        ),
    ),
    "reddit": ("reddit.com", "redd.it", "redditmedia.com"),
    "images and video": (
        *(
            "imgur.com",
            "flickr.com",
            "flic.kr",
            "gfycat.com",
            "giphy.com",
            "imageshack.us",
            "photobucket.com",
            "min.us",
        ),
        *("tinypic.com", "twitpic.com", "deviantart.com", "instagram.com", "quickmeme.com", "livememe.com", "qkme.me"),
        *(
            "memegenerator.net",
            "pinterest.com",
            "youtube.com",
            "youtu.be",
            "vimeo.com",
            "dailymotion.com",
            "liveleak.com",
        ),
        *(
            "video.google.com",
            "streamable.com",
            "twitch.tv",
            "ustream.tv",
            "vine.co",
            "soundcloud.com",
            "open.spotify.com",
        ),
    ),
}
"""GPT-2 paper, section 2.1: "we removed all Wikipedia documents". The mirrors are well-known ones of those that Wikipedia lists
as "Mirrors and forks"; what copies elsewhere say of themselves is looked for in the text (`corpus.cleaning`)."""


class BlockList:
    """Why an address is not fetched: by its domain (and those below it), the first part of its path, or its ending."""

    def __init__(self, more: Mapping[str, Iterable[str]] | None = None) -> None:
        """Begin with the list above; `more` maps further reasons to entries `domain` or `domain/first-part-of-path`."""
        self._reasons: dict[str, str] = {}
        for reason, entries in {**_BLOCKED, **(more or {})}.items():
            for entry in entries:
                self._reasons.setdefault(entry, reason)
        self._with_paths = {entry.partition("/")[0] for entry in self._reasons if "/" in entry}
        self._of_host = lru_cache(maxsize=_HOSTS_KEPT)(self._look_at_host)

    @classmethod
    def load(cls, files: Iterable[Path]) -> BlockList:
        """The list above with files of one domain, domain/path or URL a line (# begins a comment)."""
        return cls({f"listed in {path.name}": list(_entries(path)) for path in files})

    def reason(self, url: str) -> str:
        """Why a URL in normal form is not fetched, or ""."""
        place, _, rest = url.partition("://")[2].partition("/")
        path = rest.partition("?")[0]
        reason, with_paths = self._of_host(place.partition(":")[0])
        if with_paths:
            reason = next(filter(None, (self._below(domain, path) for domain in with_paths)), reason)
        if reason:
            return reason
        _, dot, ending = path.rpartition(".")
        return "media file" if dot + ending.lower() in _MEDIA else ""

    def _look_at_host(self, host: str) -> tuple[str, tuple[str, ...]]:
        """Why nothing of a host is fetched, or "", and before that the domains of which it depends on the path."""
        labels, with_paths = host.split("."), list[str]()
        for first in range(len(labels) - 1):
            domain = ".".join(labels[first:])
            if reason := self._reasons.get(domain):
                return reason, tuple(with_paths)
            if domain in self._with_paths:
                with_paths.append(domain)
        return "", tuple(with_paths)

    def _below(self, domain: str, path: str) -> str:
        parts = path.split("/")
        for last in (1, 2):
            if len(parts) >= last and (reason := self._reasons.get("/".join((domain, *parts[:last])))):
                return reason
        return ""


def _entries(path: Path) -> Iterable[str]:
    with storage.reading(path) as stream:
        for number, line in enumerate(stream, 1):
            entry = line.decode("utf-8", "replace").partition("#")[0].strip().lower()
            if not entry:
                continue
            url = urls.normalise(entry if "://" in entry else f"http://{entry}")
            if not url:
                raise InputError(
                    f"{path}:{number} is no domain", expected="a domain, domain/path or URL a line", got=repr(entry)
                )
            yield url.partition("://")[2].rstrip("/")
