from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

import plkd.pipeline.download
import plkd.pipeline.transfer
from full_disk import full_disk
from misbehaving import Page, Site, serving
from plkd.errors import InputError
from plkd.pipeline.download import Published, fetch

CONTENT = np.random.default_rng(0).bytes(300_000)
HALF = len(CONTENT) // 2
PACKED = gzip.compress(CONTENT, mtime=0)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


SHA256 = sha256(CONTENT)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(plkd.pipeline.transfer, "TIMEOUT_SECONDS", 1.0)
    with serving() as running:
        running.pages["/good"] = Page(CONTENT)
        yield running


def publish(site: Site, name: str, page: Page, **about: object) -> Published:
    site.pages[name] = page
    return Published(site.url + name, **about)  # type: ignore[arg-type]


def assert_nothing_left(folder: Path) -> None:
    """No output, and nothing that could be taken for one."""
    assert [p.name for p in folder.iterdir() if not p.name.startswith(".downloads-")] == []


# ---- good servers


def test_downloads_and_verifies(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "x.bin"
    fetch(Published(f"{site.url}/good", sha256=SHA256.upper()), target)
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["x.bin"]


def test_downloads_into_one_folder_do_not_disturb_each_other(site: Site, tmp_path: Path) -> None:
    targets = [tmp_path / "collection" / f"{i}.bin" for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda target: fetch(Published(f"{site.url}/good"), target), targets))
    assert {target.read_bytes() for target in targets} == {CONTENT}
    assert sorted(targets[0].parent.iterdir()) == sorted(targets)


def test_replaces_an_older_file(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("old")
    fetch(f"{site.url}/good", target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "page",
    [
        Page(CONTENT, chunked=True),
        Page(CONTENT, lengths=False),
        Page(CONTENT, tag="", ranges=False),
        Page(CONTENT, tag='W/"weak"'),
        Page(CONTENT, headers={"Content-Type": "text/plain", "Content-Disposition": "x"}),
    ],
    ids=["chunked", "no length", "no tag", "weak tag", "other headers"],
)
def test_servers_that_say_little(site: Site, tmp_path: Path, page: Page) -> None:
    fetch(publish(site, "/x", page), tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_redirects_are_followed(site: Site, tmp_path: Path) -> None:
    site.pages["/old"] = Page(redirect="/older")
    fetch(publish(site, "/oldest", Page(redirect="/good")), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    with pytest.raises(InputError, match=r"(?i)redirect"):
        fetch(publish(site, "/round", Page(redirect="/round")), tmp_path / "y", pause=0)


def test_a_gz_sent_as_an_encoding_stays_packed(site: Site, tmp_path: Path) -> None:
    """Servers announce .gz files as packed texts; what is saved is the file."""
    page = Page(PACKED, headers={"Content-Encoding": "gzip"})
    fetch(publish(site, "/x.gz", page, sha256=sha256(PACKED)), tmp_path / "x.gz")
    assert (tmp_path / "x.gz").read_bytes() == PACKED


def test_a_text_sent_packed_is_unpacked(site: Site, tmp_path: Path) -> None:
    page = Page(PACKED, headers={"Content-Encoding": "gzip"}, ranges=False)
    fetch(publish(site, "/x.tsv", page, sha256=SHA256), tmp_path / "x.tsv")
    assert (tmp_path / "x.tsv").read_bytes() == CONTENT


def test_proxy_of_the_environment(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    site.pages["/proxied/file"] = Page(CONTENT)
    fetch("http://data.invalid/file", tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT


# ---- broken transfers


def test_goes_on_where_a_transfer_broke(site: Site, tmp_path: Path) -> None:
    page = Page(CONTENT, stops=[100_000, 50_000])
    fetch(publish(site, "/x", page), tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert site.asked("/x") == ["", "bytes=100000-", "bytes=150000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_goes_on_after_the_process_was_stopped(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plkd.pipeline.transfer, "ATTEMPTS", 1)
    published = publish(site, "/x", Page(CONTENT, stops=[HALF]), sha256=SHA256)
    with pytest.raises(InputError, match="150000 bytes read, 150000 more"):
        fetch(published, tmp_path / "x", pause=0)
    assert_nothing_left(tmp_path)
    fetch(published, tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert site.asked("/x")[-1] == f"bytes={HALF}-"


@pytest.mark.parametrize("change", ["content", "no ranges", "other part", "nothing left"])
def test_begins_anew_where_it_cannot_go_on(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(plkd.pipeline.transfer, "ATTEMPTS", 1)
    page = Page(CONTENT, stops=[HALF])
    published = publish(site, "/x", page)
    with pytest.raises(InputError):
        fetch(published, tmp_path / "x", pause=0)
    expected = CONTENT
    if change == "content":  # a new version: its beginning is not that of the old one
        expected = CONTENT[::-1]
        site.pages["/x"] = Page(expected, tag='"v2"')
    elif change == "no ranges":
        page.ranges = False
    elif change == "other part":
        page.shift = 1
    else:
        page.body = expected = CONTENT[:HALF]
    monkeypatch.setattr(plkd.pipeline.transfer, "ATTEMPTS", 3)
    fetch(published, tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == expected


def test_what_no_server_vouches_for_is_not_gone_on_with(site: Site, tmp_path: Path) -> None:
    """Without ETag or date the rest could be that of another version."""
    fetch(publish(site, "/x", Page(CONTENT, tag="", stops=[HALF])), tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert site.asked("/x") == ["", ""]


@pytest.mark.parametrize(
    "page",
    [
        Page(CONTENT, stops=[HALF] * 20, ranges=False),
        Page(CONTENT, stops=[HALF] * 20, ranges=False, chunked=True),
        Page(CONTENT, stops=[HALF], ranges=False, lengths=False),
        Page(CONTENT, stalls=[3.0] * 20, ranges=False),
        Page(CONTENT, fails=[500] * 20),
        Page(CONTENT, fails=[503] * 20),
        Page(CONTENT, fails=[404]),
        Page(b"<html>sign in</html>", headers={"Content-Type": "text/html; charset=utf-8"}),
    ],
    ids=["cut", "cut chunked", "cut without length", "stalls", "500", "503", "404", "web page"],
)
def test_half_a_file_is_never_taken_for_whole(site: Site, tmp_path: Path, page: Page) -> None:
    target = tmp_path / "x"
    target.write_text("old")
    with pytest.raises(InputError, match="/bad"):
        fetch(publish(site, "/bad", page), target, pause=0)
    assert target.read_text() == "old"
    assert {p.name for p in tmp_path.iterdir()} <= {"x", ".downloads-x"}


@pytest.mark.parametrize("name", ["x.csv.gz", "x.h5ad"])
def test_cut_formats_are_seen_without_any_length(site: Site, tmp_path: Path, name: str) -> None:
    whole = PACKED
    if name == "x.h5ad":
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file["X"] = np.frombuffer(CONTENT, dtype=np.uint8)
        whole = buffer.getvalue()
    cut = publish(site, f"/cut/{name}", Page(whole[:-5000], lengths=False, ranges=False))
    lock = tmp_path / "lock.tsv"
    with pytest.raises(InputError, match=name):
        fetch(cut, tmp_path / name, checksums=lock)
    assert not (tmp_path / name).exists()
    assert not lock.exists()
    fetch(publish(site, f"/{name}", Page(whole)), tmp_path / name, checksums=lock)
    assert (tmp_path / name).read_bytes() == whole


def test_wrong_bytes_are_refused_with_both_sums(site: Site, tmp_path: Path) -> None:
    published = publish(site, "/x", Page(b"something else"), sha256=SHA256)
    with pytest.raises(InputError, match=f"{sha256(b'something else')}.*{SHA256}"):
        fetch(published, tmp_path / "x", pause=0)
    assert_nothing_left(tmp_path)


def test_passing_failures_are_waited_out(site: Site, tmp_path: Path) -> None:
    page = Page(CONTENT, fails=[503, 500, 429], headers={"Retry-After": "0"})
    fetch(publish(site, "/x", page), tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_stalled_transfer_goes_on(site: Site, tmp_path: Path) -> None:
    fetch(publish(site, "/x", Page(CONTENT, stalls=[3.0])), tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_missing_page_is_asked_for_once(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/missing.*404"):
        fetch(f"{site.url}/missing", tmp_path / "x", pause=0)
    assert site.asked("/missing") == [""]
    assert_nothing_left(tmp_path)


def test_mirrors_in_order(site: Site, tmp_path: Path) -> None:
    site.pages["/wrong"] = Page(b"something else")
    addresses = [f"{site.url}/{name}" for name in ("missing", "wrong", "good", "never")]
    fetch(Published(addresses[0], addresses, SHA256), tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert [path for path, _ in site.requests] == ["/missing", "/wrong", "/good"]


def test_message_names_all_sources(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)/no/such/a.*/no/such/b"):
        fetch(Published("/no/such/a", ["/no/such/a", "/no/such/b"]), tmp_path / "x")


def test_unreachable_server(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/x"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x", pause=0)
    assert_nothing_left(tmp_path)


def test_a_full_disk_is_seen_before_the_transfer(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 200_000_000

    monkeypatch.setattr(plkd.pipeline.transfer.shutil, "disk_usage", lambda folder: Usage)
    huge = Page(CONTENT, headers={"Content-Length": "150000000"}, lengths=False)
    with pytest.raises(InputError, match=r"0\.1 GB.*0\.2 GB free"):
        fetch(publish(site, "/x", huge), tmp_path / "x", pause=0)
    assert_nothing_left(tmp_path)


def test_a_disk_that_fills_up_is_told_and_the_next_transfer_goes_on(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    published = publish(site, "/x", Page(CONTENT))
    with full_disk(100_000), pytest.raises(InputError) as caught:
        fetch(published, tmp_path / "x", pause=60)  # no second attempt waits for that
    folder = tmp_path / ".downloads-x"
    assert f"'{published.url}' has no room in '{folder}' (file too large)" in str(caught.value)
    assert "connection" not in str(caught.value)
    assert not caplog.records  # the one message is told once
    fetch(published, tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT


# ---- lock, offline


def test_the_first_download_binds_the_later_ones(site: Site, tmp_path: Path) -> None:
    lock = tmp_path / "lock.tsv"
    published = publish(site, "/x", Page(CONTENT))
    fetch(published, tmp_path / "1" / "x", checksums=lock)
    assert lock.read_text().splitlines()[1].split("\t") == [
        published.url, SHA256, str(len(CONTENT))
    ]  # fmt: skip
    fetch(published, tmp_path / "2" / "x", checksums=lock)
    site.pages["/x"] = Page(CONTENT + b"new", tag='"v2"')
    with pytest.raises(InputError, match=r"has changed.*lock\.tsv"):
        fetch(published, tmp_path / "3" / "x", checksums=lock)
    assert not (tmp_path / "3" / "x").exists()
    lock.write_text(lock.read_text().splitlines()[0] + "\n")  # the line deleted: the new one counts
    fetch(published, tmp_path / "3" / "x", checksums=lock)
    assert (tmp_path / "3" / "x").read_bytes() == CONTENT + b"new"


def test_a_mirror_must_give_what_the_url_gave(site: Site, tmp_path: Path) -> None:
    lock = tmp_path / "lock.tsv"
    fetch(Published(f"{site.url}/good"), tmp_path / "a", checksums=lock)
    site.pages["/mirror"] = Page(b"something else")
    moved = Published(f"{site.url}/good", [f"{site.url}/gone", f"{site.url}/mirror"])
    with pytest.raises(InputError, match="has changed"):
        fetch(moved, tmp_path / "b", checksums=lock, pause=0)


def test_a_damaged_lock_is_named(site: Site, tmp_path: Path) -> None:
    lock = tmp_path / "lock.tsv"
    lock.write_text("url\tsha256\tbytes\nhttp://x\tabc\t1\n")
    with pytest.raises(InputError, match=r"lock\.tsv"):
        fetch(f"{site.url}/good", tmp_path / "x", checksums=lock)


def test_offline_takes_files_fetched_by_hand(tmp_path: Path) -> None:
    by_hand = tmp_path / "by_hand"
    (by_hand / "study").mkdir(parents=True)
    (by_hand / "study" / "x.csv.gz").write_bytes(PACKED)
    (by_hand / "y.bin").write_bytes(CONTENT)
    lock = tmp_path / "lock.tsv"
    options = {"offline_folder": by_hand, "checksums": lock}
    published = Published("https://data.invalid/a/x.csv.gz", sha256=sha256(PACKED))
    fetch(published, tmp_path / "study" / "x.csv", **options)
    assert (tmp_path / "study" / "x.csv").read_bytes() == CONTENT
    fetch("https://data.invalid/y.bin", tmp_path / "study" / "y.bin", **options)
    assert (tmp_path / "study" / "y.bin").read_bytes() == CONTENT
    assert {SHA256, sha256(PACKED)} <= set(lock.read_text().split())


def test_offline_is_as_strict(tmp_path: Path) -> None:
    by_hand = tmp_path / "by_hand"
    by_hand.mkdir()
    (by_hand / "x.bin").write_bytes(b"something else")
    published = Published("https://data.invalid/x.bin", sha256=SHA256)
    with pytest.raises(InputError, match="SHA-256"):
        fetch(published, tmp_path / "x.bin", offline_folder=by_hand)
    with pytest.raises(InputError, match=r"data\.invalid/z.*by hand"):
        fetch("https://data.invalid/z", tmp_path / "z", offline_folder=by_hand)
    assert not (tmp_path / "x.bin").exists()


# ---- packed, archives


def test_gz_is_unpacked_unless_the_target_is_gz(site: Site, tmp_path: Path) -> None:
    published = publish(site, "/x.csv.gz", Page(PACKED), sha256=sha256(PACKED))
    fetch(published, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == CONTENT
    fetch(published, tmp_path / "x.csv.gz")
    assert (tmp_path / "x.csv.gz").read_bytes() == PACKED
    (tmp_path / "local.csv.gz").write_bytes(PACKED)
    fetch(str(tmp_path / "local.csv.gz"), tmp_path / "in" / "local.csv")
    assert (tmp_path / "in" / "local.csv").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_member_of_an_archive(site: Site, tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("in/side/x.bin", CONTENT)
    else:
        mode = "w:gz" if kind == "tar.gz" else "w"
        with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
            entry = tarfile.TarInfo("in/side/x.bin")
            entry.size = len(CONTENT)
            archive.addfile(entry, io.BytesIO(CONTENT))
    page = Page(buffer.getvalue())
    fetch(publish(site, f"/a.{kind}", page, member="in/side/x.bin"), tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == CONTENT
    with pytest.raises(InputError, match="in/side/y"):
        fetch(publish(site, f"/a.{kind}", page, member="in/side/y"), tmp_path / "y")
    with pytest.raises(InputError, match="archive"):
        fetch(Published(f"{site.url}/good", member="in/side/y"), tmp_path / "y")
    assert {p.name for p in tmp_path.iterdir()} == {"x.bin"}


def in_tar(*entries: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for entry in entries:
            content = io.BytesIO(CONTENT[: entry.size]) if entry.isreg() else None
            archive.addfile(entry, content)
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    made.size = 5 if kind == tarfile.REGTYPE else 0
    return made


def in_zip(name: str, mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        made = zipfile.ZipInfo(name)
        made.external_attr = mode << 16
        archive.writestr(made, CONTENT[:5])
    return buffer.getvalue()


HOSTILE = {
    "a link": ("x", in_tar(entry("x", tarfile.SYMTYPE, "{precious}"))),
    "a hard link": ("x", in_tar(entry("y"), entry("x", tarfile.LNKTYPE, "{precious}"))),
    "a pipe": ("x", in_tar(entry("x", tarfile.FIFOTYPE))),
    "a device": ("x", in_tar(entry("x", tarfile.CHRTYPE))),
    "a folder": ("x", in_tar(entry("x", tarfile.DIRTYPE))),
    "a link in a zip": ("x", in_zip("x", 0o120777)),
    "a folder in a zip": ("x/", in_zip("x/")),
}
HARMLESS = {
    "an absolute name": ("/precious", in_tar(entry("/precious"))),
    "a name that leads out": ("../../precious", in_tar(entry("../../precious"))),
    "a link before the file": ("x", in_tar(entry("x", tarfile.SYMTYPE, "precious"), entry("x"))),
    "a link to a folder": (
        "d/precious",
        in_tar(entry("d", tarfile.SYMTYPE, ".."), entry("d/precious")),
    ),
    "others that lead out": ("x", in_tar(entry("x"), entry("../precious"), entry("/precious"))),
    "a zip that leads out": ("../precious", in_zip("../precious")),
}


@pytest.mark.parametrize("case", [*HOSTILE, *HARMLESS])
def test_of_a_hostile_archive_nothing_but_bytes_of_the_member_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "work" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "in")
    member, content = {**HOSTILE, **HARMLESS}[case]
    archive = tmp_path / "archive"
    archive.write_bytes(content)
    target = tmp_path / "work" / "out" / "x.bin"
    if case in HARMLESS:
        fetch(Published(str(archive), member=member), target)
        assert target.read_bytes() == CONTENT[:5]
        assert not target.is_symlink()
        target.unlink()
    else:
        with pytest.raises(InputError, match=rf"archive': '{member}' \(`member`\) is a link, a"):
            fetch(Published(str(archive), member=member), target)
    assert (tmp_path / "precious").read_text() == "mine"
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert found == {"precious", "archive", "work", "work/in", "work/out"}


@pytest.mark.parametrize("kind", ["gz", "zip", "tar"])
def test_what_unpacks_without_end_is_refused(tmp_path: Path, kind: str) -> None:
    zeros = bytes(3_000_000)
    path, target = tmp_path / f"x.csv.{kind}", tmp_path / "out" / "x.csv"
    if kind == "gz":
        path.write_bytes(gzip.compress(zeros))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.writestr("x.csv", zeros)
    else:
        with tarfile.open(path, "w:gz") as tarred:
            made = entry("x.csv")
            made.size = len(zeros)
            tarred.addfile(made, io.BytesIO(zeros))
    member = None if kind == "gz" else "x.csv"
    with pytest.raises(InputError, match=r"unpacks to more than .*`max_unpacked_size`"):
        fetch(Published(str(path), member=member, max_unpacked_size=2_999_999), target)
    assert not list(target.parent.iterdir())
    fetch(Published(str(path), member=member, max_unpacked_size=3_000_000), target)
    assert target.read_bytes() == zeros


def test_the_limit_of_unpacking_goes_by_the_packed_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plkd.pipeline.download, "LEAST_LIMIT", 1000)
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(bytes(3_000_000)))  # a thousandth of it
    with pytest.raises(InputError, match="unpacks to more than"):
        fetch(str(path), tmp_path / "x.csv")
    path.write_bytes(gzip.compress(CONTENT))
    fetch(str(path), tmp_path / "x.csv")


# ---- FTP


@pytest.fixture
def ftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    import threading

    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

    folder = tmp_path_factory.mktemp("ftp")

    class Handler(FTPHandler):
        authorizer = DummyAuthorizer()

    Handler.authorizer.add_anonymous(str(folder))
    server = FTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"timeout": 0.05})
    thread.start()
    try:
        yield f"ftp://127.0.0.1:{server.address[1]}", folder
    finally:
        server.close_all()
        thread.join(5)


def test_ftp(ftp: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = ftp
    (folder / "a b.bin").write_bytes(CONTENT)
    fetch(Published(f"{url}/a%20b.bin", sha256=SHA256), tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT
    with pytest.raises(InputError, match="missing"):
        fetch(f"{url}/missing", tmp_path / "y", pause=0)


def test_ftp_goes_on(
    ftp: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = ftp
    (folder / "x.bin").write_bytes(CONTENT)
    received: list[int] = []
    receive = plkd.pipeline.transfer.ResumingDownloader._receive

    def breaks_once(self, url, start, total, mark, blocks):  # type: ignore[no-untyped-def]
        def some() -> Iterator[bytes]:
            yield next(blocks)
            raise ConnectionResetError("broken on purpose")

        received.append(start)
        receive(self, url, start, total, mark, some() if len(received) == 1 else blocks)

    monkeypatch.setattr(plkd.pipeline.transfer.ResumingDownloader, "_receive", breaks_once)
    fetch(Published(f"{url}/x.bin", sha256=SHA256), tmp_path / "x", pause=0)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert received[0] == 0
    assert received[1] > 0


# ---- files of this machine


def test_local_file_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.csv").write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    fetch(Published("mine.csv", sha256=SHA256), tmp_path / "in" / "x.csv")
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
        fetch(Published(str(tmp_path / "mtx"), sha256=SHA256), tmp_path / "x")


def test_local_mistakes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(InputError, match="does not exist"):
        fetch(str(tmp_path / "nothing"), tmp_path / "x")
    with pytest.raises(InputError, match="SHA-256"):
        fetch(Published(str(tmp_path / "a"), sha256=SHA256), tmp_path / "x")
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
    fetch(Published("package:some_package/x.bin", sha256=SHA256), tmp_path / "x")
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
    published = Published("repository:resources/x", sha256=SHA256)
    fetch(published, tmp_path / "out", repository=tmp_path)
    assert (tmp_path / "out").read_bytes() == CONTENT
    with pytest.raises(InputError, match="repository"):
        fetch(published, tmp_path / "out")
    with pytest.raises(InputError, match="resources/y"):
        fetch("repository:resources/y", tmp_path / "out", repository=tmp_path)
