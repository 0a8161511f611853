"""What is particular to MNN: files, chatter, and names in profiles."""

from __future__ import annotations

import importlib.util
import os

import pytest

from latcast.graph import Graph, GraphBuilder
from latcast.measure.runtimes import UnsupportedNetworkError
from latcast.measure.runtimes import mnn as module
from latcast.measure.runtimes.mnn import MNNRuntime, quiet

pytestmark = pytest.mark.worker

needs_mnn = pytest.mark.skipif(
    importlib.util.find_spec("MNN") is None, reason="MNN is not installed"
)


def small() -> Graph:
    b = GraphBuilder()
    b.classifier(b.activation(b.conv(b.input(3, 9, 9), 8, 3), "relu"), 4)
    return b.build()


@needs_mnn
def test_loading_prints_nothing_and_leaves_no_file(capfd, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_MEMORY_DISK", tmp_path)
    made = MNNRuntime()
    loaded = made.load(small())
    loaded.run()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@needs_mnn
def test_what_cannot_be_converted_says_why_and_leaves_no_file(capfd, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_MEMORY_DISK", tmp_path)
    monkeypatch.setattr("latcast.measure.runtimes._base.to_onnx", lambda *_: b"not a model")
    made = MNNRuntime()
    with pytest.raises(UnsupportedNetworkError, match=r"could not convert the network: +\w"):
        made.load(small())
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_small_memory_disk_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_MEMORY_DISK", tmp_path)
    assert module._fast_directory(1) == str(tmp_path)
    assert module._fast_directory(1 << 60) is None
    monkeypatch.setattr(module, "_MEMORY_DISK", tmp_path / "absent")
    assert module._fast_directory(1) is None


def test_quiet_takes_what_any_code_prints_and_gives_back_the_outputs(capfd):
    os.write(1, b"before, ")
    with quiet() as log:
        os.write(1, b"from C ")
        os.write(2, b"and its errors ")
        log.seek(0)
        assert log.read() == b"from C and its errors "
    os.write(1, b"after, ")
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    os.write(1, b"after an error")
    assert capfd.readouterr() == ("before, after, after an error", "")
