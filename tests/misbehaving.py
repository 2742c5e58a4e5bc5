"""A web server on this machine that misbehaves in all the ways that servers do."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass
class Page:
    """What is behind a path.

    Attributes
    ----------
    body
        The file.
    ranges
        Whether the server sends parts.
    tag
        ETag of the file; none if empty.
    stops
        After how many bytes the first, second .. answer breaks off; later ones are whole.
    stalls
        Seconds without a byte in the middle of the first answers, one entry each.
    fails
        Status of the first answers, one entry each.
    lengths
        Whether the length is announced.
    chunked
        Whether the body is sent in chunks; a broken one lacks the last chunk.
    headers
        Further headers.
    redirect
        Path to go to instead.
    shift
        How many bytes the parts that are sent are off from those that were asked for.
    """

    body: bytes = b""
    ranges: bool = True
    tag: str = '"v1"'
    stops: list[int] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)
    fails: list[int] = field(default_factory=list)
    lengths: bool = True
    chunked: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    redirect: str = ""
    shift: int = 0


@dataclass
class Site:
    """The server's pages by path, and the requests it got."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def asked(self, path: str) -> list[str]:
        """The Range header of every request for a path ("" for none)."""
        return [span for one, span in self.requests if one == path]


class _Handler(http.server.BaseHTTPRequestHandler):
    site: ClassVar[Site]

    def do_GET(self) -> None:
        path = self.path
        if path.startswith("http://"):  # asked as a proxy
            path = "/proxied/" + path.removeprefix("http://").partition("/")[2]
        self.site.requests.append((path, self.headers.get("Range", "")))
        page = self.site.pages.get(path)
        if page is None:
            self.send_error(404)
        elif page.fails:
            self.send_response(page.fails.pop(0))
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif page.redirect:
            self.send_response(302)
            self.send_header("Location", page.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send(page)

    def _send(self, page: Page) -> None:
        asked = self.headers.get("Range")
        start, total = 0, len(page.body)
        if page.ranges and asked and self.headers.get("If-Range", page.tag) == page.tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= total:
                self.send_error(416)
                return
            start += page.shift
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        if page.tag:
            self.send_header("ETag", page.tag)
        body = page.body[start:]
        if page.lengths and not page.chunked:
            self.send_header("Content-Length", str(len(body)))
        if page.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.end_headers()
        stop = page.stops.pop(0) if page.stops else None
        sent = body if stop is None else body[:stop]
        if page.stalls:
            self._write(sent[: len(sent) // 2], page)
            self.wfile.flush()
            time.sleep(page.stalls.pop(0))
            sent = sent[len(sent) // 2 :]
        self._write(sent, page)
        if page.chunked and stop is None:
            self.wfile.write(b"0\r\n\r\n")
        if stop is not None or not page.lengths:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def _write(self, content: bytes, page: Page) -> None:
        try:
            if not page.chunked:
                self.wfile.write(content)
            elif content:
                self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        except OSError:  # the other side gave up waiting
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that is broken on purpose is no news."""


@contextmanager
def serving() -> Iterator[Site]:
    """Run the server while the block runs."""

    class Handler(_Handler):
        protocol_version = "HTTP/1.1"

    server = _Server(("127.0.0.1", 0), Handler)
    Handler.site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Handler.site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
