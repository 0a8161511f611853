"""Public files are fetched whole and as they are known, from a stand-in of their source."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from latcast.data import fetch as fetching
from latcast.data.fetch import fetch

CONTENT = {"datasets/a b.csv": bytes(range(256)) * 1_000, "table.csv": b"model,top1\n"}


class Source:
    """A server on the loopback; it can break off, forget ranges, or send other bytes."""

    def __init__(self) -> None:
        self.content = {f"/copy/{path.replace(' ', '%20')}": x for path, x in CONTENT.items()}
        self.asked: list[tuple[str, str | None]] = []
        self.break_after: int | None = None
        self.knows_ranges = True

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        given = handler.headers.get("Range")
        self.asked.append((handler.path, given))
        if (body := self.content.get(handler.path)) is None:
            handler.send_error(404)
            return
        start = int(given[6:-1]) if given and self.knows_ranges else 0
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start:][: self.break_after])


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    told = Source()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    first, second = CONTENT
    known = [len(CONTENT[first]), hashlib.sha256(CONTENT[first]).hexdigest()]
    entry = {
        "what": "measurements", "repository": "https://example.org", "licence": "MIT",
        "folder": "mine", "url": f"http://127.0.0.1:{server.server_port}/copy",
        "files": {first: known, second: [None, None]},
    }  # fmt: skip
    monkeypatch.setattr(fetching, "sources", lambda: {"mine": entry})
    yield told
    server.shutdown()
    server.server_close()


def test_files_are_fetched_once(source: Source, tmp_path: Path) -> None:
    found = fetch("mine", tmp_path)
    assert [(x.state, x.verified) for x in found.files] == [("fetched", True), ("fetched", None)]
    assert {p: (tmp_path / "mine" / p).read_bytes() for p in CONTENT} == CONTENT
    assert "table.csv changes at its source" in found.notes[0]
    assert not list(tmp_path.rglob("*.part"))
    asked = len(source.asked)
    assert {x.state for x in fetch("mine", tmp_path).files} == {"kept"}
    assert len(source.asked) == asked


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_interrupted_file_is_gone_on_with(
    source: Source, tmp_path: Path, knows_ranges: bool
) -> None:
    source.break_after = 100_000
    with pytest.raises(OSError, match="kept; run the command again"):
        fetch("mine", tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".part"]
    source.break_after, source.knows_ranges = None, knows_ranges
    found = fetch("mine", tmp_path)
    assert found.files[0].state == ("resumed" if knows_ranges else "fetched")
    assert source.asked[1] == ("/copy/datasets/a%20b.csv", "bytes=100000-")
    assert (tmp_path / "mine" / "datasets" / "a b.csv").read_bytes() == CONTENT["datasets/a b.csv"]


def test_a_file_of_unknown_size_is_whole(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "mine" / "datasets" / "a b.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT["datasets/a b.csv"])
    source.break_after = 5
    with pytest.raises(OSError, match="must have 11 bytes; 5 came"):
        fetch("mine", tmp_path)
    assert not (tmp_path / "mine" / "table.csv").exists()


@pytest.mark.parametrize("other", [bytes(256_000), bytes(256_001)])
def test_another_content_is_refused(source: Source, tmp_path: Path, other: bytes) -> None:
    source.content["/copy/datasets/a%20b.csv"] = other
    with pytest.raises(ValueError, match=r"must have (the SHA-256|at most 256,000 bytes)"):
        fetch("mine", tmp_path)
    assert not list(tmp_path.rglob("*.csv"))


def test_what_is_there_is_never_written_over(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "mine" / "datasets" / "a b.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match="It is not written over: move it away"):
        fetch("mine", tmp_path)
    assert path.read_bytes() == b"mine"
    assert not source.asked


def test_sources_are_stated_in_full(latcast: Any) -> None:
    found = json.loads(latcast("data", "list", "--json").stdout)["sources"]
    assert {"ofanas", "help", "timm-imagenet", "ncnn"} <= {x["name"] for x in found}
    for name, x in fetching.sources().items():
        assert x["repository"].startswith("https://"), name
        assert x["licence"]
        assert (x["url"] is None) == (not x["files"]) or x["url"].startswith("https://")
        for path, (size, digest) in x["files"].items():
            assert (size is None) == (digest is None)
            assert digest is None or len(digest) == 64
            assert not path.startswith(("/", ".")), path


def test_the_command(
    source: Source, latcast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = latcast("data", "fetch", "mine", "--out", tmp_path, "--json").stdout
    assert json.loads(told)["files"][0]["verified"] is True
    latcast.error("data", "fetch", "nothing", "--out", tmp_path, code=2)
    monkeypatch.delenv("LATCAST_DATA", raising=False)
    assert "--out" in latcast.error("data", "fetch", "mine", code=2)
    monkeypatch.setenv("LATCAST_DATA", str(tmp_path))
    assert (
        json.loads(latcast("data", "fetch", "mine", "--json").stdout)["files"][0]["state"] == "kept"
    )
    latcast.error("data", "fetch", "mine", "--out", tmp_path, "--mirror", "file:///etc", code=2)


@pytest.mark.usefixtures("source")
def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        OSError, match=r"could not be fetched: Not Found\. Nothing was written; run"
    ):
        fetch("mine", tmp_path, mirror=f"{fetching.sources()['mine']['url']}/elsewhere")
    assert not list(tmp_path.iterdir())


@pytest.mark.data
def test_checksums_are_those_of_the_copies_here(shared: Path) -> None:
    for x in fetching.sources().values():
        for path, (size, digest) in x["files"].items():
            copy = shared / x["folder"] / path
            if digest is not None and copy.is_file():
                assert copy.stat().st_size == size
                assert hashlib.sha256(copy.read_bytes()).hexdigest() == digest
