"""ResNets cut out of their supernet, against a second implementation on the published names."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

import latcast
from latcast.ofa import network_module, ofa_module
from latcast.ofa._checkpoint import plain
from latcast.ofa._export import export
from latcast.spaces._resnet import Bottleneck

torch = pytest.importorskip("torch")
functional = torch.nn.functional

STEM = {0: 24, 1: 24, 2: 32}
STEM_OUT = (40, 48, 64)
WIDTHS = ((168, 208, 256), (336, 408, 512), (664, 816, 1024), (1328, 1640, 2048))
MIDDLE = {
    168: (32, 40, 56), 208: (40, 56, 72), 256: (48, 64, 88),
    336: (64, 88, 120), 408: (80, 104, 144), 512: (104, 128, 176),
    664: (136, 168, 232), 816: (160, 208, 288), 1024: (208, 256, 360),
    1328: (264, 336, 464), 1640: (328, 408, 576), 2048: (408, 512, 720),
}  # fmt: skip
EXPANDS = (0.2, 0.25, 0.35)
BASE = (2, 2, 4, 2)
STRIDES = (1, 2, 2, 2)

LARGEST = {"e": [0.35] * 18, "w": [2] * 6, "d": [2] * 5, "r": [128]}
SMALLEST = {"e": [0.2] * 18, "w": [0] * 6, "d": [0] * 5, "r": [128]}
MIXED = {
    "e": [0.2, 0.25, 0.35] * 6, "w": [1, 2, 0, 1, 2, 1], "d": [0, 1, 2, 0, 1], "r": [140]
}  # fmt: skip
STEMMED = MIXED | {"w": [0, 0, 2, 1, 0, 2], "d": [2, 0, 1, 2, 1], "r": [132]}
ARCHS = {"smallest": SMALLEST, "largest": LARGEST, "mixed": MIXED, "with stem": STEMMED}


def norm(name, channels):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{p}": (channels,) for p in parts} | {f"{name}.num_batches_tracked": ()}


def published(arch=None):
    """Names and shapes of the supernet, or of one architecture's own file."""
    deeper, of = ("", arch) if arch else (".{}", LARGEST)
    shapes = {}

    def conv(name, out, channels, kernel_size):
        shapes[f"{name}.conv{deeper.format('conv')}.weight"] = (
            out, channels, kernel_size, kernel_size
        )  # fmt: skip
        shapes.update(norm(f"{name}.bn{deeper.format('bn')}", out))

    stem, channels = STEM[of["w"][0]], STEM_OUT[of["w"][1]]
    conv("input_stem.0", stem, 3, 3)
    if of["d"][0] == 2:
        conv("input_stem.1.conv", stem, stem, 3)
    conv("input_stem.2" if of["d"][0] == 2 else "input_stem.1", channels, stem, 3)
    n, position = 0, 0
    for stage, base in enumerate(BASE):
        out = WIDTHS[stage][of["w"][2 + stage]]
        for _ in range(base + of["d"][1 + stage]):
            mid = MIDDLE[out][EXPANDS.index(of["e"][position])]
            conv(f"blocks.{n}.conv1", mid, channels, 1)
            conv(f"blocks.{n}.conv2", mid, mid, 3)
            conv(f"blocks.{n}.conv3", out, mid, 1)
            if channels != out:
                conv(f"blocks.{n}.downsample", out, channels, 1)
            channels, n, position = out, n + 1, position + 1
        position += 2 - of["d"][1 + stage]
    linear = f"classifier.linear{deeper.format('linear')}"
    return shapes | {f"{linear}.weight": (1000, channels), f"{linear}.bias": (1000,)}


def run(state, arch, x):
    """The sub-network's scores, straight from the supernet's tensors."""

    def conv(x, name, out, stride=1):
        weight = state[f"{name}.conv.conv.weight"][:out, : x.shape[1]]
        x = functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2)
        parts = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(state[f"{name}.bn.bn.{p}"][:out] for p in parts))

    def halved(x):
        """Means of 2 x 2 pixels, of those that are there."""
        shape = (x.shape[0], x.shape[1], x.shape[2] + x.shape[2] % 2, x.shape[3] + x.shape[3] % 2)
        filled, there = torch.zeros(shape), torch.zeros(shape)
        filled[:, :, : x.shape[2], : x.shape[3]] = x
        there[:, :, : x.shape[2], : x.shape[3]] = 1
        sums = [t.unfold(2, 2, 2).unfold(3, 2, 2).sum((4, 5)) for t in (filled, there)]
        return sums[0] / sums[1]

    stem = STEM[arch["w"][0]]
    x = conv(x, "input_stem.0", stem, 2).relu()
    if arch["d"][0] == 2:
        x = x + conv(x, "input_stem.1.conv", stem).relu()
    x = conv(x, "input_stem.2", STEM_OUT[arch["w"][1]]).relu()
    x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 2)  # nothing is below 0
    n = 0
    for stage, base in enumerate(BASE):
        out = WIDTHS[stage][arch["w"][2 + stage]]
        for position in range(base + arch["d"][1 + stage]):
            name, stride = f"blocks.{n + position}", 1 if position else STRIDES[stage]
            mid = MIDDLE[out][EXPANDS.index(arch["e"][n + position])]
            shortcut = x
            if position == 0:
                shortcut = conv(halved(x) if stride == 2 else x, f"{name}.downsample", out)
            y = conv(conv(x, f"{name}.conv1", mid).relu(), f"{name}.conv2", mid, stride).relu()
            x = (conv(y, f"{name}.conv3", out) + shortcut).relu()
        n += base + 2
    weight = state["classifier.linear.linear.weight"][:, : x.shape[1]]
    return x.mean((2, 3)) @ weight.T + state["classifier.linear.linear.bias"]


@pytest.fixture(scope="module")
def state(draw):
    return draw(published())


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "super.pth"
    torch.save({"state_dict": state}, path)
    return path


def parse(arch):
    return latcast.space("ofa-resnet50").parse([arch])


def images(side, batch=2):
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(5))


def supernet_module():
    return network_module(latcast.space("ofa-resnet50").supernet(), elastic=True)


@pytest.mark.slow
def test_the_supernet_has_the_published_names_and_shapes(state):
    module = supernet_module()
    assert {k: tuple(v.shape) for k, v in module.state_dict().items()} == published()
    torch.nn.Module.load_state_dict(module, state, strict=True)
    x = images(128)
    with torch.no_grad():
        output, wanted = module(x), run(state, LARGEST, x)
    assert (output - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("which", ARCHS)
def test_a_network_that_was_cut_out_computes_what_the_supernet_does(which, state, file, tmp_path):
    arch = ARCHS[which]
    module = ofa_module(parse(arch), file)
    shapes = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    assert shapes == published(arch)
    # Of the largest the file may be its own.
    assert module.calibrated is (None if which == "largest" else False)
    x = images(arch["r"][0])
    with torch.no_grad():
        output, wanted = module(x), run(state, arch, x)
    assert 0.1 < wanted.abs().max() < 1_000
    assert (output - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    written = export(parse(arch), tmp_path / "net.onnx", weights=file, batch=None)
    session = ort.InferenceSession(written.file, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"input": x.numpy()})
    assert np.abs(scores - wanted.numpy()).max() <= 1e-5 * wanted.abs().max()


def test_names_of_any_version_are_known(state):
    """Static ones, as of a network that its own code has built, and those of several GPUs."""
    module = supernet_module()
    for renamed in (
        {plain(name): tensor for name, tensor in state.items()},
        {f"module.{name}": tensor for name, tensor in state.items()},
    ):
        assert len(renamed) == len(state)
        module.load_state_dict(renamed, strict=True)
        assert all(torch.equal(x, state[name]) for name, x in module.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("which", ["mixed", "with stem"])
def test_an_architecture_s_own_file(which, file, tmp_path):
    module = ofa_module(parse(ARCHS[which]), file)
    torch.save(module.state_dict(), tmp_path / "own.pt")
    again = ofa_module(parse(ARCHS[which]), tmp_path / "own.pt")
    assert again.calibrated is None
    assert all(torch.equal(x, again.state_dict()[k]) for k, x in module.state_dict().items())
    message = "checkpoint of the supernet of ofa-resnet50, or of the architecture itself"
    with pytest.raises(ValueError, match=message):
        ofa_module(parse(LARGEST), tmp_path / "own.pt")


def test_specifications_and_block_tables_agree():
    space = latcast.space("ofa-resnet50")
    archs = space.sample(20, seed=0, restrict={"r": [164]})
    for arch, ids in zip(archs, space.block_ids(archs), strict=True):
        of, side = space.specification(arch), 41
        body = [i for i in ids[4:-2] if i < len(space.block_table)]
        assert len(body) == len(of.blocks) == len(of.positions)
        for block, row in zip(of.blocks, body, strict=True):
            assert block.block(side, "").layers == space.block_table.blocks[row].layers
            side = -(-side // block.stride)
    with pytest.raises(ValueError, match="from one architecture; got 2"):
        space.specification(archs[:2])


def test_a_bottleneck_in_closed_form():
    block = Bottleneck(64, 48, 256, 2).block(15, "b")
    macs = 15**2 * 64 * 48 + 8**2 * (9 * 48 * 48 + 48 * 256 + 64 * 256)
    assert block.macs == macs
    params = 64 * 48 + 9 * 48**2 + 48 * 256 + 64 * 256 + 2 * (48 + 48 + 256 + 256)
    assert block.params == params
    assert [x.op for x in block.layers if x.window == (2, 2)] == ["avg_pool"]
    same = Bottleneck(256, 48, 256, 1).block(15, "b")
    assert same.params == 2 * 48 * 256 + 9 * 48**2 + 2 * (48 + 48 + 256)
    assert [x.op for x in same.layers[-2:]] == ["add", "relu"]
