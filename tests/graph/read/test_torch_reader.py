"""PyTorch modules as graphs: closed forms, PyTorch's own counter, and our own networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latcast.graph import UNKNOWN, Graph, fuse, kernel_label
from latcast.graph.read import read_graph
from latcast.graph.read.onnx import read_onnx
from latcast.graph.read.pytorch import read_pytorch
from latcast.graph.write.onnx import to_onnx
from latcast.graph.write.pytorch import to_pytorch
from latcast.spaces import space

torch = pytest.importorskip("torch")
nn = torch.nn
F = torch.nn.functional


def lambda_module(function: Callable[..., Any], **tensors: Any) -> Any:
    """A module that runs a function of itself and its inputs; tensors are its parameters."""

    class Module(nn.Module):  # type: ignore[misc, name-defined]  # torch is optional
        def __init__(self) -> None:
            super().__init__()
            for name, value in tensors.items():
                setattr(self, name, nn.Parameter(value))

        def forward(self, *inputs: Any) -> Any:
            return function(self, *inputs)

    return Module()


def read(function: Callable[..., Any], *shapes: tuple[int, ...], **tensors: Any) -> Graph:
    """The graph of a function."""
    inputs = tuple(torch.zeros(s) for s in shapes)
    return read_pytorch(lambda_module(function, **tensors), inputs)


def ops(graph: Graph) -> list[str]:
    return [x.op for x in graph.layers]


CONVOLUTIONS = {
    "plain": (lambda: nn.Conv2d(3, 8, 3, 2, 1), (2, 3, 9, 9), "conv", 2 * 8 * 25 * 27, 8 * 28),
    "oblong": (
        lambda: nn.Conv2d(4, 6, (1, 5), (1, 2), bias=False),
        (1, 4, 7, 9), "conv", 6 * 7 * 3 * 4 * 5, 6 * 4 * 5,
    ),
    "same": (lambda: nn.Conv2d(4, 4, 3, padding="same"), (1, 4, 5, 5), "conv", 4 * 25 * 36, 148),
    "grouped": (lambda: nn.Conv2d(8, 12, 3, groups=4), (1, 8, 5, 5), "conv", 12 * 9 * 18, 228),
    "dilated": (lambda: nn.Conv2d(2, 4, 3, dilation=2), (1, 2, 7, 7), "conv", 4 * 9 * 18, 76),
    "depthwise": (
        lambda: nn.Conv2d(6, 6, 5, groups=6), (1, 6, 9, 9), "depthwise_conv", 6 * 25 * 25, 156,
    ),
    "multiplied": (
        lambda: nn.Conv2d(6, 12, 3, groups=6), (1, 6, 4, 4), "depthwise_conv", 12 * 4 * 9, 120,
    ),
    "of a sequence": (lambda: nn.Conv1d(4, 8, 3, 2), (1, 4, 11), "conv", 8 * 5 * 12, 104),
    "of a volume": (lambda: nn.Conv3d(2, 4, 3), (1, 2, 4, 5, 6), "conv", 4 * 24 * 54, 220),
    "of one sample": (lambda: nn.Conv2d(3, 8, 3), (3, 6, 7), "conv", 8 * 20 * 27, 224),
    "transposed": (
        lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2),
        (2, 6, 5, 5), "conv_transpose", 2 * 6 * 25 * 2 * 9, 6 * 2 * 9 + 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions(case: tuple[Any, ...]) -> None:
    build, shape, op, macs, params = case
    module = build()
    graph = read_pytorch(module, shape)
    (layer,) = graph.layers
    assert (layer.op, layer.macs, layer.params) == (op, macs, params)
    assert layer.param_bytes == 4 * params
    assert layer.groups == module.groups
    if len(module.kernel_size) == 2:
        assert layer.window == module.kernel_size
        assert (layer.stride, layer.dilation) == (module.stride, module.dilation)
    assert layer.out_shapes[0] is not None
    assert layer.out_shapes[0][-1] == module(torch.zeros(shape)).shape[-1]
    assert graph.outputs == (0,)


PRODUCTS = {
    "of rows": (lambda _, x, y: x @ y, ((2, 3, 4), (2, 4, 5)), "matmul", 2 * 3 * 4 * 5),
    "of vectors": (lambda _, x, y: x @ y, ((7,), (7,)), "matmul", 7),
    "with a constant": (lambda m, x: x @ m.a, ((2, 6, 4),), "linear", 2 * 6 * 4 * 4),
    "by a constant": (lambda m, x: m.a @ x, ((2, 4, 6),), "linear", 2 * 4 * 6 * 4),
    "added to": (lambda m, x: torch.addmm(x, x, m.a), ((4, 4),), "linear", 64),
    "of indices": (
        lambda _, x, y: torch.einsum("bchw, bdhw -> bcd", x, y),
        ((2, 3, 4, 5), (2, 6, 4, 5)), "matmul", 2 * 3 * 6 * 20,
    ),
    "of indices and a constant": (
        lambda m, x: torch.einsum("bij,kj->bik", x, m.a), ((2, 3, 4),), "linear", 2 * 3 * 4 * 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PRODUCTS.values(), ids=PRODUCTS)
def test_products(case: tuple[Any, ...]) -> None:
    function, shapes, op, macs = case
    (layer,) = read(function, *shapes, a=torch.ones(4, 4)).layers
    assert (layer.op, layer.macs) == (op, macs)
    assert layer.params == (16 if op == "linear" else 0)


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (F.relu, "relu"),
        (F.relu6, "relu6"),
        (lambda x: F.hardtanh(x, 0.0, 6.0), "relu6"),
        (lambda x: x.clamp(0, 6), "relu6"),
        (lambda x: x.clamp(min=0), "relu"),
        (lambda x: x.clamp(-2, 2), "clip"),
        (F.hardswish, "h_swish"),
        (F.hardsigmoid, "h_sigmoid"),
        (F.silu, "sigmoid mul"),
        (F.gelu, "gelu"),
        (F.leaky_relu, "leaky_relu"),
        (torch.sigmoid, "sigmoid"),
        (torch.sin, "trigonometric"),
        (lambda x: x.relu_(), "relu"),
        (lambda x: x.softmax(1), "softmax"),
        (lambda x: x.half(), "cast"),
        (lambda x: x + 1, "add"),
        (lambda x: 1 - x, "sub"),
        (lambda x: x**2, "pow"),
        (lambda x: x * x, "mul"),
        (lambda x: x * x.mean((2, 3), keepdim=True), "mean scale"),
        (lambda x: x > 0, "compare"),
        (lambda x: (x > 0) & (x < 1), "compare compare compare"),
        (lambda x: F.pad(x, (1, 1)), "pad"),
        (lambda x: F.interpolate(x, scale_factor=2), "resize"),
        (lambda x: F.interpolate(x, size=(9, 9), mode="bilinear"), "resize"),
        (lambda x: F.pixel_shuffle(x, 2), "depth_to_space"),
        (lambda x: F.max_pool2d(x, 2), "max_pool"),
        (lambda x: F.adaptive_avg_pool2d(x, 1), "global_pool"),
        (lambda x: F.adaptive_avg_pool2d(x, 3), "adaptive_pool"),
        (lambda x: F.adaptive_max_pool2d(x, 1), "global_max_pool"),
        (lambda x: x.flatten(1), "reshape"),
        (lambda x: x.permute(0, 2, 3, 1), "transpose"),
        (lambda x: x[:, 1:], "slice"),
        (lambda x: x[:, 0], "gather"),
        (lambda x: torch.roll(x, 1, 2), "roll"),
        (lambda x: x.amax(1), "reduce"),
        (lambda x: x.argmax(1), "arg_reduce"),
        (lambda x: torch.cat([x, x], 1), "concat"),
        (lambda x: F.dropout(x.relu(), 0.5, False), "relu"),
        (lambda x: x.contiguous().relu().float().view(x.shape), "relu"),
        (lambda x: x.relu() * torch.ones(4, 1, 1).sum(), "relu mul"),
        (lambda x: F.channel_shuffle(x, 2), "reshape transpose reshape"),
        (lambda x: F.fold(x.view(2, 4, 36), 12, 2, stride=2), "reshape scatter"),
    ],
)
def test_operators(function: Callable[..., Any], op: str) -> None:
    graph = read(lambda _, x: function(x), (2, 4, 6, 6))
    assert " ".join(ops(graph)) == op
    assert graph.layers[-1].out_shapes == (tuple(function(torch.zeros(2, 4, 6, 6)).shape),)
    assert graph.macs == graph.params == 0
    assert not graph.unsupported


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: x**0.5, "power"),
        (lambda x: 2**x, "power"),
        (lambda x: x.pow(x), "power"),
        (lambda x: x**3.0, "pow"),
        (lambda x: x.square(), "mul"),
        (lambda x: F.lp_pool2d(x, 3, 2), "pow avg_pool round abs relu mul mul power"),
        (lambda x: F.interpolate(x, size=(9, 9), mode="bicubic"), "resize_cubic"),
        (
            lambda x: F.grid_sample(x, x[..., :2], mode="bicubic", align_corners=False),
            "slice grid_sample_cubic",
        ),
        (lambda x: x.topk(3, 1), "top_k"),
        (lambda x: x.sort(1)[0], "top_k"),
        (lambda x: x.argsort(1), "top_k"),
        (lambda x: F.max_pool2d(x, 2, return_indices=True)[0], "max_pool"),
    ],
)
def test_operators_are_those_of_an_onnx_file(
    function: Callable[..., Any], op: str, tmp_path: Path
) -> None:
    module, x = lambda_module(lambda _, x: function(x)), torch.rand(2, 6, 6, 6)
    path = tmp_path / "exported.onnx"
    torch.onnx.export(module, (x,), path, dynamo=False)
    assert ops(read_pytorch(module, (x,))) == ops(read_graph(path)) == op.split()


def test_a_pool_whose_indices_are_asked_for() -> None:
    # PyTorch's ONNX exporters write two pools, a slice and a difference for it.
    assert ops(read(lambda _, x: F.max_pool2d(x, 2, return_indices=True), (1, 2, 4, 4))) == [
        "max_pool_indices"
    ]


@pytest.mark.parametrize(
    ("module", "op"),
    [
        (nn.BatchNorm2d(8), "batch_norm"),
        (nn.GroupNorm(2, 8), "group_norm"),
        (nn.InstanceNorm2d(8, affine=True), "instance_norm"),
        (nn.LayerNorm(8), "layer_norm"),
        (nn.RMSNorm(8), "rms_norm"),
    ],
    ids=str,
)
def test_norms_have_scales_and_shifts(module: Any, op: str) -> None:
    (layer,) = read_pytorch(module, (2, 8, 8, 8)).layers
    assert (layer.op, layer.macs) == (op, 0)
    assert layer.params == sum(p.numel() for p in module.parameters())
    constants = [t for n, t in module.state_dict().items() if n != "num_batches_tracked"]
    assert layer.param_bytes == sum(4 * t.numel() for t in constants)


class SelfAttention(nn.Module):  # type: ignore[misc, name-defined]  # torch is optional
    """Multi-head attention of tokens to themselves, and other transformer layers."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(features, heads, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.attention(x, x, x, need_weights=False)[0]


def test_attention_is_two_products_and_a_softmax() -> None:
    tokens, features, heads = 10, 12, 3
    graph = read_pytorch(SelfAttention(features, heads), (2, tokens, features))
    linear = 4 * features**2 * tokens
    assert graph.macs == 2 * (linear + 2 * tokens**2 * features)
    assert graph.params == 4 * features * (features + 1)
    counts = Counter(ops(graph))
    assert (counts["matmul"], counts["softmax"], counts["linear"]) == (2, 1, 2)
    (scores,) = (x for x in graph.layers if x.op == "softmax")
    assert scores.out_shapes == ((2, heads, tokens, tokens),)


def test_attention_of_few_queries_with_a_mask() -> None:
    def attend(_: Any, q: Any, k: Any, v: Any, mask: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    graph = read(attend, (2, 3, 4, 8), (2, 3, 9, 8), (2, 3, 9, 5), (4, 9))
    assert graph.macs == 2 * 3 * 4 * 9 * (8 + 5)
    assert "add" in ops(graph)
    learned = read(
        lambda m, x: F.scaled_dot_product_attention(m.q, x, x, is_causal=True),
        (1, 2, 6, 4), q=torch.ones(1, 2, 6, 4),
    )  # fmt: skip
    assert learned.macs == 2 * 2 * 6 * 6 * 4
    assert learned.params == 2 * 6 * 4


def test_transformer_layers_are_not_hidden_by_their_fast_path() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    for parameter in layer.parameters():
        parameter.requires_grad = False
    graph = read_pytorch(layer, (1, 5, 16))
    assert not graph.unsupported
    assert graph.params == sum(p.numel() for p in layer.parameters())
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    "function", [torch.chunk, torch.tensor_split, lambda x, n, d: x.split(3, d)]
)
def test_parts_have_their_shapes(function: Callable[..., Any]) -> None:
    def added(_: Any, x: Any) -> Any:
        a, b = function(x, 2, 1)
        return a.relu() + b

    graph = read(added, (1, 6, 4))
    assert ops(graph) == ["split", "relu", "add"]
    assert graph.layers[0].out_shapes == ((1, 3, 4), (1, 3, 4))
    assert graph.layers[2].inputs == (1, 0)
    assert graph.layers[2].in_shapes == ((1, 3, 4), (1, 3, 4))


def filled(_: Any, x: Any) -> Any:
    y = torch.zeros_like(x)
    y[:, :2] = x[:, 2:].relu()
    return y * 2


def typed(_: Any, x: Any) -> Any:
    return x + torch.arange(3).type_as(x)


def overwritten(_: Any, x: Any) -> Any:
    y = x.sigmoid()
    y.view(-1).mul_(2)
    return y + 1


def scaled(m: Any, x: Any) -> Any:
    return x @ (m.a / m.a.norm(dim=1, keepdim=True)).T + torch.arange(4).to(x) * m.b


class Decoder(nn.Module):  # type: ignore[misc, name-defined]  # torch is optional
    """Keeps what it computes in a buffer that it does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.zeros(1, 4))

    def forward(self, x: Any) -> Any:
        self.state.copy_(x.sigmoid())
        return x.relu()


def pooled(m: Any, x: Any) -> Any:
    """As transformers give the states of all tokens and one of the first, which may not be used."""
    return x.relu(), F.linear(x[:, 0], m.a).tanh()


GRAPHS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "what no output needs is left out": (
        lambda m, x: pooled(m, x)[0], (2, 3, 4), {"op": ["relu"], "params": [0]},
    ),
    "what a buffer keeps is needed": (Decoder(), (1, 4), {"op": ["sigmoid", "relu"]}),
    "linear layers of tokens": (
        nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4, bias=False)), (2, 3, 6),
        {"op": ["linear", "add", "linear"], "macs": [2 * 3 * 30, 0, 2 * 3 * 20],
         "params": [30, 5, 20],
         "name": ["0/linear.product", "0/linear.bias", "1/linear_1"]},
    ),
    "a linear layer of a matrix": (
        nn.Linear(6, 5), (3, 6), {"op": ["linear"], "macs": [3 * 30], "params": [35]},
    ),
    "pools have their windows": (
        nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.MaxPool2d((1, 2))),
        (1, 4, 16, 16),
        {"window": [(3, 3), (2, 2), (1, 2)], "stride": [(2, 2), (2, 2), (1, 2)]},
    ),
    "embeddings are gathered": (
        nn.Embedding(50, 8), (torch.zeros(2, 7, dtype=torch.int64),),
        {"op": ["gather"], "params": [400], "out_shapes": [((2, 7, 8),)]},
    ),
    "a parameter of several layers counts once": (
        lambda m, x: F.linear(F.linear(x, m.a), m.a) * m.a.sum(), (1, 4),
        {"params": [16, 0, 0], "param_bytes": [64, 64, 4]},
    ),
    "what is computed of constants is none of the layers": (
        scaled, (3, 4), {"op": ["linear", "add"], "params": [16, 4]},
    ),
    "what is written into a part is read from the whole": (
        filled, (1, 4, 3),
        {"op": ["slice", "relu", "scatter", "mul"], "inputs": [(-1,), (0,), (1,), (2,)]},
    ),
    "what a constant gets the type of is not read": (typed, (2, 3), {"op": ["add"]}),
    "what is overwritten is read as it is then": (
        overwritten, (2, 3), {"inputs": [(-1,), (0,), (1,), (2,)]},
    ),
}  # fmt: skip
"""Module or function, its input, and what its layers are, field by field."""


@pytest.mark.parametrize("case", GRAPHS.values(), ids=GRAPHS)
def test_layers_are_their_closed_forms(case: tuple[Any, Any, dict[str, Any]]) -> None:
    module, inputs, expected = case
    if not isinstance(module, nn.Module):
        module = lambda_module(module, a=torch.ones(4, 4), b=torch.ones(4))
    layers = read_pytorch(module, inputs).layers
    assert {name: [getattr(x, name) for x in layers] for name in expected} == expected


def test_a_region_without_gradients_is_part_of_the_network() -> None:
    def region(m: Any, x: Any) -> Any:
        with torch.no_grad():
            y = F.linear(x, m.w)
        return y.relu()

    module = lambda_module(region, w=torch.ones(4, 4))
    program = torch.export.export(module, (torch.zeros(2, 4),), strict=False)
    assert any("set_grad" in str(n.target) for n in program.graph.nodes)
    graph = read_pytorch(program)
    assert ops(graph) == ["linear", "relu"]
    assert graph.params == 16


def test_unknown_operators_are_reported_with_their_shapes() -> None:
    @torch.library.custom_op("latcast_tests::halved", mutates_args=())
    def halved(x: torch.Tensor) -> torch.Tensor:
        return x[::2].clone()

    @halved.register_fake
    def _(x: torch.Tensor) -> torch.Tensor:
        return x.new_empty(x.shape[0] // 2, *x.shape[1:])

    graph = read(lambda _, x: torch.cumprod(halved(x.relu()), 0).tanh(), (4, 3))
    assert graph.unsupported == {
        "latcast_tests.halved.default": 1, "aten.cumprod.default": 1,
    }  # fmt: skip
    assert graph.layers[1].op == UNKNOWN
    assert graph.layers[1].out_shapes == ((2, 3),)
    assert graph.layers[3].is_supported


def test_operators_that_give_nothing_are_reported() -> None:
    @torch.library.custom_op("latcast_tests::scaled_", mutates_args=("x",))
    def scaled_(x: torch.Tensor) -> None:
        x.mul_(2)

    def twice(_: Any, x: Any) -> Any:
        y = x.relu()
        scaled_(y)
        return y + 1

    graph = read(twice, (2, 3))
    assert graph.unsupported == {"latcast_tests.scaled_.default": 1}
    assert [x.inputs for x in graph.layers] == [(-1,), (0,), (1,)]


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_cost_their_steps(kind: Any, gates: int) -> None:
    module = kind(4, 6, num_layers=2, batch_first=True, bidirectional=True)
    graph = read_pytorch(module, (1, 5, 4))
    assert not graph.unsupported
    assert graph.macs == 5 * 2 * gates * 6 * ((4 + 6) + (12 + 6))
    assert graph.params == sum(p.numel() for p in module.parameters())


# -- beside other counts ---------------------------------------------------------------------


@st.composite
def convolutional(draw: st.DrawFn) -> Any:
    """A module of random convolutions, norms, gates, sums and a classifier."""
    channels = draw(st.sampled_from((4, 6, 8)))
    layers = [nn.Conv2d(3, channels, draw(st.sampled_from((1, 3, 5))), padding=2)]
    for _ in range(draw(st.integers(1, 4))):
        out = draw(st.sampled_from((4, 8, 12)))
        groups = draw(st.sampled_from((1, 2, channels if out % channels == 0 else 1)))
        kernel, stride = draw(st.sampled_from((1, 3))), draw(st.sampled_from((1, 2)))
        layers += [
            nn.Conv2d(channels, out, kernel, stride, 1, groups=groups, bias=draw(st.booleans())),
            draw(st.sampled_from((nn.BatchNorm2d(out), nn.GroupNorm(2, out)))),
            draw(st.sampled_from((nn.ReLU(inplace=True), nn.SiLU(), nn.Hardswish(), nn.GELU()))),
            draw(st.sampled_from((nn.Identity(), nn.Dropout(), nn.AvgPool2d(2, 1, 1)))),
        ]
        channels = out
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))
    return nn.Sequential(*layers, *head)


def counted(module: Any, *inputs: Any) -> int:
    """MACs as PyTorch's own counter has them: half of its operations."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # Of the others on CPUs it counts nothing; and with gradients no layer takes its fast path.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module.eval()(*inputs)
    return int(counter.get_total_flops()) // 2


@pytest.mark.slow
@settings(max_examples=12)
@given(convolutional(), st.integers(1, 3), st.integers(9, 17))
def test_pytorch_counts_as_many(module: Any, batch: int, side: int) -> None:
    graph = read_pytorch(module, (batch, 3, side, side + 2))
    assert graph.macs == counted(module, torch.zeros(batch, 3, side, side + 2))
    assert graph.params == sum(p.numel() for p in module.parameters())
    assert not graph.unsupported
    assert Graph.from_json(graph.to_json()) == graph


def test_pytorch_counts_as_many_in_a_transformer() -> None:
    module = nn.Sequential(SelfAttention(16, 4), nn.LayerNorm(16), SelfAttention(16, 2))
    assert read_pytorch(module, (2, 9, 16)).macs == counted(module, torch.zeros(2, 9, 16))


@pytest.mark.filterwarnings("ignore:.*treespec.*:FutureWarning")
def test_decomposed_programs_cost_the_same() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Hardswish(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4), nn.LayerNorm(4), nn.ReLU6(),
    ).eval()  # fmt: skip
    program = torch.export.export(module, (torch.zeros(2, 3, 9, 9),), strict=False)
    graph, decomposed = read_pytorch(program), read_pytorch(program.run_decompositions())
    assert decomposed.macs == graph.macs
    assert decomposed.params == graph.params
    assert not decomposed.unsupported


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nasbench201", "fbnet", "ofa-mobilenet-v3"])
def test_networks_of_spaces(name: str) -> None:
    networks = space(name)
    restrict = {"r": [128]} if name.startswith("ofa") else None
    archs = networks.sample(1, np.random.default_rng(4), restrict=restrict)
    network = networks.network(archs)
    network = network.with_batch(2)
    graph = read_pytorch(to_pytorch(network), network.in_shape)
    for other in (network, read_onnx(to_onnx(network))):
        zeros = sum(x.param_bytes // 4 - x.params for x in other.layers if x.operator == "Conv")
        assert (graph.macs, graph.params) == (other.macs, other.params + zeros)
        assert labels(graph) == labels(other)


def labels(graph: Graph) -> Counter[str]:
    """How many kernels there are of each kind."""
    return Counter(kernel_label(graph, k) for k in fuse(graph))


# -- what is given ---------------------------------------------------------------------------


def test_the_module_stays_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4).eval())
    graph = read_pytorch(module.train(), (2, 4), name="mine")
    assert all(m.training for m in module.modules())
    assert (graph.name, ops(graph)) == ("mine", ["linear", "batch_norm"])
    assert read_pytorch(module, (2, 4)).name == "Sequential"


def test_all_outputs_are_named() -> None:
    graph = read(lambda _, x: {"a": x.relu(), "b": x.topk(2)[1], "c": x}, (1, 4))
    assert graph.outputs == (0, 1, -1)
    assert graph.layers[1].out_shapes == ((1, 2),)


def test_what_cannot_be_exported_says_why() -> None:
    with pytest.raises(ValueError, match=r"able to export Linear .* it said: .*dim"):
        read_pytorch(nn.Linear(3, 4), (2, 5))
    with pytest.raises(ValueError, match="must come with example_inputs"):
        read_pytorch(nn.Linear(3, 4))
    with pytest.raises(TypeError, match="must be a module, an ExportedProgram or a"):
        read_pytorch([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one layer"):
        read_pytorch(nn.Identity(), (2, 5))


def test_open_sides_are_closed_by_the_batch_or_a_shape() -> None:
    batch, side = torch.export.Dim("batch"), torch.export.Dim("side", min=4)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Flatten())
    sides = ({0: batch, 2: 2 * side},)
    program = torch.export.export(
        module.eval(), (torch.zeros(2, 3, 16, 8),), dynamic_shapes=sides, strict=False
    )
    graph = read_graph(program, shapes={"input": (5, 3, 32, 8)})
    assert graph.layers[0].out_shapes == ((5, 4, 15, 3),)
    assert graph.layers[1].out_shapes == ((5, 180),)
    with pytest.raises(
        ValueError, match=r"all sides of input 'input' must be known; .*--shape input=2x3x224x8"
    ):
        read_graph(program, batch=2)
    with pytest.raises(ValueError, match=r"'input' was exported as .* and cannot be"):
        read_graph(program, shapes={"input": (5, 3, 33, 8)})
    for wrong in ((5, 4, 32, 8), (5, 3, 32, 9)):
        with pytest.raises(ValueError, match=r"of input 'input' must be \d, as the file fixes it"):
            read_graph(program, shapes={"input": wrong})
    with pytest.raises(ValueError, match="must have 4 sides"):
        read_graph(program, shapes={"input": (3, 4)})
    with pytest.raises(ValueError, match="for 'x'; inputs of the model: input"):
        read_graph(program, shapes={"x": (1, 3, 8, 8)})
    fixed = torch.export.export(module, (torch.zeros(2, 3, 16, 8),), strict=False)
    assert read_graph(fixed, batch=2).layers[0].in_shapes == ((2, 3, 16, 8),)
    with pytest.raises(ValueError, match=r"cannot be read for 3: .*input \[2, 3, 16, 8\]"):
        read_graph(fixed, batch=3)
