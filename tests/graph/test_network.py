"""Networks with parameters: chained, folded, written as ONNX and built in PyTorch."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import latcast
from latcast.graph._layer import BLOCK_INPUT, SECOND_INPUT, Block, BlockBuilder, Layer
from latcast.graph._network import Network
from latcast.graph.write.onnx import to_onnx
from latcast.graph.write.pytorch import to_pytorch

SPACES = [
    "ofa-mobilenet-v3", "ofa-mobilenet-v3-w1.0", "compofa-fixed-kernel", "compofa-elastic-kernel",
    "ofa-proxyless", "ofa-resnet50", "nasbench201", "fbnet", "fbnet-imagenet",
]  # fmt: skip
CLASSES = {"nasbench201": 10, "fbnet": 100}


def run_onnx(network, batch=1):
    session = ort.InferenceSession(to_onnx(network, batch), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": network.inputs(batch)})[0]


@pytest.mark.parametrize("name", SPACES)
def test_a_network_of_any_space(name):
    space = latcast.space(name)
    restrict = {"r": [128]} if "ofa" in name else None
    arch = space.sample(1, seed=5, restrict=restrict)
    network = space.network(arch, seed=1)
    model = onnx.load_from_string(to_onnx(network))
    onnx.checker.check_model(model, full_check=True)
    assert {(o.domain, o.version) for o in model.opset_import} == {("", 17)}
    output = run_onnx(network)
    assert output.shape == (1, CLASSES.get(name, 1000))
    assert 0.01 < output.std() < 100
    # Folding takes out a batch norm's scale and shift, and puts a bias in their place.
    scales = sum(x.out_shape[0] for x in network.layers if x.op == "depthwise_conv" and
                 x.kernel_size == 1)  # fmt: skip
    weights = sum(p.weight.size for p in network.parameters if p is not None) - scales
    facts = space.block_table.facts
    shifts = sum(
        2 * x.out_shape[0]
        for i in space.block_ids(arch)[0]
        if i < len(space.block_table)
        for x in space.block_table.blocks[i].layers
        if x.op == "batch_norm"
    )
    biases = sum(
        x.out_shape[0]
        for i in space.block_ids(arch)[0]
        if i < len(space.block_table)
        for x in space.block_table.blocks[i].layers
        if x.bias
    )
    assert weights + shifts + biases == space.block_sums(arch, facts["params"])[0]


@pytest.mark.slow
def test_one_reference_implementation_against_the_other():
    torch = pytest.importorskip("torch")
    space = latcast.space("ofa-mobilenet-v3")
    for seed in range(3):
        network = space.network(space.sample(1, seed, restrict={"r": [128, 144]}), seed)
        with torch.no_grad():
            output = to_pytorch(network)(torch.from_numpy(network.inputs(2))).numpy()
        assert np.abs(output - run_onnx(network, 2)).max() <= 1e-4


def test_seeds_decide_the_parameters():
    space = latcast.space("ofa-mobilenet-v3")
    arch = space.sample(1, 0)
    assert to_onnx(space.network(arch, 1)) == to_onnx(space.network(arch, 1))
    assert to_onnx(space.network(arch, 1)) != to_onnx(space.network(arch, 2))


def test_a_batch_of_one_is_needed():
    space = latcast.space("ofa-mobilenet-v3")
    with pytest.raises(ValueError, match="from one architecture; got 2"):
        space.network(space.sample(2, 0))


def block(in_shape=(3, 8, 8), channels=4):
    b = BlockBuilder("first", in_shape)
    b.conv(channels, 3)
    b.elementwise("batch_norm")
    b.elementwise("relu")
    b.conv(channels, 1)
    b.elementwise("batch_norm")
    b.elementwise("add", 2)
    return b.build()


def test_blocks_are_chained_and_batch_norms_folded():
    network = Network.from_blocks([block(), block((4, 8, 8))])
    ops = [x.op for x in network.layers]
    assert ops == ["conv", "relu", "conv", "add"] * 2
    assert [x.inputs for x in network.layers] == [
        (BLOCK_INPUT,), (0,), (1,), (2, 1), (3,), (4,), (5,), (6, 5)
    ]  # fmt: skip
    assert all(x.bias for x in network.layers if x.op == "conv")


def test_blocks_that_do_not_fit():
    with pytest.raises(ValueError, match=r"block 'first' must read .* \(4, 8, 8\); it reads \(3"):
        Network.from_blocks([block(), block()])
    with pytest.raises(ValueError, match="at least one block"):
        Network.from_blocks([])


def test_a_batch_norm_of_its_own_becomes_a_scale_and_a_shift():
    b = BlockBuilder("odd", (3, 8, 8))
    b.elementwise("relu")
    b.elementwise("batch_norm")
    network = Network.from_blocks([b.build()])
    scale, shift = network.parameters[1].weight, network.parameters[1].bias
    assert network.layers[1].op == "depthwise_conv"
    assert scale.shape == (3, 1, 1, 1)
    x = np.maximum(network.inputs(2), 0)
    want = x * scale.reshape(3, 1, 1) + shift.reshape(3, 1, 1)
    assert np.abs(run_onnx(network, 2) - want).max() <= 1e-5


def test_a_batch_norm_of_a_shared_convolution_is_not_folded():
    shape = (4, 8, 8)
    conv = Layer("conv", shape, shape, (BLOCK_INPUT,))
    norm = Layer("batch_norm", shape, shape, (0,))
    both = Layer("add", shape, shape, (1, 0))  # reads the convolution before the norm, too
    network = Network.from_blocks([Block("odd", (conv, norm, both))])
    assert [x.op for x in network.layers] == ["conv", "depthwise_conv", "add"]
    assert [x.inputs for x in network.layers] == [(BLOCK_INPUT,), (0,), (1, 0)]
    assert [x.bias for x in network.layers] == [False, True, False]


def addition():
    b = BlockBuilder("addition", (4, 8, 8))
    b.elementwise("add", SECOND_INPUT)
    return b.build()


def test_blocks_may_read_any_before_them():
    network = Network.from_blocks(
        [block(), block((4, 8, 8)), addition(), addition()],
        reads=[(BLOCK_INPUT,), (0,), (0, 1), (2, 0)],
    )
    assert [x.inputs for x in network.layers[4:]] == [
        (3,), (4,), (5,), (6, 5), (3, 7), (8, 3)
    ]  # fmt: skip
    with pytest.raises(ValueError, match="block 'addition' must read"):
        Network.from_blocks([block(channels=5), block((5, 8, 8)), addition()],
                            reads=[(BLOCK_INPUT,), (0,), (1, 0)])  # fmt: skip


def test_an_addition_alone_reads_its_input_twice():
    network = Network.from_blocks([addition()])
    assert network.layers[0].inputs == (BLOCK_INPUT, BLOCK_INPUT)
    assert np.array_equal(run_onnx(network), 2 * network.inputs(1))


def test_an_identity_does_not_let_an_activation_destroy_its_input():
    torch = pytest.importorskip("torch")
    b = BlockBuilder("aliased", (3, 8, 8))
    first = b.conv(4, 3, bias=True)
    b.elementwise("identity")
    b.elementwise("relu")
    b.elementwise("add", first)
    network = Network.from_blocks([b.build()])
    with torch.no_grad():
        output = to_pytorch(network)(torch.from_numpy(network.inputs(1))).numpy()
    assert np.abs(output - run_onnx(network)).max() <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nasbench201", "fbnet", "ofa-proxyless", "ofa-resnet50"])
def test_pytorch_and_onnx_agree_on_other_spaces(name):
    torch = pytest.importorskip("torch")
    space = latcast.space(name)
    # Of 132 pixels maps become odd, so that windows of pools hang over.
    restrict = {"r": [132]} if "ofa" in name else None
    for seed in range(2):
        network = space.network(space.sample(1, seed, restrict=restrict), seed)
        with torch.no_grad():
            output = to_pytorch(network)(torch.from_numpy(network.inputs(2))).numpy()
        onnx_output = run_onnx(network, 2)
        assert np.abs(output - onnx_output).max() <= 1e-5 * np.abs(onnx_output).max()


def test_unknown_operators_are_named():
    b = BlockBuilder("odd", (3, 8, 8))
    b.elementwise("erf")
    network = Network.from_blocks([b.build()])
    with pytest.raises(ValueError, match="operator 'erf' cannot be written as ONNX"):
        to_onnx(network)
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match="operator 'erf' cannot be built in PyTorch"):
        to_pytorch(network)


def test_an_activation_does_not_destroy_what_others_read():
    torch = pytest.importorskip("torch")
    b = BlockBuilder("shared", (3, 8, 8))
    first = b.conv(4, 3, bias=True)
    b.elementwise("relu")
    b.elementwise("add", first)
    network = Network.from_blocks([b.build()])
    with torch.no_grad():
        output = to_pytorch(network)(torch.from_numpy(network.inputs(1))).numpy()
    assert np.abs(output - run_onnx(network)).max() <= 1e-5


@settings(max_examples=60)
@given(
    st.integers(2, 17), st.integers(1, 5), st.integers(1, 3), st.booleans(), st.booleans(),
    st.integers(0, 9),
)  # fmt: skip
def test_pools_of_any_window_agree(side, kernel_size, stride, is_max, ceil, seed):
    torch = pytest.importorskip("torch")
    stride = min(stride, kernel_size)  # else windows may lie outside of the image
    side = max(side, kernel_size)
    b = BlockBuilder("pool", (3, side, side))
    if is_max:
        b.max_pool(kernel_size, stride=stride)
    else:
        b.avg_pool(kernel_size, stride=stride, ceil=ceil)
    network = Network.from_blocks([b.build()], seed)
    x, pad = network.inputs(2, seed), (kernel_size - 1) // 2
    want = np.empty((2, *network.out_shape))
    for row, column in np.ndindex(network.out_shape[1:]):
        top, left = row * stride - pad, column * stride - pad
        window = x[:, :, max(top, 0) : top + kernel_size, max(left, 0) : left + kernel_size]
        want[:, :, row, column] = (np.max if is_max else np.mean)(window, axis=(2, 3))
    session = ort.InferenceSession(to_onnx(network, 2), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        output = to_pytorch(network)(torch.from_numpy(x)).numpy()
    assert np.abs(output - want).max() <= 1e-5
    assert np.abs(session.run(None, {"input": x})[0] - want).max() <= 1e-5


@settings(max_examples=30)
@given(
    st.integers(3, 24), st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 2]), st.booleans(),
    st.integers(1, 3), st.integers(0, 99),
)  # fmt: skip
def test_random_layers_agree(side, kernel_size, stride, depthwise, batch, seed):
    torch = pytest.importorskip("torch")
    b = BlockBuilder("random", (6, side, side))
    b.conv(6 if depthwise else 5, kernel_size, stride=stride, groups=6 if depthwise else 1,
           bias=seed % 2 == 0)  # fmt: skip
    b.elementwise(["relu", "relu6", "h_swish", "h_sigmoid"][seed % 4])
    network = Network.from_blocks([b.build()], seed)
    with torch.no_grad():
        output = to_pytorch(network)(torch.from_numpy(network.inputs(batch))).numpy()
    assert output.shape == (batch, *network.out_shape)
    assert np.abs(output - run_onnx(network, batch)).max() <= 1e-5
