"""The command that writes networks to files."""

from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import latcast as library
from latcast.cli._console import Console
from latcast.ofa import ofa_module

SMALL = {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "r": [128]}
LARGE = {"ks": [5] * 20, "e": [4] * 20, "d": [3] * 5, "r": [160]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("export")
    (path / "one.json").write_text(json.dumps(SMALL))
    (path / "two.json").write_text(json.dumps([SMALL, LARGE]))
    return path


def test_a_network_that_was_searched_for(latcast, folder):
    latcast("search", "--device", "samsung-note10", "--max-latency", 18, "--max-latency", 20,
            "--space", "compofa-fixed-kernel", "--out", folder / "best.json")  # fmt: skip
    out = folder / "best.onnx"
    record = latcast.json("export", folder / "best.json", "--index", 1, "--space",
                          "compofa-fixed-kernel", "--out", out)  # fmt: skip
    best = json.loads((folder / "best.json").read_text())[1]
    assert record["arch"] == best
    assert (record["format"], record["file_bytes"]) == ("ONNX", out.stat().st_size)
    assert (record["index"], record["batch"], record["weights"]) == (1, 1, None)
    side = best["r"][0]
    assert record["resolution"] == side
    session = ort.InferenceSession(out, providers=["CPUExecutionProvider"])
    x = np.zeros((1, 3, side, side), dtype=np.float32)
    assert session.run(None, {"input": x})[0].shape == (1, 1000)


@pytest.mark.slow
def test_from_a_supernet_through_pytorch_to_onnx(latcast, folder):
    torch = pytest.importorskip("torch")
    image = pytest.importorskip("PIL.Image")
    from latcast.ofa import network_module

    space = library.space("ofa-mobilenet-v3-w1.0")
    state = network_module(space.supernet(), elastic=True).state_dict()
    torch.save({"state_dict": state}, folder / "super.pth")
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for n in range(4):
        pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        image.fromarray(pixels).resize((200, 150), 2).save(photos / f"{n}.jpg")
    (photos / "broken.png").write_text("no image")
    options = ("--space", space.name, "--weights", folder / "super.pth")
    run = latcast("export", folder / "one.json", *options, "--out", folder / "net.pt")
    assert "statistics of the supernet" in run.stderr
    assert "PyTorch state dict" in run.stdout
    arguments = (*options, "--calibrate", photos, "--images", 3, "--out", folder / "net.pt")
    record = latcast.json("export", folder / "one.json", *arguments)
    assert record["calibrated"]
    assert record["calibration_images"] == 3
    assert all("broken.png" in s for s in record["skipped_images"])
    arguments = ("--space", space.name, "--weights", folder / "net.pt", "--batch", "dynamic")
    run = latcast("export", folder / "one.json", *arguments, "--out", folder / "net.onnx")
    assert "net.pt does not tell whether batch norms have this network's own" in run.stderr
    arguments = (*arguments, "--calibrate", photos, "--images", 2, "--out", folder / "again.onnx")
    assert latcast.json("export", folder / "one.json", *arguments)["calibrated"] is True
    module = ofa_module(space.parse([SMALL]), folder / "net.pt")
    session = ort.InferenceSession(folder / "net.onnx", providers=["CPUExecutionProvider"])
    from latcast.ofa import ImageFolder

    x = next(ImageFolder(photos, 2).batches(128, 2))
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    assert np.abs(session.run(None, {"input": x})[0] - wanted).max() <= 1e-4


@pytest.mark.parametrize("space", ["nasbench201", "fbnet"])
def test_other_spaces(space, latcast, folder):
    archs = library.space(space).sample(1, 0)
    (folder / "other.json").write_text(json.dumps(archs.to_dicts()))
    out = folder / "other.onnx"
    run = latcast("export", folder / "other.json", "--space", space, "--out", out, "--batch", 2)
    assert "weights are random" in run.stderr
    onnx.checker.check_model(out, full_check=True)
    run = latcast("export", folder / "other.json", "--space", space, "--out", out, "--quiet")
    assert run.stderr == ""
    options = ("--space", space, "--out", folder / "other.pt")
    message = latcast.error("export", folder / "other.json", *options, code=2)
    assert "for the spaces of OFA networks" in message


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("two.json", "--out", "x.onnx"), 2, "holds 2 architectures: choose one by --index 0 to 1"),
        (("two.json", "--out", "x.onnx", "--index", 2), 2, "--index must be below 2"),
        (("one.json", "--out", "x.tflite"), 2, "--out must end in .onnx or .pt"),
        (("one.json", "--out", "x.pt", "--batch", 1), 2, "--batch is of ONNX files"),
        (("one.json", "--out", "x.onnx", "--batch", 0), 2, "from 1 to 2147483647, or dynamic"),
        (("one.json", "--out", "x.onnx", "--batch", "any"), 2, "or dynamic; got 'any'"),
        (("one.json", "--out", "x.onnx", "--batch", "9" * 10), 2, "--batch must be a number from"),
        (("one.json", "--out", "x.onnx", "--batch", "9" * 9999), 2, "--batch must be a number"),
        (("one.json", "--out", "x.onnx", "--images", 5), 2, "--images is of the folder of --cal"),
        (("one.json", "--out", "x.onnx", "--space", "ofa"), 2, "no search space is called 'ofa'"),
        (("one.json", "--out", "x.onnx", "--weights", "none.pth"), 2, "no such file"),
        (("one.json", "--out", "x.onnx", "--calibrate", "one.json"), 2, "a folder of images"),
        (("none.json", "--out", "x.onnx"), 2, "no such file"),
        (("one.json", "--out", "x.onnx", "--space", "nasbench201"), 1, "--space names another"),
        (("one.json", "--out", "x.onnx", "--weights", "one.json"), 1, "get it anew"),
    ],
)
def test_what_is_wrong(arguments, code, message, latcast, folder, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(folder)
    assert message in latcast.error("export", *arguments, code=code)
    assert not (folder / arguments[2]).exists()


@pytest.mark.slow
def test_a_bar_is_shown_only_where_something_is_calibrated(latcast, folder, monkeypatch):
    shown = []

    @contextmanager
    def bar(console, title, **_):
        shown.append(not console.quiet)
        yield lambda *_: None

    monkeypatch.setattr(Console, "progress", bar)
    latcast("export", folder / "one.json", "--out", folder / "bar.onnx")
    image = pytest.importorskip("PIL.Image")
    (folder / "one photo").mkdir()
    image.new("RGB", (90, 60)).save(folder / "one photo" / "a.png")
    options = ("--calibrate", folder / "one photo", "--out", folder / "bar.onnx")
    latcast("export", folder / "one.json", *options)
    assert shown == [False, True]
