"""The command line on hostile files, streams and names: one line of error, no traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from latcast.cli import app

CONTENTS = {
    ".onnx": [b"", b"\x3a\xff\xff\xff\xff\x0f", b"\x08\x07\x3a\0", bytes(range(256))],
    ".pt2": [b"", b"PK\3\4", b"PK\5\6" + bytes(18)],
    ".tflite": [b"", b"\x10\0\0\0TFL3", b"\xff\xff\xff\x7fTFL3" + bytes(99)],
    ".param": [
        b"",
        b"7767517\n",
        b"7767517\n1 1\nInput a 0 1 a 0=-5\n",
        b"7767517\n1 1\nX\xff y z",
    ],
    ".xml": [b"", b"<net>", b"<net/>", b'<!DOCTYPE a [<!ENTITY b "c">]><net>&b;</net>'],
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", CONTENTS)
@pytest.mark.parametrize("command", ["inspect", "predict"])
def test_a_file_that_holds_no_network(
    latcast: Any, command: str, suffix: str, tmp_path: Path
) -> None:
    if suffix == ".tflite":
        pytest.importorskip("ai_edge_litert")
    options = ["--device", "epyc-genoa-2c"] if command == "predict" else []
    for content in CONTENTS[suffix]:
        file = tmp_path / f"net{suffix}"
        file.write_bytes(content)
        message = latcast.error(command, file, *options, code=1)
        assert len(message) < 1_000
        assert "unexpected" not in message


@pytest.mark.parametrize("content", [x[-1] for x in CONTENTS.values()], ids=CONTENTS)
def test_a_stream_that_holds_no_network(content: bytes) -> None:
    if content[4:8] == b"TFL3":
        pytest.importorskip("ai_edge_litert")
    run = CliRunner().invoke(app, ["inspect", "-"], input=content)
    assert run.exit_code == 1
    assert run.stdout == ""
    assert run.stderr.startswith("error: the ")
    assert "unexpected" not in run.stderr


@pytest.mark.parametrize("library", ["timm", "torchvision", "transformers"])
@pytest.mark.parametrize(
    "name", ["no_such", "", "../x", "os.system", "__init__", "a\x1b[31m", "é;"]
)
def test_a_name_that_no_library_has(latcast: Any, library: str, name: str) -> None:
    message = latcast.error("inspect", f"{library}:{name}", code=1)
    assert message.isprintable()
    assert "unexpected" not in message
