"""Networks written to files, and batch norms calibrated on images."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import latcast
from latcast.ofa import ImageFolder, ofa_module
from latcast.ofa._export import export
from latcast.ofa._images import prepare

SMALL = {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "r": [128]}
MIXED = {"ks": [3, 5, 7, 5] * 5, "e": [6, 3, 4, 3] * 5, "d": [2, 4, 3, 4, 2], "r": [132]}
COMPOUND = {"ks": [7] * 20, "e": [4] * 20, "d": [3] * 5, "r": [160]}


def run(path, x):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


def normal(batch, side, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, 3, side, side), dtype=np.float32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Five images of odd sizes and kinds in two folders, beside what is none."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("photos")
    (folder / "other").mkdir()
    rng = np.random.default_rng(0)
    for n, (width, height) in enumerate([(200, 160), (140, 300), (150, 150), (90, 60), (400, 151)]):
        # Smooth, as photos are.
        small = image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        mode = ("RGB", "L", "RGBA", "P", "RGB")[n]
        name = ("a.jpg", "other/b.JPEG", "c.png", "other/d.PNG", "e.jpg")[n]
        small.resize((width, height), 2).convert(mode).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


# -- files -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("nasbench201", 1),
        ("nasbench201", None),
        ("fbnet", 3),
        ("ofa-resnet50", None),
        ("compofa-fixed-kernel-w1.0", 3),
        ("ofa-proxyless", 1),
    ],
)
def test_random_weights_of_any_space(name, batch, tmp_path):
    restrict = {"r": [128]} if "ofa" in name else None
    arch = latcast.space(name).sample(1, seed=1, restrict=restrict)
    written = export(arch, tmp_path / "net.onnx", batch=batch, seed=2)
    model = onnx.load(written.file)
    onnx.checker.check_model(model, full_check=True)
    (side,) = {d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[2:]}
    assert side == written.resolution
    first = model.graph.output[0].type.tensor_type.shape.dim[0]
    assert (first.dim_param, first.dim_value) == (("batch", 0) if batch is None else ("", batch))
    for images in [batch] if batch else [1, 4]:
        assert run(written.file, normal(images, side)).shape[0] == images
    assert written.file_bytes == Path(written.file).stat().st_size
    assert (written.batch, written.weights, written.calibration_images) == (batch, None, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("ofa-mobilenet-v3", SMALL),
        ("ofa-mobilenet-v3", MIXED),
        ("ofa-mobilenet-v3-w1.0", COMPOUND),
    ],
)
def test_onnx_gives_the_module_s_outputs(name, arch, photos, tmp_path):
    torch = pytest.importorskip("torch")
    archs = latcast.space(name).parse([arch])
    # Calibrated batch norms do something, which folding has to keep.
    module = ofa_module(archs, seed=1, images=ImageFolder(photos, 4))
    torch.save(module.state_dict(), tmp_path / "net.pt")
    written = export(archs, tmp_path / "net.onnx", weights=tmp_path / "net.pt", batch=None)
    # Of what it was calibrated on: on noise its activations, and all errors, would explode.
    x = next(ImageFolder(photos, 5).batches(arch["r"][0], 3))
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    assert 0.05 < wanted.std() < 10
    assert np.abs(run(written.file, x) - wanted).max() <= 1e-4


@pytest.mark.slow
def test_a_seed_s_weights_are_the_same_in_either_format(tmp_path):
    torch = pytest.importorskip("torch")
    arch = latcast.space("compofa-elastic-kernel").sample(1, 3, restrict={"r": [128]})
    for suffix in ("onnx", "pt"):
        export(arch, tmp_path / f"net.{suffix}", seed=5)
    module = ofa_module(arch, seed=6)
    state = torch.load(tmp_path / "net.pt", weights_only=True)
    torch.nn.Module.load_state_dict(module, state, strict=True)
    x = normal(1, 128)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    assert np.abs(run(tmp_path / "net.onnx", x) - wanted).max() <= 1e-4


@pytest.mark.slow
def test_a_cut_out_file_is_no_larger_than_its_network(tmp_path):
    torch = pytest.importorskip("torch")
    from latcast.ofa import network_module

    space = latcast.space("ofa-mobilenet-v3-w1.0")
    torch.save(network_module(space.supernet(), elastic=True).state_dict(), tmp_path / "super.pth")
    arch = space.parse([SMALL])
    written = export(arch, tmp_path / "net.pt", weights=tmp_path / "super.pth")
    assert written.calibrated is False
    # The file does not tell where its statistics are from.
    again = export(arch, tmp_path / "net.onnx", weights=written.file)
    assert again.calibrated is None
    params = space.costs(arch)["params"][0]
    assert 4 * params < written.file_bytes < 4.2 * params + 100_000


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("nasbench201", "net.pt", "for the spaces of OFA networks"),
        ("ofa-mobilenet-v3", "net.tflite", "must end in .onnx or .pt; got"),
        ("ofa-mobilenet-v3", "net", "must end in .onnx or .pt; got"),
    ],
)
def test_what_cannot_be_written(name, file, message, tmp_path):
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=message):
        export(latcast.space(name).sample(1, 0), tmp_path / file)
    for batch in (0, -1, "x", 1.5, True, 2**31):
        message = f"from 1 to 2147483647, or None for any; got {batch!r}"
        with pytest.raises(ValueError, match=message):
            export(latcast.space(name).sample(1, 0), tmp_path / "net.onnx", batch=batch)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_statistics_that_are_not_finite_are_not_written(photos, tmp_path):
    torch = pytest.importorskip("torch")
    arch = latcast.space("ofa-mobilenet-v3-w1.0").parse([SMALL])
    state = dict(ofa_module(arch).state_dict())
    state["first_conv.conv.weight"] = state["first_conv.conv.weight"] * 1e38
    torch.save(state, tmp_path / "huge.pt")
    for suffix in ("pt", "onnx"):
        with pytest.raises(ValueError, match="must be finite"):
            export(arch, tmp_path / f"net.{suffix}", weights=tmp_path / "huge.pt",
                   calibration_images=photos)  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["huge.pt"]


@pytest.mark.slow
def test_onnx_with_random_weights_needs_no_extra(tmp_path):
    code = """
import sys
from pathlib import Path
sys.modules["torch"] = sys.modules["PIL"] = None
import latcast
from latcast.ofa._export import export
arch = latcast.space("ofa-mobilenet-v3").sample(1, 0)
export(arch, "net.onnx")
for file, more in (("net.pt", {}), ("net.onnx", {"calibration_images": "."})):
    try:
        export(arch, file, **more)
    except ModuleNotFoundError as error:
        print(error)
"""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert "needs torch, which is not installed: pip install 'latcast[torch]'" in first
    assert "pip install 'latcast[export]'" in second
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


# -- images ----------------------------------------------------------------------------------


def test_the_centre_is_seen_at_its_scale():
    image = pytest.importorskip("PIL.Image")
    # 256 on the shorter side is resized to 256 for 224 pixels: nothing but the cut is done.
    ramp = np.broadcast_to(np.arange(300) % 256, (256, 300)).astype(np.uint8)
    got = prepare(image.fromarray(ramp), 224)
    wanted = (ramp[16:240, 38:262] / 255 - 0.485) / 0.229
    assert np.abs(got[0] - wanted).max() <= 1e-5


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (120, 97), (1333, 1000)])
@pytest.mark.parametrize("side", [128, 132, 224])
def test_resized_as_a_whole_and_then_cut(size, side):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    photo = image.fromarray(pixels).resize(size, 2)
    short = math.ceil(side * 256 / 224)
    width, height = (int(short * length / min(size)) for length in size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    whole = photo.resize((width, height), 2).crop((left, top, left + side, top + side))
    wanted = (np.asarray(whole) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    # Pillow rounds to whole values from 0 to 255.
    assert np.abs(prepare(photo, side).transpose(1, 2, 0) - wanted).max() <= 1.01 / 255 / 0.224


@settings(max_examples=50)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([128, 132, 176, 240]))
def test_any_size_fits(width, height, side):
    image = pytest.importorskip("PIL.Image")
    assert prepare(image.new("L", (width, height)), side).shape == (3, side, side)


def test_a_folder_is_read_in_batches(photos):
    folder = ImageFolder(photos, 5)
    batches = list(folder.batches(128, 2))
    assert [b.shape for b in batches] == [(2, 3, 128, 128)] * 2 + [(1, 3, 128, 128)]
    assert (folder.used, folder.skipped) == (5, [])
    again = list(ImageFolder(photos, 5).batches(128, 2))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    orders = {
        ImageFolder(photos, 1, seed).batches(128, 1).__next__().tobytes() for seed in range(9)
    }
    assert len(orders) > 1
    few = ImageFolder(photos, 3)
    assert sum(len(b) for b in few.batches(128, 2)) == few.used == 3


def test_a_folder_is_read_again(photos):
    (photos / "broken.png").write_text("no image")
    folder = ImageFolder(photos, 3)
    first = [b for _ in range(2) for b in folder.batches(128, 3)]
    assert [len(b) for b in first] == [3, 3]
    assert np.array_equal(*first)
    many = ImageFolder(photos, 10)
    for _ in range(2):
        assert sum(len(b) for b in many.batches(128, 3)) == many.used == 5
        assert len(many.skipped) == 1
    (photos / "broken.png").unlink()
    for most in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"at least one image must be used; got {most}"):
            ImageFolder(photos, most)


def test_images_that_cannot_be_read_are_counted(photos, tmp_path):
    whole = (photos / "a.jpg").read_bytes()
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "half.png").write_bytes((photos / "c.png").read_bytes()[:60])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpeg").touch()
    folder = ImageFolder(tmp_path, 10)
    assert [len(b) for b in folder.batches(128, 4)] == [1]
    assert folder.used == 1
    assert sorted(s.split(":")[0].rpartition("/")[2] for s in folder.skipped) == [
        "empty.jpeg", "half.jpg", "half.png", "text.png"
    ]  # fmt: skip
    (tmp_path / "whole.jpg").unlink()
    with pytest.raises(ValueError, match="images that can be read; got 4 that cannot, the first"):
        list(ImageFolder(tmp_path, 10).batches(128, 4))


def test_folders_without_images(tmp_path):
    pytest.importorskip("PIL")
    with pytest.raises(ValueError, match=r"must hold images \(.jpg, .jpeg, .png\); got none"):
        ImageFolder(tmp_path, 10)
    with pytest.raises(FileNotFoundError, match="must be a folder of images"):
        ImageFolder(tmp_path / "none", 10)


# -- batch norms -----------------------------------------------------------------------------


def test_statistics_are_the_weighted_mean_of_the_batches_own():
    torch = pytest.importorskip("torch")
    from latcast.ofa._transfer import calibrate

    first, second = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
        first.bias.copy_(torch.tensor([0.5, 0.0, -1.0]))
        first.running_mean.fill_(99)
    module = torch.nn.Sequential(first, torch.nn.ReLU(), second).train()
    batches = [normal(2, 5), 3 + 2 * normal(5, 5, seed=1)]
    calibrate(module, batches)
    assert not module.training
    means, variances, means_2, variances_2 = [], [], [], []
    for x in batches:
        means.append(x.mean((0, 2, 3)))
        variances.append(x.var((0, 2, 3)))
        scaled = (x - means[-1][:, None, None]) / np.sqrt(variances[-1][:, None, None] + 1e-5)
        y = np.maximum(scaled * np.array([[[1]], [[2]], [[3]]]) + [[[0.5]], [[0.0]], [[-1.0]]], 0)
        means_2.append(y.mean((0, 2, 3)))
        variances_2.append(y.var((0, 2, 3)))
    for norm, mean, variance in ((first, means, variances), (second, means_2, variances_2)):
        for got, wanted in ((norm.running_mean, mean), (norm.running_var, variance)):
            assert np.abs(got.numpy() - (2 * wanted[0] + 5 * wanted[1]) / 7).max() <= 1e-4
    with pytest.raises(ValueError, match="at least one image"):
        calibrate(module, [])


def test_after_one_batch_every_norm_normalizes_it(photos):
    torch = pytest.importorskip("torch")
    arch = latcast.space("ofa-mobilenet-v3-w1.0").parse([SMALL])
    module = ofa_module(arch, images=ImageFolder(photos, 5))
    batch = next(ImageFolder(photos, 5).batches(128, 5))
    seen = []
    for _, norm in module.operators():
        if norm is not None:
            norm.register_forward_hook(lambda m, _, y: seen.append((m, y)))
    with torch.no_grad():
        module(torch.from_numpy(batch))
    assert len(seen) == 2 + 3 * 10 + 2
    for norm, y in seen:
        mean = y.mean((0, 2, 3))
        assert (mean - norm.bias).abs().max() <= 1e-3 * max(1, y.abs().max())
