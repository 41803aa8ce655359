"""Servers that send more, less, slower or other things than they said, and ask for no mercy."""

import gzip
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.inputs import reading, web_folders
from pipelines.inputs.access import Access, InputLimits
from pipelines.inputs.listing import gather
from pipelines.inputs.named import access_of
from pipelines.inputs.reading import open_clip
from pipelines.storage import bounds, filesystems
from pipelines.storage.errors import StoreUnavailable
from pipelines.storage.retry import RetryCount
from tagger.errors import ClipError, CommandError, OptionError, Reason
from tests.support.hostile_server import HostileServer, Page, Request, once, plain

DATA = bytes(range(256)) * 20


@pytest.fixture
def server() -> Iterator[HostileServer]:
    hostile = HostileServer()
    yield hostile
    hostile.close()


@pytest.fixture(params=["memory", "file"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips of a few bytes are held in memory, then spooled as large ones are."""
    if request.param == "file":
        monkeypatch.setattr(reading, "IN_MEMORY_BYTES", 100)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow answer is given up after a second, so that tests need not wait for thirty."""
    for module in (bounds, web_folders.web):
        monkeypatch.setattr(module, "ANSWER_S", 1.0)


def read(server: HostileServer, access: Access | None = None) -> bytes:
    """Read the clip at ``/a.wav`` of the size that a good server would have told."""
    (row,) = gather([f"{server.url}/a.wav"]).to_pylist()
    clip = {name: row[name] for name in ("uri", "version", "size_bytes", "problem")}
    with open_clip(**clip, access=access or Access(patience_s=0.5)) as source:
        return source if isinstance(source, bytes) else source.read_bytes()


def failure(server: HostileServer, access: Access | None = None) -> ClipError:
    with pytest.raises(ClipError) as caught:
        read(server, access)
    return caught.value


def lying(body: Callable[[Request], None], **headers: str) -> Page:
    """A page whose HEAD tells of ``DATA``, and whose GET has other headers and another body."""

    def page(request: Request) -> None:
        if request.is_head:
            return plain(DATA)(request)
        request.head(200, {"ETag": '"1"'} | headers)
        return body(request)

    return page


def more(request: Request) -> None:
    request.send(DATA + b"x")


def short(request: Request) -> None:
    request.send(DATA[:100])


def packed(request: Request) -> None:
    request.send(gzip.compress(DATA))


def test_a_good_server(server: HostileServer, kept: None) -> None:
    for data in (DATA, b""):
        for ranges in (True, False):
            server.pages["/a.wav"] = plain(data, ranges=ranges)
            assert read(server) == data


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (lying(more), "more than the 5,120 bytes"),
        (lying(more, **{"Content-Length": str(len(DATA) + 1)}), "5,121 bytes and not 5,120"),
        (lying(lambda request: request.forever(b"x" * 65536)), "more than the 5,120 bytes"),
        (lying(short), "ended after 100 of 5,120"),
        (lying(short, **{"Content-Length": "100"}), "100 bytes and not 5,120"),
        (lying(short, **{"Content-Length": str(len(DATA))}), "broke off"),
        (
            lying(
                lambda request: request.send(gzip.compress(DATA)), **{"Content-Encoding": "gzip"}
            ),
            r"packs its answer \(gzip\)",
        ),
    ],
)
def test_what_was_not_listed_is_the_clips_failure(
    server: HostileServer, kept: None, page: Page, told: str
) -> None:
    server.pages["/a.wav"] = page
    assert failure(server).reason is Reason.UNREADABLE
    with pytest.raises(ClipError, match=told):
        read(server)


def test_no_more_is_taken_than_was_listed(server: HostileServer, kept: None) -> None:
    server.pages["/a.wav"] = lying(lambda request: request.forever(b"x" * 65536))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert failure(server).reason is Reason.UNREADABLE
    assert server.n_sent["/a.wav"] < 16 << 20  # what the buffers of two sockets hold
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 0-99/5120"},
        {"Content-Range": "bytes 50-5119/5120"},
        {"Content-Range": "bytes 100-5119/9999"},
        {"Content-Range": "bytes 100-5119"},
        {},
    ],
)
def test_other_ranges_than_asked_for(
    server: HostileServer, kept: None, headers: dict[str, str]
) -> None:
    def wrong(request: Request) -> None:
        request.head(206, headers | {"ETag": '"1"'})
        request.send(DATA[100:])

    server.pages["/a.wav"] = _by_method(plain(DATA), once(lying(short), wrong))
    with pytest.raises(ClipError, match="another range"):
        read(server)


def _by_method(head: Page, get: Page) -> Page:
    return lambda request: (head if request.is_head else get)(request)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_clip_that_breaks_off_is_gone_on_with(
    server: HostileServer, kept: None, ranges: bool
) -> None:
    server.pages["/a.wav"] = once(lying(short), plain(DATA, ranges=ranges))
    assert read(server) == DATA
    assert server.n_sent["/a.wav"] == len(DATA) + (0 if ranges else 100)


def test_a_trickle(server: HostileServer, kept: None, hasty: None) -> None:
    server.pages["/a.wav"] = lying(lambda request: request.forever(b"x", pause_s=0.05))
    error = failure(server)
    assert error.reason is Reason.UNREADABLE
    assert "too slow" in error.detail


def test_headers_that_trickle(server: HostileServer, hasty: None) -> None:
    def slowly(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
        request.forever(b"x", pause_s=0.05)

    server.pages["/a.wav"] = _by_method(plain(DATA), slowly)
    with pytest.raises(StoreUnavailable, match="no answer"):
        read(server)


def test_headers_without_end(server: HostileServer) -> None:
    def headers(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        request.forever(b"X-A: " + b"x" * 4000 + b"\r\n")

    server.pages["/a.wav"] = _by_method(plain(DATA), headers)
    assert failure(server).reason is Reason.UNREADABLE


@pytest.fixture
def unsized(server: HostileServer) -> Callable[[int], None]:
    """Serve a clip of so many MiB (-1: without end) whose size no header tells."""

    def serve(n_mib: int) -> None:
        def page(request: Request) -> None:
            request.head(200, {"ETag": '"1"'})
            if request.is_head:
                return
            if n_mib < 0:
                request.forever(b"x" * 65536)
            for _ in range(n_mib):
                request.send(b"x" * (1 << 20))

        server.pages["/a.wav"] = page

    return serve


def test_a_size_that_nobody_tells(server: HostileServer, unsized: Callable[[int], None]) -> None:
    access = Access(InputLimits(unsized_mb=2))
    for n_mib in (0, 1, 2):
        unsized(n_mib)
        assert read(server, access) == b"x" * (n_mib << 20)
    for n_mib in (3, -1):
        unsized(n_mib)
        error = failure(server, access)
        assert error.reason is Reason.UNREADABLE
        assert "--unsized-mb" in error.detail


def test_other_versions_are_told_first(server: HostileServer, kept: None) -> None:
    changed = plain(DATA + b"more", ETag='"2"')
    server.pages["/a.wav"] = plain(DATA)
    (row,) = gather([f"{server.url}/a.wav"]).to_pylist()
    for page in (changed, plain(DATA + b"more")):
        server.pages["/a.wav"] = page
        with (
            pytest.raises(ClipError) as caught,
            open_clip(row["uri"], row["version"], row["size_bytes"]),
        ):
            pass
        assert caught.value.reason is Reason.CHANGED_DURING_RUN


def test_a_redirect_is_followed_to_http_alone(server: HostileServer, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(DATA)
    server.pages["/b.wav"] = plain(DATA)
    for place, good in {
        "/b.wav": True,
        f"{server.url}/b.wav": True,
        f"file://{tmp_path}/secret": False,
        "s3://bucket/secret": False,
        "ftp://127.0.0.1/secret": False,
        "//[": False,
        "/a.wav": False,  # for ever
    }.items():

        def page(request: Request, place: str = place) -> None:
            request.head(302, {"Location": place, "Content-Length": "0"})

        server.pages["/a.wav"] = page
        (row,) = gather([f"{server.url}/b.wav"]).to_pylist()
        clip = {"version": row["version"], "size_bytes": row["size_bytes"]}
        if good:
            with open_clip(f"{server.url}/a.wav", **clip) as source:
                assert source == DATA
            continue
        with pytest.raises(ClipError) as caught, open_clip(f"{server.url}/a.wav", **clip):
            pass
        assert caught.value.reason is Reason.UNREADABLE
        assert "secret" not in caught.value.detail


@pytest.mark.s3
def test_an_object_store_that_sends_more(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of what is read at once, and of one object."""
    url = f"{s3.new_prefix()}/a.wav"
    filesystems.filesystem(url).pipe_file(url, DATA)
    with pytest.raises(filesystems.TooMuch, match="more than 5,119"):
        filesystems.read_whole(url, len(DATA) - 1)
    assert filesystems.read_whole(url, len(DATA)) == DATA
    (row,) = gather([url]).to_pylist()
    for size_bytes in (len(DATA) - 1, len(DATA) + 1):
        with pytest.raises(ClipError) as caught, open_clip(url, row["version"], size_bytes):
            pass
        assert caught.value.reason is Reason.UNREADABLE


def test_a_local_file_that_grows(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(DATA)
    (row,) = gather([str(path)]).to_pylist()
    end = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not end.is_set():
                file.write(DATA)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        while path.stat().st_size == len(DATA):
            pass
        with (
            pytest.raises(ClipError) as caught,
            open_clip(row["uri"], row["version"], row["size_bytes"]),
        ):
            pass
    finally:
        end.set()
        writer.join()
    assert caught.value.reason is Reason.CHANGED_DURING_RUN


@pytest.fixture
def closed_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return int(closed.getsockname()[1])


def outcomes(manifest: Path, access: Access) -> dict[str, str]:
    """What becomes of each row of a manifest: "read", or reason and detail."""
    told = {}
    for row in gather([str(manifest)], access=access).to_pylist():
        clip = {name: row[name] for name in ("uri", "version", "size_bytes", "problem")}
        try:
            with open_clip(**clip, access=access):
                told[row["uri"]] = "read"
        except ClipError as error:
            told[row["uri"]] = f"{error.reason} {error.reason.final}: {error.detail}"
    return told


def list_of(folder: Path, *uris: str) -> Path:
    (folder / "list.txt").write_text("\n".join(uris))
    return folder / "list.txt"


def test_dead_hosts_cost_their_own_rows(
    server: HostileServer, tmp_path: Path, closed_port: int
) -> None:
    server.pages["/*"] = plain(DATA)
    dead = [f"http://127.0.0.1:{closed_port}/{i}.wav" for i in range(100)]
    nowhere = [f"http://host-{i}.invalid/a.wav" for i in range(20)]
    good = [f"{server.url}/{i}.wav" for i in range(10)]
    manifest = list_of(tmp_path, *dead, *nowhere, *good)
    limits = InputLimits(allow_private_hosts=True)
    retries = RetryCount()
    told = outcomes(manifest, access_of([str(manifest)], limits, patience_s=1.0))
    assert retries.n < 5 * web_folders.N_AT_A_TIME  # those that waited at the same time
    assert {uri: told[uri] for uri in good} == dict.fromkeys(good, "read")
    for uri in (*dead, *nowhere):
        assert told[uri].startswith("unreadable False: ")  # not final


def test_a_host_that_dies_costs_its_own_rows(server: HostileServer, tmp_path: Path) -> None:
    other = HostileServer()
    for each in (server, other):
        each.pages["/*"] = plain(DATA)
    manifest = list_of(tmp_path, *(f"{s.url}/{i}.wav" for s in (other, server) for i in range(20)))
    access = access_of([str(manifest)], InputLimits(allow_private_hosts=True), patience_s=0.5)
    rows = gather([str(manifest)], access=access).to_pylist()
    assert all(row["version"] for row in rows)
    other.close()
    reasons = []
    retries = RetryCount()
    for row in rows:
        clip = {name: row[name] for name in ("uri", "version", "size_bytes")}
        try:
            with open_clip(**clip, access=access):
                reasons.append("read")
        except ClipError as error:
            reasons.append(error.reason)
    assert reasons == [Reason.UNREADABLE] * 20 + ["read"] * 20
    assert retries.n < 5  # of the first row


def test_a_dead_host_that_the_command_names_ends_it(closed_port: int) -> None:
    url = f"http://127.0.0.1:{closed_port}"
    for inputs in ([f"{url}/a/"], [f"{url}/a.wav"], [f"{url}/list.csv"], [f"{url}/*.wav"]):
        access = access_of(inputs, InputLimits(), patience_s=0.3)
        with pytest.raises(StoreUnavailable, match=r"no answer in 0 s"):
            gather(inputs, access=access)


PRIVATE = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "0",
    "127.0.0.2",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "169.254.169.254",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "[fd00::1]",
    "[fe80::1]",
    "[64:ff9b::7f00:1]",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_hosts_that_a_manifest_may_not_name(
    server: HostileServer, tmp_path: Path, host: str
) -> None:
    server.pages["/*"] = plain(DATA)
    uris = [f"http://{host}:{server.port}/a.wav", f"HTTP://{host}:{server.port}/b.wav"]
    manifest = list_of(tmp_path, *uris)
    told = outcomes(manifest, access_of([str(manifest)], InputLimits(), patience_s=0.2))
    for outcome in told.values():
        assert (
            outcome.startswith("refused False: ")
            or "service not known" in outcome
            or "no URL" in outcome
        )
    assert server.requests == []


def test_hosts_that_the_command_names_or_allows(server: HostileServer, tmp_path: Path) -> None:
    server.pages["/*"] = plain(DATA)
    manifest = list_of(tmp_path, f"{server.url}/a.wav")
    for inputs, limits in [
        ([str(manifest)], InputLimits(allow_private_hosts=True)),
        ([str(manifest), f"{server.url}/b.wav"], InputLimits()),
        ([str(manifest), f"{server.url}/"], InputLimits()),
    ]:
        assert [*outcomes(manifest, access_of(inputs, limits, 0.5)).values()] == ["read"]
    other = access_of([str(manifest), "http://127.0.0.1:1/b.wav"], InputLimits(), 0.5)
    assert "refused" in str(outcomes(manifest, other))


def test_redirects_are_checked_again(server: HostileServer, tmp_path: Path) -> None:
    """A host that the command names sends on to one that it does not."""
    secret = HostileServer()
    secret.pages["/*"] = plain(DATA)
    headers = {"Location": f"http://localhost:{secret.port}/a.wav", "Content-Length": "0"}
    to_secret: Page = lambda request: request.head(307, headers)  # noqa: E731
    try:
        for page in (to_secret, _by_method(plain(DATA), to_secret)):
            server.pages["/a.wav"] = page
            manifest = list_of(tmp_path, f"{server.url}/a.wav")
            access = access_of([str(manifest), f"{server.url}/"], InputLimits(), 0.5)
            (told,) = outcomes(manifest, access).values()
            assert told.startswith("refused False: leads to the private address 127.0.0.1")
            assert secret.requests == []
        server.pages["/in/"] = to_secret
        with pytest.raises(CommandError, match="--allow-private-hosts"):
            gather([f"{server.url}/in/"], access=access)
        access = access_of([f"{server.url}/"], InputLimits(allow_private_hosts=True), 0.5)
        assert [*outcomes(manifest, access).values()] == ["read"]
    finally:
        secret.close()


def test_a_name_that_changes_its_address(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the address that is connected to, not one that was looked up before."""
    answers = iter(["93.184.216.34"] * 2)
    real = socket.getaddrinfo

    def rebinding(host: Any, *rest: Any, **more: Any) -> Any:
        return real(next(answers, "127.0.0.1") if host == "rebind.test" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert socket.getaddrinfo("rebind.test", 80)[0][4][0] == "93.184.216.34"
    assert socket.getaddrinfo("rebind.test", 80)[0][4][0] == "93.184.216.34"
    server.pages["/*"] = plain(DATA)
    manifest = list_of(tmp_path, f"http://rebind.test:{server.port}/a.wav")
    (told,) = outcomes(manifest, access_of([str(manifest)], InputLimits(), 0.2)).values()
    assert told.startswith("refused False: ")
    assert server.requests == []


def folder(*links: str) -> Page:
    """A page of links."""
    text = "".join(f'<a href="{link}">{link}</a>\n' for link in links)
    return plain(f"<html><body>{text}".encode(), **{"Content-Type": "text/html"})


def test_links_that_are_followed(server: HostileServer) -> None:
    server.pages |= {
        "/in/": folder(
            "a.wav",
            "a.wav",
            "b&amp;c.wav",
            "d%20e.ogg",
            "/in/f.mp3",
            f"{server.url}/in/g.flac",
            "deep/",
            "./",
            "../",
            "/",
            "?C=N;O=D",
            "h.wav?x=1",
            "a.wav#t=1",
            "http://elsewhere.invalid/i.wav",
            f"{server.url}/in-side/j.wav",
            "file:///etc/passwd.wav",
            "//[/k.wav",
            "notes.txt",
        ),
        "/in/deep/": folder("l.wav", "../", "/in/", "gone/"),
        "/": folder("in/"),
    }
    for name in ("a.wav", "b&c.wav", "d%20e.ogg", "f.mp3", "g.flac", "deep/l.wav"):
        server.pages[f"/in/{name}"] = plain(DATA)
    for text in ("/in", "/in/", "/in/*"):
        found = gather([f"{server.url}{text}"], access=Access())["uri"].to_pylist()
        assert sorted(uri.removeprefix(f"{server.url}/in/") for uri in found) == (
            ["a.wav", "b&c.wav", "d%20e.ogg", "deep/l.wav", "f.mp3", "g.flac"]
        )


def test_folders_without_end(server: HostileServer) -> None:
    server.pages["/in/*"] = folder("deeper/", "a.txt")
    with pytest.raises(CommandError, match="more than 32 deep") as caught:
        gather([f"{server.url}/in/"])
    assert "\n" not in str(caught.value)
    server.pages["/in/*"] = folder(*(f"{i}/" for i in range(50)))
    with pytest.raises(OptionError, match=r"is 1,000, and .*/in/ links to more") as over:
        gather([f"{server.url}/in/"], access=Access(InputLimits(http_links=1000)))
    assert over.value.option == "http_links"


def test_pages_without_end(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.pages["/in/"] = _by_method(
        plain(b""), lambda request: (request.head(200, {}), request.forever(b"<a href=" * 8192))[0]
    )
    monkeypatch.setattr(web_folders, "PAGE_BYTES", 1 << 20)
    with pytest.raises(CommandError, match="page of more than 1 MiB"):
        gather([f"{server.url}/in/"])


@pytest.mark.parametrize(
    "piece", [b"<a ", b"<a href='", b'<a href="x', b"<a href= ", b"<a " + b"x" * 9000, b"<", b" "]
)
def test_pages_that_are_hard_to_read(server: HostileServer, piece: bytes) -> None:
    server.pages["/in/"] = plain(piece * ((8 << 20) // len(piece)))
    assert len(gather([f"{server.url}/in/"])) == 0
