"""Parts of the service by themselves: keys, addresses, files, and what a client refuses."""

from __future__ import annotations

import json
import os
import tempfile
import time
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from latcast.cli import app
from latcast.serve.client import Client, ServerError
from latcast.serve.files import Files, UnknownFileError, file_name
from latcast.serve.service import _temporary_files_in
from latcast.serve.settings import Keys, Settings, add_key, parse_listen


def test_keys_are_kept_as_hashes(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    mine, yours = add_key(path, "me"), add_key(path, "you")
    assert mine not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    keys = Keys.read(path)
    assert [k and k.name for k in map(keys.find, (mine, yours, "", "wrong"))] == [
        "me",
        "you",
        None,
        None,
    ]
    with pytest.raises(ValueError, match="has a key of me already"):
        add_key(path, "me")
    with pytest.raises(ValueError, match="must be of letters"):
        add_key(path, "a b")
    path.write_text("me secret\n")
    with pytest.raises(ValueError, match=r"line 1 of .* must be NAME SHA256"):
        Keys.read(path)
    path.write_text("# nobody\n")
    with pytest.raises(ValueError, match="has no key"):
        Keys.read(path)


@pytest.mark.parametrize(
    ("text", "host", "port", "public"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80, False),
        ("8765", "127.0.0.1", 8765, False),
        ("localhost:0", "localhost", 0, False),
        ("[::1]:80", "::1", 80, False),
        ("0.0.0.0:80", "0.0.0.0", 80, True),
        ("[::]:80", "::", 80, True),
        ("board.local:80", "board.local", 80, True),
    ],
)
def test_addresses(text: str, host: str, port: int, public: bool) -> None:
    assert parse_listen(text) == (host, port)
    assert Settings(host, port, Path()).is_public is public


@pytest.mark.parametrize("text", ["", "a b:80", "127.0.0.1:x", "127.0.0.1:70000"])
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--listen must be HOST:PORT"):
        parse_listen(text)


def sent(files: Files, content: bytes, name: str) -> str:
    (path := files.coming() / "x").write_bytes(content)
    return files.add("networks", path, name)


def test_files_have_the_names_that_they_are_asked_for_by(tmp_path: Path) -> None:
    files = Files(tmp_path)
    key = sent(files, b"one", "dir/a model.onnx")
    assert files.path("networks", key).name == "a model.onnx"
    other = files.path("networks", key, "../../b.onnx")
    assert other.name == "b.onnx"
    assert other.parent == files.path("networks", key).parent
    # What a record calls it need not say the format.
    assert files.path("networks", key, "my net, v1.2").name == "my net_ v1.2.onnx"
    assert other.read_bytes() == b"one"
    for wrong in ("0" * 64, "../networks", key[:9]):
        with pytest.raises(UnknownFileError):
            files.path("networks", wrong)
    with pytest.raises(UnknownFileError):
        files.path("models", key)
    assert file_name("../..") == "file"
    assert file_name("a\0b/\nc.onnx") == "_c.onnx"


def test_one_content_is_kept_once_whatever_it_is_called(tmp_path: Path) -> None:
    files = Files(tmp_path)
    (key,) = {sent(files, b"one", f"{n}.onnx") for n in range(40)}
    kept = [*files.path("networks", key).parent.iterdir()]
    assert len(kept) == 16
    assert len({path.stat().st_ino for path in kept}) == 1
    assert files.path("networks", key, "9.onnx").name == "9.onnx"
    assert not [path for path in (tmp_path / "coming").rglob("*") if path.is_file()]


def test_files_are_their_owners(tmp_path: Path) -> None:
    files = Files(tmp_path)
    mine, yours = files.of("a" * 64), files.of("b" * 64)
    key = sent(mine, b"one", "mine.onnx")
    for others in (files, yours):
        with pytest.raises(UnknownFileError):
            others.path("networks", key)
        with pytest.raises(UnknownFileError):
            others.remove("networks", key)
    assert sent(yours, b"one", "yours.onnx") == key  # the same content, kept for each
    assert mine.path("networks", key).name == "mine.onnx"
    assert yours.path("networks", key).name == "yours.onnx"
    again = Files(tmp_path)  # after a restart
    assert again.of("a" * 64).path("networks", key).name == "mine.onnx"
    mine.remove("networks", key)
    with pytest.raises(UnknownFileError):
        mine.path("networks", key)
    assert yours.path("networks", key).read_bytes() == b"one"
    with pytest.raises(UnknownFileError):
        files.path("networks", f"of-{'b' * 64}")


def test_files_that_come_lie_on_the_disk_of_the_state(tmp_path: Path) -> None:
    before = tempfile.gettempdir()
    with _temporary_files_in(tmp_path):
        assert tempfile.gettempdir() == str(tmp_path)
    assert tempfile.gettempdir() == before


def test_files_of_all_owners_are_swept(tmp_path: Path) -> None:
    files = Files(tmp_path, most_bytes=15)
    mine, yours = files.of("a" * 64), files.of("b" * 64)
    old, new = sent(mine, b"1" * 10, "a.onnx"), sent(yours, b"2" * 10, "a.onnx")
    os.utime(mine.path("networks", old).parent, (1, time.time() - 60))
    yours.sweep()
    with pytest.raises(UnknownFileError):
        mine.path("networks", old)
    assert yours.path("networks", new).exists()


def test_who_keeps_to_an_equal_share_loses_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path, most_bytes=50)
    mine, yours = files.of("a" * 64), files.of("b" * 64)
    old = sent(mine, b"1" * 20, "a.onnx")
    os.utime(mine.path("networks", old).parent, (1, time.time() - 3_600))
    theirs = [sent(yours, bytes([n]) * 10, "a.onnx") for n in range(5)]
    for age, key in enumerate(theirs):
        past = time.time() - 60 * age
        os.utime(yours.path("networks", key).parent, (past, past))

    def kept() -> list[str]:
        return [key for key in theirs if (tmp_path / "networks" / f"of-{'b' * 64}" / key).is_dir()]

    yours.sweep()
    assert mine.path("networks", old).exists()  # although it was used longest ago
    assert kept() == theirs[:3]
    monkeypatch.setattr("latcast._limits.MAX_STATE_FILES", 2)  # so with their number
    mine.sweep()
    assert mine.path("networks", old).exists()
    assert kept() == theirs[:1]


def test_files_go_when_they_are_old_or_too_many(tmp_path: Path) -> None:
    files = Files(tmp_path, most_bytes=25, most_days=2)
    keys = [sent(files, bytes([n]) * 10, "a.onnx") for n in range(4)]
    for age, key in enumerate(keys):
        past = files.path("networks", key).parent.stat().st_mtime - age * 3_600
        os.utime(files.path("networks", key).parent, (past, past))
    files.sweep(frozenset([keys[3]]))
    kept = [key for key in keys if (tmp_path / "networks" / key).is_dir()]
    assert kept == [keys[0], keys[1], keys[3]]  # the last is needed, whatever it takes
    old = (tmp_path / "networks" / keys[0]).stat().st_mtime - 3 * 86_400
    os.utime(tmp_path / "networks" / keys[0], (old, old))
    files.sweep()
    assert not (tmp_path / "networks" / keys[0]).exists()


def test_a_client_names_what_it_cannot_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerError, match="a server must be like http://"):
        Client("ftp://x")
    monkeypatch.setenv("LATCAST_KEY", "secret")
    client = Client("127.0.0.1:1")
    assert "secret" not in repr(client)
    with pytest.raises(ServerError, match="does not answer") as error:
        client.devices()
    assert (error.value.exit_code, error.value.status) == (1, 0)
    with pytest.raises(FileNotFoundError, match="no such file"):
        client.forecast(tmp_path / "none.onnx", "pixel-7")
    with pytest.raises(ServerError, match="takes networks as files; got the name timm:resnet18"):
        client.forecast("timm:resnet18", "pixel-7")
    with pytest.raises(ServerError, match=r"got the file mine\.latcast"):
        client.choose("mine.latcast", 10)


def test_the_image_is_built_of_what_the_package_needs() -> None:
    """And of nothing beside: environments and data of a checkout are gigabytes."""
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    taken = {line[1:] for line in lines if line.startswith("!")}
    needed = {"pyproject.toml", "constraints.txt", project["project"]["readme"]}
    needed |= {*project["project"]["license-files"]}
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert taken == needed | {package.partition("/")[0] for package in packages}
    assert "*" in lines
    told = (root / "Containerfile").read_text(encoding="utf-8")
    assert "python3." not in told  # of whatever version the base image has
    assert told.count("FROM ${BASE}") == 2
    (entry,) = (json.loads(x[11:]) for x in told.splitlines() if x.startswith("ENTRYPOINT "))
    shown = CliRunner().invoke(app, [*entry[1:2], "--help"]).stdout
    assert all(option in shown for option in (*entry[2::2], "--keys"))
