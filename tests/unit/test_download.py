from __future__ import annotations

import gzip
import hashlib
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from plkd.download import fetch
from plkd.errors import InputError

CONTENT = b"\x89HDF a published file\n" * 1000
PACKED = gzip.compress(CONTENT, mtime=0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Site(http.server.BaseHTTPRequestHandler):
    """/good, /missing, /cut (half the promised bytes), /flaky (fails twice), /wrong, /x.csv.gz."""

    requests: list[str] = []  # noqa: RUF012  (shared by all connections on purpose)

    def do_GET(self) -> None:
        type(self).requests.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
        elif self.path == "/flaky" and type(self).requests.count("/flaky") < 3:
            self.send_error(503)
        elif self.path == "/cut":
            self._send(CONTENT[: len(CONTENT) // 2], promised=len(CONTENT))
        elif self.path == "/wrong":
            self._send(b"something else")
        elif self.path == "/x.csv.gz":
            self._send(PACKED)
        else:
            self._send(CONTENT)

    def _send(self, body: bytes, promised: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(promised or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    Site.requests = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def assert_nothing_left(folder: Path) -> None:
    assert [p.name for p in folder.iterdir()] == []


def test_downloads_and_verifies(site: str, tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "x.h5ad"
    fetch(f"{site}/good", target, sha256=SHA256.upper())
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["x.h5ad"]


def test_replaces_an_older_file(site: str, tmp_path: Path) -> None:
    target = tmp_path / "x.h5ad"
    target.write_text("old")
    fetch(f"{site}/good", target)
    assert target.read_bytes() == CONTENT


def test_a_failed_download_leaves_the_older_file(site: str, tmp_path: Path) -> None:
    target = tmp_path / "x.h5ad"
    target.write_text("old")
    with pytest.raises(InputError):
        fetch(f"{site}/cut", target, pause=0)
    assert target.read_text() == "old"


@pytest.mark.parametrize("page", ["cut", "wrong"])
def test_cut_or_wrong_file_never_appears(site: str, tmp_path: Path, page: str) -> None:
    with pytest.raises(InputError, match=page):
        fetch(f"{site}/{page}", tmp_path / "x", sha256=SHA256, pause=0)
    assert_nothing_left(tmp_path)
    assert len(Site.requests) == 3


def test_checksum_message_has_both_sums(site: str, tmp_path: Path) -> None:
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(InputError, match=f"{found}.*{SHA256}"):
        fetch(f"{site}/wrong", tmp_path / "x", sha256=SHA256, pause=0)


def test_tries_again_after_a_passing_failure(site: str, tmp_path: Path) -> None:
    fetch(f"{site}/flaky", tmp_path / "x", sha256=SHA256, pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_missing_page_is_asked_for_once(site: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/missing.*404"):
        fetch(f"{site}/missing", tmp_path / "x", pause=0)
    assert Site.requests == ["/missing"]
    assert_nothing_left(tmp_path)


def test_mirrors_in_order(site: str, tmp_path: Path) -> None:
    mirrors = [f"{site}/wrong", f"{site}/good", f"{site}/never"]
    fetch(f"{site}/missing", tmp_path / "x", sha256=SHA256, mirrors=mirrors, pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert list(dict.fromkeys(Site.requests)) == ["/missing", "/wrong", "/good"]


def test_message_names_all_sources(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)/no/such/a.*/no/such/b"):
        fetch("/no/such/a", tmp_path / "x", mirrors=["/no/such/b"])


def test_unreachable_server(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/x"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x", pause=0)
    assert_nothing_left(tmp_path)


def test_gz_is_unpacked_unless_the_target_is_gz(site: str, tmp_path: Path) -> None:
    published = hashlib.sha256(PACKED).hexdigest()
    fetch(f"{site}/x.csv.gz", tmp_path / "x.csv", sha256=published)
    assert (tmp_path / "x.csv").read_bytes() == CONTENT
    fetch(f"{site}/x.csv.gz", tmp_path / "x.csv.gz")
    assert (tmp_path / "x.csv.gz").read_bytes() == PACKED


def test_local_file_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.csv").write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    fetch("mine.csv", tmp_path / "in" / "x.csv", sha256=SHA256)
    assert (tmp_path / "in" / "x.csv").is_symlink()
    assert (tmp_path / "in" / "x.csv").readlink() == tmp_path / "mine.csv"
    fetch((tmp_path / "mine.csv").as_uri(), tmp_path / "in" / "x.csv")  # again, over the link
    assert (tmp_path / "in" / "x.csv").read_bytes() == CONTENT


def test_local_folder_is_linked(tmp_path: Path) -> None:
    (tmp_path / "mtx").mkdir()
    fetch(str(tmp_path / "mtx"), tmp_path / "x")
    fetch(str(tmp_path / "mtx"), tmp_path / "x")
    assert (tmp_path / "x").resolve() == tmp_path / "mtx"
    with pytest.raises(InputError, match="folder"):
        fetch(str(tmp_path / "mtx"), tmp_path / "x", sha256=SHA256)


def test_local_mistakes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(InputError, match="does not exist"):
        fetch(str(tmp_path / "nothing"), tmp_path / "x")
    with pytest.raises(InputError, match="SHA-256"):
        fetch(str(tmp_path / "a"), tmp_path / "x", sha256=SHA256)
    with pytest.raises(InputError, match="elsewhere"):
        fetch(str(tmp_path / "a"), tmp_path / "a")
    assert (tmp_path / "a").read_text() == "a"
    with pytest.raises(InputError, match="s3"):
        fetch("s3://bucket/x", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_package_file_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "x.bin").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    fetch("package:some_package/x.bin", tmp_path / "x", sha256=SHA256)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert not (tmp_path / "x").is_symlink()
    assert "some_package" not in sys.modules
    with pytest.raises(InputError, match="no file"):
        fetch("package:some_package/y.bin", tmp_path / "y")
    with pytest.raises(InputError, match="no_such_package"):
        fetch("package:no_such_package/x", tmp_path / "y")


def test_repository_file(tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "x").write_bytes(CONTENT)
    fetch("repository:resources/x", tmp_path / "out", sha256=SHA256, repository=tmp_path)
    assert (tmp_path / "out").read_bytes() == CONTENT
    with pytest.raises(InputError, match="repository"):
        fetch("repository:resources/x", tmp_path / "out")
    with pytest.raises(InputError, match="resources/y"):
        fetch("repository:resources/y", tmp_path / "out", repository=tmp_path)
