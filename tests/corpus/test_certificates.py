"""Servers whose TLS cannot be trusted: each page ends as a counted reason, and nothing is asked of the server."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from selftaught.corpus import transport
from selftaught.corpus.documents import Funnel
from selftaught.corpus.fetching import fetch
from selftaught.corpus.links import Link
from selftaught.corpus.politeness import FetchSettings

trustme = pytest.importorskip("trustme", reason="needs the extra `dev`")
NOW = datetime.now(UTC)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<p>good</p>" if self.path != "/robots.txt" else b""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that turns away is what is wanted here."""


@contextmanager
def serving(certificate: object | None) -> Iterator[tuple[str, int]]:
    server = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)  # type: ignore[attr-defined]
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield "127.0.0.1", server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_certificates_that_do_not_hold_each_have_their_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted, stranger = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setattr(transport, "RETRIES", 0)
    day = timedelta(days=1)
    certificates = {
        "good.test": trusted.issue_cert("good.test"),
        "expired.test": trusted.issue_cert("expired.test", not_before=NOW - 9 * day, not_after=NOW - day),
        "early.test": trusted.issue_cert("early.test", not_before=NOW + day, not_after=NOW + 9 * day),
        "wrong-host.test": trusted.issue_cert("another.test"),
        "stranger.test": stranger.issue_cert("stranger.test"),
        "self-signed.test": _SelfSigned(stranger, tmp_path),
        "plain.test": None,
    }
    funnel = Funnel()
    with ExitStack() as stack:
        places = {host: stack.enter_context(serving(one)) for host, one in certificates.items()}
        links = [Link(url=f"https://{host}/{page}", karma=3) for host in places for page in range(2)]
        links.append(Link(url=f"https://127.0.0.1:{places['good.test'][1]}/", karma=3))
        fetch(links, tmp_path / "pages", FetchSettings(timeout_seconds=600), funnel, places=places)
    assert {(reason, count) for (_, reason), count in funnel.counts.items()} == {
        ("", 15),
        ("kept", 2),
        ("certificate expired", 2),
        ("certificate not yet valid", 2),
        ("certificate of another host", 2),
        ("certificate not trusted", 4),
        ("no TLS", 2),
        ("private address", 1),
    }
    assert {drop.url: drop.reason for drop in funnel.drops}["https://self-signed.test/0"] == "certificate not trusted"


class _SelfSigned:
    """The certificate that an authority signs for itself, shown as a server's."""

    def __init__(self, authority: object, folder: Path) -> None:
        self.certificate, self.key = folder / "self.pem", folder / "self.key"
        authority.cert_pem.write_to_path(self.certificate)  # type: ignore[attr-defined]
        authority.private_key_pem.write_to_path(self.key)  # type: ignore[attr-defined]

    def configure_cert(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self.certificate, self.key)
