"""Networks cut out of a supernet, against a second implementation on the published names."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import latcast
from latcast.ofa import network_module, ofa_module
from latcast.ofa._export import export

torch = pytest.importorskip("torch")
functional = torch.nn.functional

PROXYLESS = 1.3
SPACES = {1.0: "ofa-mobilenet-v3-w1.0", 1.2: "ofa-mobilenet-v3", PROXYLESS: "ofa-proxyless"}
WIDTHS = {
    1.0: (16, 16, 24, 40, 80, 112, 160, 960, 1280),
    1.2: (24, 24, 32, 48, 96, 136, 192, 1152, 1536),
    PROXYLESS: (40, 24, 32, 56, 104, 128, 248, 416, 1664),
}
STAGES_V3 = (
    (2, "relu", 0), (2, "relu", 1), (2, "h_swish", 0), (1, "h_swish", 1), (2, "h_swish", 1)
)  # fmt: skip
STAGES_PROXYLESS = tuple((stride, "relu6", 0) for stride in (2, 2, 2, 1, 2, 1))


def arch_dict(ks, e, d, r=128):
    return {"ks": ks, "e": e, "d": d, "r": [r]}


SMALLEST = arch_dict([3] * 20, [3] * 20, [2] * 5)
MIDDLE = arch_dict([5] * 20, [4] * 20, [3] * 5)
LARGEST = arch_dict([7] * 20, [6] * 20, [4] * 5)
MIXED = arch_dict([3, 5, 7, 5] * 5, [6, 3, 4, 3] * 5, [2, 4, 3, 4, 2], 132)
ARCHS_V3 = {"smallest": SMALLEST, "middle": MIDDLE, "largest": LARGEST, "mixed": MIXED}


def stages_of(width):
    return STAGES_PROXYLESS if width == PROXYLESS else STAGES_V3


def arch_of(width, which):
    """The architecture, with another block for ProxylessNAS's last stage."""
    arch = ARCHS_V3[which]
    if width != PROXYLESS:
        return arch
    return {"ks": [*arch["ks"], arch["ks"][1]], "e": [*arch["e"], arch["e"][1]],
            "d": [*arch["d"], 1], "r": arch["r"]}  # fmt: skip


def divisible(channels):
    rounded = max(8, (channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def norm(name, channels):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{p}": (channels,) for p in parts} | {f"{name}.num_batches_tracked": ()}


def body(name, channels, mid, out, kernel_size, squeezes, elastic):
    """Names and shapes of a block's body."""
    conv, bn = ("conv.conv", "bn.bn") if elastic else ("conv", "bn")
    shapes = {}
    if elastic is not None:
        shapes[f"{name}.inverted_bottleneck.{conv}.weight"] = (mid, channels, 1, 1)
        shapes |= norm(f"{name}.inverted_bottleneck.{bn}", mid)
    shapes[f"{name}.depth_conv.{conv}.weight"] = (mid, 1, kernel_size, kernel_size)
    if elastic:
        shapes[f"{name}.depth_conv.conv.7to5_matrix"] = (25, 25)
        shapes[f"{name}.depth_conv.conv.5to3_matrix"] = (9, 9)
    shapes |= norm(f"{name}.depth_conv.{bn}", mid)
    if squeezes:
        reduced = divisible(mid // 4)
        shapes[f"{name}.depth_conv.se.fc.reduce.weight"] = (reduced, mid, 1, 1)
        shapes[f"{name}.depth_conv.se.fc.reduce.bias"] = (reduced,)
        shapes[f"{name}.depth_conv.se.fc.expand.weight"] = (mid, reduced, 1, 1)
        shapes[f"{name}.depth_conv.se.fc.expand.bias"] = (mid,)
    shapes[f"{name}.point_linear.{conv}.weight"] = (out, mid, 1, 1)
    return shapes | norm(f"{name}.point_linear.{bn}", out)


def published(width, arch=None):
    """Names and shapes of the published supernet, or of one architecture's own file."""
    first, width_0, *stages, mix = WIDTHS[width]
    if width != PROXYLESS:
        expand = stages.pop()
    shapes = {"first_conv.conv.weight": (first, 3, 3, 3), **norm("first_conv.bn", first)}
    shapes |= body("blocks.0.mobile_inverted_conv", first, first, width_0, 3, False, None)
    channels, n = width_0, 0
    of = arch or arch_of(width, "largest")
    for stage, out in enumerate(stages):
        for position in range(of["d"][stage]):
            n += 1
            k, e = of["ks"][4 * stage + position], of["e"][4 * stage + position]
            name = f"blocks.{n}.mobile_inverted_conv"
            squeezes = stages_of(width)[stage][2]
            shapes |= body(name, channels, channels * e, out, k, squeezes, arch is None)
            channels = out
    if width == PROXYLESS:
        shapes["feature_mix_layer.conv.weight"] = (mix, channels, 1, 1)
        shapes |= norm("feature_mix_layer.bn", mix)
    else:
        shapes["final_expand_layer.conv.weight"] = (expand, channels, 1, 1)
        shapes |= norm("final_expand_layer.bn", expand)
        shapes["feature_mix_layer.conv.weight"] = (mix, expand, 1, 1)
    return shapes | {"classifier.linear.weight": (1000, mix), "classifier.linear.bias": (1000,)}


def run(state, arch, x):
    """The sub-network's scores, straight from the supernet's tensors."""
    proxyless = "final_expand_layer.conv.weight" not in state
    epsilon = 1e-3 if proxyless else 1e-5

    def conv(x, name, weight, stride=1, groups=1):
        return functional.conv2d(x, weight, state.get(f"{name}.bias"), stride,
                                 weight.shape[-1] // 2, groups=groups)  # fmt: skip

    def bn(x, name):
        c = x.shape[1]
        parts = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(state[f"{name}.{p}"][:c] for p in parts), eps=epsilon)

    def act(x, kind):
        if kind == "relu6" or proxyless:
            return functional.relu6(x)
        return x.relu() if kind == "relu" else x * functional.relu6(x + 3) / 6

    def kernel(name, k):
        weight = state[f"{name}.conv.weight"]
        for large, small in ((7, 5), (5, 3)):
            if k <= small:
                inner = weight[:, 0, 1 : large - 1, 1 : large - 1].reshape(-1, small * small)
                matrix = state[f"{name}.{large}to{small}_matrix"]
                weight = torch.einsum("ij,cj->ci", matrix, inner).reshape(-1, 1, small, small)
        return weight

    x = act(bn(conv(x, "first_conv", state["first_conv.conv.weight"], 2), "first_conv.bn"), "h")
    name = "blocks.0.mobile_inverted_conv"
    y = conv(x, "", state[f"{name}.depth_conv.conv.weight"], groups=x.shape[1])
    y = act(bn(y, f"{name}.depth_conv.bn"), "relu")
    y = bn(conv(y, "", state[f"{name}.point_linear.conv.weight"]), f"{name}.point_linear.bn")
    x = y if proxyless else x + y
    for stage, (stride, kind, squeezes) in enumerate(stages_of(PROXYLESS if proxyless else 1.2)):
        for n in range(4 * stage, 4 * stage + arch["d"][stage]):
            name = f"blocks.{n + 1}.mobile_inverted_conv"
            mid = x.shape[1] * arch["e"][n]
            y = conv(x, "", state[f"{name}.inverted_bottleneck.conv.conv.weight"][:mid])
            y = act(bn(y, f"{name}.inverted_bottleneck.bn.bn"), kind)
            weight = kernel(f"{name}.depth_conv.conv", arch["ks"][n])[:mid]
            y = conv(y, "", weight, stride if n % 4 == 0 else 1, groups=mid)
            y = act(bn(y, f"{name}.depth_conv.bn.bn"), kind)
            if squeezes:
                fc, few = f"{name}.depth_conv.se.fc", divisible(mid // 4)
                z = y.mean((2, 3), keepdim=True)
                z = functional.conv2d(z, state[f"{fc}.reduce.weight"][:few, :mid],
                                      state[f"{fc}.reduce.bias"][:few]).relu()  # fmt: skip
                z = functional.conv2d(z, state[f"{fc}.expand.weight"][:mid, :few],
                                      state[f"{fc}.expand.bias"][:mid])  # fmt: skip
                y = y * functional.relu6(z + 3) / 6
            y = conv(y, "", state[f"{name}.point_linear.conv.conv.weight"][:, :mid])
            y = bn(y, f"{name}.point_linear.bn.bn")
            x = x + y if n % 4 else y
    if proxyless:
        x = act(bn(conv(x, "", state["feature_mix_layer.conv.weight"]), "feature_mix_layer.bn"), "")
        x = x.mean((2, 3))
    else:
        x = conv(x, "", state["final_expand_layer.conv.weight"])
        x = act(bn(x, "final_expand_layer.bn"), "h").mean((2, 3), keepdim=True)
        x = act(conv(x, "", state["feature_mix_layer.conv.weight"]), "h").flatten(1)
    return x @ state["classifier.linear.weight"].T + state["classifier.linear.bias"]


@pytest.fixture(scope="module")
def states(draw):
    return {width: draw(published(width)) for width in SPACES}


@pytest.fixture(scope="module")
def files(states, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for width, state in states.items():
        torch.save({"state_dict": state, "epoch": 3}, folder / f"{width}.pth")
    return {width: folder / f"{width}.pth" for width in states}


def parse(width, arch):
    return latcast.space(SPACES[width]).parse([arch])


def supernet_module(width):
    return network_module(latcast.space(SPACES[width]).supernet(), elastic=True)


def images(batch=2, side=128, seed=5):
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", SPACES)
def test_the_supernet_has_the_published_names_and_shapes(width, states):
    module = supernet_module(width)
    assert {k: tuple(v.shape) for k, v in module.state_dict().items()} == published(width)
    # As any module loads it, before our own reading of other names.
    torch.nn.Module.load_state_dict(module, states[width], strict=True)
    with torch.no_grad():
        output = module(images())
    wanted = run(states[width], arch_of(width, "largest"), images())
    assert torch.allclose(output, wanted, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "which"),
    [(w, a) for w in SPACES for a in ARCHS_V3 if w == 1.2 or a in ("mixed", "largest")],
)
def test_a_network_that_was_cut_out_computes_what_the_supernet_does(
    width, which, states, files, tmp_path
):
    arch = arch_of(width, which)
    module = ofa_module(parse(width, arch), files[width])
    shapes = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    assert shapes == published(width, arch)
    assert module.calibrated is False
    batch = 1 if which == "middle" else None
    x = images(batch or 3, arch["r"][0])
    with torch.no_grad():
        output, wanted = module(x), run(states[width], arch, x)
    assert 0.1 < wanted.abs().max() < 100
    assert (output - wanted).abs().max() <= 1e-4
    written = export(parse(width, arch), tmp_path / "net.onnx", weights=files[width], batch=batch)
    onnx.checker.check_model(written.file, full_check=True)
    session = ort.InferenceSession(written.file, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"input": x.numpy()})
    assert np.abs(scores - wanted.numpy()).max() <= 1e-4


@pytest.mark.parametrize(
    "space",
    [
        "compofa-fixed-kernel", "compofa-elastic-kernel-w1.0", "ofa-mobilenet-v3",
        "ofa-proxyless", "ofa-resnet50",
    ],
)  # fmt: skip
def test_the_module_has_the_weights_of_the_network_of_its_space(space):
    arch = latcast.space(space).sample(1, seed=3, restrict={"r": [128]})
    module, network = ofa_module(arch, seed=4), arch.space.network(arch)
    weights = [conv.weight for conv, _ in module.operators()]
    kinds = ("conv", "depthwise_conv", "linear")
    drawn = zip(network.layers, network.weights(4), strict=True)
    given = [values[0] for layer, values in drawn if layer.kind in kinds]
    assert all(torch.equal(w, torch.from_numpy(g)) for w, g in zip(weights, given, strict=True))


@pytest.mark.parametrize("width", SPACES)
def test_specifications_and_block_tables_agree(width):
    space = latcast.space(SPACES[width])
    for arch in space.sample(20, seed=0, restrict={"r": [160]}):
        side = 80
        rows = [i for i in space.block_ids(arch)[0] if i < len(space.block_table)]
        blocks = space.specification(arch).blocks
        for block, row in zip(blocks, rows[1:], strict=False):
            assert block.block(side, "").layers == space.block_table.blocks[row].layers
            side = -(-side // block.stride)
        assert len(rows) == len(blocks) + (4 if width == PROXYLESS else 5)
    with pytest.raises(ValueError, match="from one architecture; got 2"):
        space.specification(space.sample(2, 0))


# -- kernels ---------------------------------------------------------------------------------


@given(st.integers(0, 1_000), st.integers(1, 6))
def test_kernels_shrink_step_by_step(seed, channels):
    from latcast.ofa._transfer import transform_kernel

    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((channels, 1, 7, 7))
    five, three = rng.standard_normal((25, 25)), rng.standard_normal((9, 9))
    matrices = {"7to5_matrix": torch.from_numpy(five), "5to3_matrix": torch.from_numpy(three)}
    for c in range(channels):
        middle = (five @ weight[c, 0, 1:6, 1:6].ravel()).reshape(5, 5)
        small = (three @ middle[1:4, 1:4].ravel()).reshape(3, 3)
        for side, wanted in ((7, weight[c, 0]), (5, middle), (3, small)):
            got = transform_kernel(torch.from_numpy(weight), matrices, side)[c, 0].numpy()
            assert np.abs(got - wanted).max() <= 1e-9


# -- files -----------------------------------------------------------------------------------


def renamed(state, change):
    return {change(name): tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n.replace(".mobile_inverted_conv.", ".conv."),
        lambda n: f"module.{n}",
        lambda n: n.replace("first_conv.conv.", "first_conv.conv.conv."),
        lambda n: n.replace("classifier.linear.", "classifier.linear.linear."),
    ],
    ids=["later code", "several GPUs", "elastic width", "elastic classifier"],
)
def test_other_names_of_the_same(change, states):
    module = supernet_module(1.0)
    module.load_state_dict(renamed(states[1.0], change), strict=True)
    assert all(torch.equal(x, states[1.0][name]) for name, x in module.state_dict().items())


@pytest.mark.slow
def test_files_of_later_code_without_counters_and_of_another_precision(states, files, tmp_path):
    state = renamed(states[1.0], lambda n: n.replace(".mobile_inverted_conv.", ".conv."))
    torch.save(state, tmp_path / "later.pth")
    a, b = (ofa_module(parse(1.0, SMALLEST), f) for f in (tmp_path / "later.pth", files[1.0]))
    assert all(torch.equal(x, b.state_dict()[k]) for k, x in a.state_dict().items())
    state = {k: v.double() for k, v in states[1.0].items() if "num_batches" not in k}
    supernet_module(1.0).load_state_dict(state, strict=True)
    torch.save(state, tmp_path / "f.pth", _use_new_zipfile_serialization=False)
    module = ofa_module(parse(1.0, SMALLEST), tmp_path / "f.pth")
    assert {t.dtype for t in module.parameters()} == {torch.float32}


@pytest.mark.slow
def test_an_architecture_s_own_file(files, tmp_path):
    module = ofa_module(parse(1.0, MIXED), files[1.0])
    torch.save(module.state_dict(), tmp_path / "own.pt")
    again = ofa_module(parse(1.0, MIXED), tmp_path / "own.pt")
    assert again.calibrated is None
    assert all(torch.equal(x, again.state_dict()[k]) for k, x in module.state_dict().items())
    with pytest.raises(ValueError, match="or of the architecture itself; it lacks 'blocks"):
        ofa_module(parse(1.0, LARGEST), tmp_path / "own.pt")


def without(state, name):
    return {k: v for k, v in state.items() if k != name}


POINT = "blocks.3.mobile_inverted_conv.point_linear"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, f"{POINT}.conv.conv.weight"), f"lacks '{POINT}.conv.weight'$"),
        (lambda s: {k: v for k, v in s.items() if POINT not in k}, "lacks .* and 4 more"),
        (lambda s: s | {"blocks.21.se.bias": torch.ones(2)}, "also holds 'blocks.21.se.bias'"),
        (lambda s: s | {"classifier.linear.bias": torch.ones(10)}, r"\(1000,\); got \(10,\)"),
        (lambda s: s | {"epoch": 3}, "got int as 'epoch'"),
        (lambda s: {}, r"must hold a state dict; got {}"),
        (lambda s: [1, 2], r"must hold a state dict; got \[1, 2\]"),
    ],
)  # fmt: skip
def test_files_of_something_else(change, message, states, tmp_path):
    torch.save(change(states[1.0]), tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=message):
        ofa_module(parse(1.0, SMALLEST), tmp_path / "odd.pth")


def test_the_other_width_no_file_and_no_supernet(files, tmp_path):
    message = r"supernet of ofa-mobilenet-v3, with first_conv.conv.weight of shape \(24, 3, 3, 3\)"
    with pytest.raises(ValueError, match=rf"{message}; got \(16, 3, 3, 3\): another width"):
        ofa_module(parse(1.2, SMALLEST), files[1.0])
    with pytest.raises(FileNotFoundError, match="no such file"):
        ofa_module(parse(1.0, SMALLEST), tmp_path / "none.pth")
    with pytest.raises(ValueError, match=r"for the spaces of OFA networks .*; got fbnet"):
        ofa_module(latcast.space("fbnet").sample(1, 0))


def with_first(tensor, value):
    odd = tensor.clone()
    odd.view(-1)[0] = value
    return odd


def quantized(tensor):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch is about to drop them; files remain
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "pt"])
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("bn.bn.running_var", lambda t: with_first(t, -1.0), "at least 0; got -1"),
        ("bn.bn.running_mean", lambda t: with_first(t, torch.nan), "finite; got NaN or inf"),
        ("conv.conv.weight", lambda t: with_first(t, torch.inf), "finite; got NaN or inf"),
        ("conv.conv.weight", lambda t: with_first(t.double(), 1e300), "finite; got NaN or inf"),
        ("conv.conv.weight", lambda t: t.to(torch.complex64), "real numbers; got torch.complex64"),
        ("conv.conv.weight", lambda t: t.to(torch.int64), "real numbers; got torch.int64"),
        ("conv.conv.weight", lambda t: t.to_sparse(), "real numbers; got torch.float32, sparse"),
        ("conv.conv.weight", lambda t: t.to("meta"), "real numbers; got torch.float32, meta"),
        ("conv.conv.weight", quantized, "real numbers; got torch.qint8, quantized"),
    ],
)  # fmt: skip
def test_tensors_that_no_network_can_have(name, change, message, suffix, states, tmp_path):
    # In a block that the network leaves out, it is no better.
    for block in (POINT, POINT.replace("blocks.3", "blocks.4")):
        odd = change(states[1.0][f"{block}.{name}"])
        torch.save(states[1.0] | {f"{block}.{name}": odd}, tmp_path / "odd.pth")
        with pytest.raises(ValueError, match=rf"odd.pth: {block}.{name} must be .*{message}"):
            export(parse(1.0, SMALLEST), tmp_path / f"net.{suffix}", weights=tmp_path / "odd.pth")
    assert not (tmp_path / f"net.{suffix}").exists()


@pytest.mark.slow
def test_a_tensor_under_two_names(states, tmp_path):
    name = f"{POINT}.conv.conv.weight"
    torch.save(states[1.0] | {f"module.{name}": states[1.0][name] + 1}, tmp_path / "odd.pth")
    message = f"every tensor once; it has '{POINT}.conv.weight' under two names, 'module"
    with pytest.raises(ValueError, match=message):
        ofa_module(parse(1.0, SMALLEST), tmp_path / "odd.pth")


class Code:
    def __reduce__(self):
        return (Path.touch, (Path("was-run"),))


def test_code_in_a_file_is_not_run(states, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(2)}, "more": Code()}, "code.pth")
    Path("pickle.pth").write_bytes(pickle.dumps(Code()))
    for name in ("code.pth", "pickle.pth"):
        with pytest.raises(ValueError, match=r"is read without running code; got: .*; get it anew"):
            ofa_module(parse(1.0, SMALLEST), name)
    assert not Path("was-run").exists()


@pytest.mark.slow
@settings(max_examples=40)
@given(st.booleans(), st.floats(0, 0.999), st.binary(max_size=20))
def test_broken_files(tmp_path_factory, new_format, share, junk):
    path = tmp_path_factory.mktemp("broken") / "f.pth"
    torch.save({"a": torch.ones(50)}, path, _use_new_zipfile_serialization=new_format)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))] + junk)
    with pytest.raises(
        ValueError, match=r"f\.pth must (be a complete file|hold a state dict|be a c)"
    ):
        ofa_module(parse(1.0, SMALLEST), path)


def test_building_leaves_the_user_s_random_numbers_alone():
    before = torch.get_rng_state()
    ofa_module(parse(1.0, SMALLEST))
    assert torch.equal(torch.get_rng_state(), before)
