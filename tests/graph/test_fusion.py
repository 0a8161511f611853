"""Which layers become one kernel: every rule fires where it must, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.graph import (
    GRAPH_INPUT,
    OPENVINO_RULES,
    OPERATORS,
    RULES,
    UNKNOWN,
    Graph,
    Layer,
    Rule,
    TensorShape,
    fuse,
)

MAP = (1, 32, 14, 14)
ODD_MAP = (1, 18, 14, 14)
TOKENS = (1, 49, 64)


class Drawing:
    """A graph that is drawn layer by layer; every one has a name to be asked by."""

    def __init__(self, shape: TensorShape = MAP) -> None:
        self._shape = shape
        self._layers: list[Layer] = []
        self._names: dict[str, int] = {"input": GRAPH_INPUT}

    def add(
        self,
        name: str,
        op: str,
        *reads: str,
        shape: TensorShape | None = None,
        constants: int = 0,
        outputs: int = 1,
        groups: int = 1,
        operator: str = "",
        order: tuple[int, ...] = (),
    ) -> Drawing:
        """Add a layer; by default it reads the one before it and keeps its shape."""
        sources = [self._names[r] for r in reads] or [len(self._layers) - 1]
        shapes = tuple(self._written(s) for s in sources)
        out = shape or max(shapes, key=len)
        self._names[name] = len(self._layers)
        self._layers.append(
            Layer(
                name, op, operator or op, tuple(sources), shapes, (out,) * outputs,
                param_bytes=4 * constants, groups=groups, order=order,
            )
        )  # fmt: skip
        return self

    def conv(self, name: str, *reads: str, groups: int = 1, bias: bool = True) -> Drawing:
        """Add a pointwise convolution that keeps the channels."""
        channels = self._shape[1]
        op = "depthwise_conv" if groups == channels else "conv"
        weights = channels * channels // groups
        return self.add(name, op, *reads, constants=weights + channels * bias, groups=groups)

    def path(self, ops: str) -> Drawing:
        """Add layers that each read the one before, named after their operators."""
        for op in ops.split():
            self.add(op, op)
        return self

    def graph(self, *outputs: str) -> Graph:
        """The graph, whose output is the last layer and what is named."""
        ends = {len(self._layers) - 1, *(self._names[o] for o in outputs)}
        return Graph(tuple(self._layers), outputs=tuple(ends))

    def kernels(self, *outputs: str, rules: Sequence[Rule] = RULES) -> list[str]:
        """Names of the layers of every kernel."""
        graph = self.graph(*outputs)
        return [" ".join(graph.layers[n].name for n in k.layers) for k in fuse(graph, rules)]

    def _written(self, source: int) -> TensorShape:
        shape = self._layers[source].out_shapes[0] if source >= 0 else self._shape
        assert shape is not None
        return shape


# Kernels by the names of their layers


def residual(shape: TensorShape, first: str = "before", *, bias: bool = True) -> Drawing:
    second = "conv" if first == "before" else "before"
    return (
        Drawing(shape)
        .conv("before")
        .add("relu", "relu")
        .conv("conv", bias=bias)
        .add("sum", "add", *(x.replace("before", "relu") for x in (first, second)))
        .add("end", "relu")
    )


def two_convolutions(shape: TensorShape) -> Drawing:
    return Drawing(shape).conv("a", "input").conv("b", "input").add("sum", "add", "a", "b")


def squeeze_excitation() -> Drawing:
    small = (1, 32, 1, 1)
    drawing = Drawing().conv("conv").path("relu").add("pool", "global_pool", shape=small)
    drawing.conv("reduce").add("inner", "relu").conv("expand").add("gate", "h_sigmoid")
    return drawing.add("scale", "scale", "relu", "gate", shape=MAP)


def gelu(kind: str) -> Drawing:
    drawing = Drawing(TOKENS).add("x", "softmax").path("div erf add")
    match kind:
        case "product first":
            return drawing.add("mul", "mul", "x", "add").add("half", "mul", constants=1)
        case "half first":
            return drawing.add("half", "mul", constants=1).add("mul", "mul", "x", "half")
        case _:
            drawing.add("half", "mul", "x", constants=1)
            return drawing.add("mul", "mul", "half", "add")


def gelu_by_tanh() -> Drawing:
    drawing = Drawing(TOKENS).add("x", "softmax").add("pow", "pow").add("a", "mul", constants=1)
    drawing.add("b", "add", "x", "a").add("c", "mul", constants=1).path("tanh")
    drawing.add("one", "add", constants=1).add("d", "mul", "x", "one")
    return drawing.add("e", "mul", constants=1)


def layer_norm(*, sub: str = "x") -> Drawing:
    mean = (1, 49, 1)
    drawing = Drawing(TOKENS).add("y", "softmax").add("x", "softmax")
    drawing.add("mean", "mean", shape=mean).add("sub", "sub", sub, "mean").path("pow")
    drawing.add("var", "mean", shape=mean).path("add sqrt").add("div", "div", "sub", "sqrt")
    return drawing.add("scale", "mul", constants=64).add("shift", "add", constants=64)


def linear(operator: str, *, bias: int = 0, shape: TensorShape = TOKENS) -> Drawing:
    drawing = Drawing(shape)
    return drawing.add("linear", "linear", constants=64 * 64 + bias, operator=operator)


def attention(operator: str = "MatMul", order: tuple[int, ...] = (0, 1, 3, 2)) -> Drawing:
    heads = (1, 4, 49, 16)
    turned = tuple(heads[n] for n in order)
    drawing = Drawing(heads).add("q", "softmax", "input").add("k", "softmax", "input")
    drawing.add("turn", "transpose", shape=turned, order=order)
    drawing.add("scores", "matmul", "q", "turn", shape=(1, 4, 49, 49), operator=operator)
    return drawing.add("scale", "mul", constants=1).add("weights", "softmax")


def sum_and_norm() -> Drawing:
    drawing = Drawing(TOKENS).add("x", "softmax").add("y", "softmax")
    return drawing.add("sum", "add", "x", "y").add("norm", "layer_norm")


def halves(*, third: str = "") -> Drawing:
    half = (1, 16, 14, 14)
    drawing = Drawing().add("x", "exp").add("a", "slice", "x", shape=half)
    drawing.add("b", "slice", "x", shape=half).add("sum", "add", "a", "b")
    return drawing.add("c", third, "x") if third else drawing


def turned_rows() -> Drawing:
    half, back = (1, 16, 14, 14), (1, 14, 14, 16)
    drawing = Drawing().add("x", "exp").add("turn", "transpose", order=(0, 1, 3, 2))
    drawing.add("a", "gather", "turn", shape=half).add("b", "gather", "turn", shape=half)
    drawing.add("back", "transpose", "b", shape=back, order=(0, 2, 3, 1))
    return drawing.add("c", "concat", "a", "back", shape=(1, 32, 14, 14))


def enlarged(shape: TensorShape) -> Drawing:
    drawing = Drawing().conv("conv").add("resize", "resize", shape=shape)
    drawing.add("next", "conv", "resize", constants=32 * 32 + 32)
    return drawing.add("sum", "add", "next", "resize")


def channels_last(*, cut: bool = False) -> Drawing:
    last = (1, 14, 14, 32)
    drawing = Drawing().conv("conv").add("a", "transpose", shape=last, order=(0, 2, 3, 1))
    drawing.add("norm", "layer_norm").add("b", "transpose", shape=MAP, order=(0, 3, 1, 2))
    return drawing.path("exp") if cut else drawing.conv("next")


def inverse_transposes() -> Drawing:
    turned, order = (1, 64, 49), (0, 2, 1)
    drawing = Drawing(TOKENS).add("x", "softmax").add("a", "transpose", shape=turned, order=order)
    return drawing.path("relu").add("b", "transpose", shape=TOKENS, order=order).path("erf")


PADDED, MORE_CHANNELS, VECTOR = (1, 32, 16, 16), (1, 34, 14, 14), (1, 32, 1, 1)

KERNELS: dict[str, tuple[Drawing, str]] = {
    # Activations of convolutions
    **{
        f"{op} of a convolution on {shape}": (Drawing(shape).conv("conv").path(op), f"conv {op}")
        for op in ("relu", "relu6", "clip", "sigmoid", "tanh", "leaky_relu", "h_sigmoid")
        for shape in (MAP, ODD_MAP)
    },
    **{
        f"{op} is a kernel of its own": (Drawing().conv("conv").path(op), f"conv, {op}")
        for op in ("elu", "selu", "softplus", "softsign", "gelu", "prelu", "exp")
    },
    "hard swish on blocks": (Drawing().conv("conv").path("h_swish"), "conv h_swish"),
    "hard swish elsewhere": (Drawing(ODD_MAP).conv("conv").path("h_swish"), "conv, h_swish"),
    "hard swish as a product": (
        Drawing().conv("conv").add("gate", "h_sigmoid").add("mul", "mul", "conv", "gate"),
        "conv gate mul",
    ),
    "hard swish of a clip stays in pieces": (
        Drawing().conv("conv").add("add", "add", constants=1).path("clip")
        .add("mul", "mul", "conv", "clip").add("div", "div", constants=1),
        "conv, add, clip, mul, div",
    ),
    "one activation at most": (Drawing().conv("conv").path("relu tanh"), "conv relu, tanh"),
    "what is read elsewhere is not taken in": (
        Drawing().conv("conv").add("relu", "relu").add("sum", "add", "conv", "relu"),
        "conv, relu, sum",
    ),
    # Constants, and padding
    **{
        f"{op} of {constants} constants": (
            Drawing().conv("conv").add("constant", op, constants=constants), kernels,
        )
        for op, constants, kernels in (
            ("add", 32, "conv constant"), ("mul", 32, "conv constant"), ("mul", 1, "conv constant"),
            ("add", 1, "conv, constant"), ("add", 32 * 14 * 14, "conv, constant"),
            ("mul", 14, "conv, constant"),
        )
    },
    "padding": (Drawing().add("pad", "pad", shape=PADDED).conv("conv"), "pad conv"),
    "padding of channels": (
        Drawing().add("pad", "pad", shape=MORE_CHANNELS).conv("conv"), "pad, conv",
    ),
    # Sums
    **{
        f"a sum on {shape}, {first} first": (residual(shape, first), "before relu, conv sum end")
        for first in ("before", "conv")
        for shape in (MAP, ODD_MAP)
    },
    "a plain convolution takes a sum with a bias alone": (
        residual(ODD_MAP, bias=False), "before relu, conv, sum, end",
    ),
    "one on blocks without": (residual(MAP, bias=False), "before relu, conv sum end"),
    "of two convolutions on blocks the first input": (two_convolutions(MAP), "b, a sum"),
    "of two plain ones the last": (two_convolutions(ODD_MAP), "a, b sum"),
    "a sum with what is not on blocks": (
        Drawing().conv("conv").add("sum", "add", "conv", "input"), "conv, sum",
    ),
    "a sum that stretches": (
        Drawing().conv("before").add("pool", "global_pool", shape=VECTOR)
        .conv("conv", "before").add("sum", "add", "conv", "pool", shape=MAP),
        "before, pool, conv, sum",
    ),
    "batch norm": (Drawing().path("batch_norm relu"), "batch_norm, relu"),
    "batch norm on blocks runs as a convolution": (
        Drawing().conv("conv").add("pool", "max_pool").path("batch_norm relu"),
        "conv, pool, batch_norm relu",
    ),
    "a map of blocks, enlarged": (enlarged((1, 32, 28, 28)), "conv, resize, next sum"),
    "enlarged by no whole number": (enlarged((1, 32, 21, 21)), "conv, resize, next, sum"),
    "squeeze and excitation": (
        squeeze_excitation(), "conv relu, pool, reduce inner, expand gate, scale",
    ),
    # Patterns of activations and norms
    "gelu, product first": (gelu("product first"), "x, div erf add mul half"),
    "gelu, half first": (gelu("half first"), "x, div erf add half mul"),
    "gelu, half apart": (gelu("half apart"), "x, div erf add half mul"),
    "gelu by tanh": (gelu_by_tanh(), "x, pow a b c tanh one d e"),
    "layer norm": (layer_norm(), "y, x, mean sub pow var add sqrt div scale shift"),
    "no layer norm of the mean of another": (
        layer_norm(sub="y"), "y, x, mean, sub, pow, var, add, sqrt, div, scale, shift",
    ),
    "silu beside the convolution": (
        Drawing().conv("conv").path("sigmoid").add("mul", "mul", "conv", "sigmoid"),
        "conv, sigmoid mul",
    ),
    "no silu of two outputs of a split": (
        Drawing().add("split", "split", shape=(1, 16, 14, 14), outputs=2)
        .path("sigmoid").add("mul", "mul", "split", "sigmoid"),
        "split, sigmoid, mul",
    ),
    # Products of matrices
    "a product takes a bias": (
        linear("MatMul").add("bias", "add", constants=64), "linear bias",
    ),
    "no constant of other features": (
        linear("MatMul").add("bias", "add", constants=49 * 64), "linear, bias",
    ),
    "no second bias": (
        linear("Gemm", bias=64).add("bias", "add", constants=64), "linear, bias",
    ),
    "relu of a Gemm": (linear("Gemm", shape=(1, 64)).path("relu"), "linear relu"),
    "relu of a MatMul": (linear("MatMul", shape=(1, 64)).path("relu"), "linear, relu"),
    "gelu of a Gemm": (linear("Gemm", shape=(1, 64)).path("gelu"), "linear, gelu"),
    "relu of tokens": (
        linear("MatMul").add("bias", "add", constants=64).path("relu"), "linear bias, relu",
    ),
    "attention": (attention(), "q, k, turn scores scale, weights"),
    "attention of another order": (
        attention(order=(0, 3, 2, 1)), "q, k, turn, scores scale, weights",
    ),
    "no factor of a sum in the notation of Einstein": (
        attention("Einsum"), "q, k, turn scores, scale, weights",
    ),
    "a sum before a norm": (sum_and_norm(), "x, y, sum norm"),
    # What does not run
    "constants that may differ are no repetition": (
        Drawing().add("x", "exp").add("a", "mul", "x", constants=32)
        .add("b", "mul", "x", constants=32).add("sum", "add", "a", "b"),
        "x, a, b, sum",
    ),
    "parts of all are a split": (halves(), "x, a b, sum"),
    "parts that do not make it up": (halves(third="slice"), "x, a, b, sum, c"),
    "rows between transposes are a split": (turned_rows(), "x, turn, a b, back, c"),
    "transposes to what needs them run": (channels_last(cut=True), "conv a, norm, b, exp"),
    "transposes that meet their inverse do not run": (inverse_transposes(), "x a, relu b, erf"),
}  # fmt: skip
"""What is drawn, and the names of the layers of every kernel."""


@pytest.mark.parametrize("case", KERNELS.values(), ids=KERNELS)
def test_which_layers_are_one_kernel(case: tuple[Drawing, str]) -> None:
    drawing, kernels = case
    assert ", ".join(drawing.kernels()) == kernels


@pytest.mark.parametrize(
    ("drawing", "output", "kernels"),
    [
        (Drawing().conv("conv").path("relu"), "conv", "conv, relu"),
        (sum_and_norm(), "sum", "x, y, sum, norm"),
        (inverse_transposes(), "relu", "x, a, relu, b, erf"),
        (gelu("product first"), "erf", "x, div, erf, add, mul, half"),
    ],
)
def test_an_output_of_the_graph_is_not_taken_in(
    drawing: Drawing, output: str, kernels: str
) -> None:
    assert ", ".join(drawing.kernels(output)) == kernels


@pytest.mark.parametrize(
    ("drawing", "kernels"),
    [
        (Drawing().conv("conv").path("batch_norm relu"), [((0, 1, 2), (1,))]),
        (Drawing().conv("conv").path("dropout relu identity"), [((0, 1, 2, 3), (1, 3))]),
        (
            Drawing().add("x", "exp").add("a", "relu", "x").conv("c").add("b", "relu", "x")
            .conv("d").add("sum", "add", "c", "d"),
            [((0,), ()), ((1, 3), (3,)), ((4,), ()), ((2, 5), ())],
        ),
        (channels_last(), [((0, 1), (1,)), ((2, 3), (3,)), ((4,), ())]),
    ],
    ids=["folded batch norm", "no operation", "repetition", "transposes at convolutions"],
)  # fmt: skip
def test_what_does_not_run(drawing: Drawing, kernels: list[tuple[tuple[int, ...], ...]]) -> None:
    found = fuse(drawing.graph())
    assert [(k.layers, k.idle) for k in found] == kernels
    assert all(k.main == min(set(k.layers) - set(k.idle)) for k in found[:2])


def test_the_inputs_of_what_was_cut_out_of_a_network_may_be_in_blocks() -> None:
    block = Drawing().conv("conv").add("sum", "add", "conv", "input").graph()
    assert [k.layers for k in fuse(block, is_cut_out=True)] == [(0, 1)]


@pytest.mark.parametrize(
    ("channels", "groups", "is_blocked"),
    [(3, 1, True), (18, 1, False), (20, 1, True), (20, 20, True), (18, 18, False), (32, 4, False),
     (64, 4, True)],
)  # fmt: skip
def test_which_convolutions_run_on_blocks(channels: int, groups: int, is_blocked: bool) -> None:
    drawing = Drawing((1, channels, 8, 8)).conv("conv", groups=groups)
    assert [k.blocked for k in fuse(drawing.graph())] == [is_blocked]


# What holds of any graph and any rules


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    ops = [*OPERATORS, UNKNOWN]
    common = ["conv", "batch_norm", "relu", "add", "mul", "sigmoid", "transpose", "identity",
              "h_sigmoid", "linear", "matmul", "mean", "sub", "slice"]  # fmt: skip
    shape = draw(st.sampled_from([MAP, ODD_MAP, TOKENS, (1, 64)]))
    layers = []
    for n in range(draw(st.integers(1, 40))):
        op = draw(st.sampled_from(common) | st.sampled_from(ops))
        read = st.integers(max(GRAPH_INPUT, n - 4), n - 1)
        sources = tuple(draw(st.lists(read, min_size=1, max_size=3)))
        in_shapes = tuple(shape for _ in sources)
        known = draw(st.integers(0, 9)) > 0
        constants = draw(st.sampled_from([0, 1, shape[1], shape[-1]]))
        layers.append(
            Layer(
                f"l{n}", op, op, sources, in_shapes, (shape if known else None,),
                param_bytes=4 * constants,
            )
        )  # fmt: skip
    outputs = draw(st.lists(st.integers(0, len(layers) - 1), max_size=3))
    return Graph(tuple(layers), outputs=tuple(outputs))


@pytest.mark.slow
@given(graphs(), st.booleans(), st.sampled_from([RULES, OPENVINO_RULES]))
def test_kernels_are_a_partition_that_can_run_in_order(
    graph: Graph, cut: bool, rules: tuple[Rule, ...]
) -> None:
    kernels = fuse(graph, rules, is_cut_out=cut)
    assert sorted(chain.from_iterable(k.layers for k in kernels)) == list(range(len(graph)))
    done: set[int] = {GRAPH_INPUT}
    for kernel in kernels:
        assert kernel.main in kernel.layers
        assert kernel.main not in kernel.idle
        assert list(kernel.layers) == sorted(kernel.layers)
        inside = set(kernel.layers)
        reads = {i for n in kernel.layers for i in graph.layers[n].inputs} - inside
        assert reads <= done
        done |= inside


@pytest.mark.slow
@given(graphs())
def test_kernels_are_connected_and_what_is_read_outside_reads_the_same(graph: Graph) -> None:
    for kernel in fuse(graph):
        inside = set(kernel.layers)
        reached, waiting = {kernel.main}, [kernel.main]
        while waiting:
            n = waiting.pop()
            sources = {i for i in graph.layers[n].inputs if i != GRAPH_INPUT}
            beside = {r for s in sources for r in graph.readers[s]}
            near = (sources | beside | set(graph.readers[n])) & inside - reached
            reached |= near
            waiting += near
        assert reached == inside
        assert all(graph.layers[n].is_supported for n in inside) or len(inside) == 1


@pytest.mark.slow
@given(graphs())
def test_no_rules_no_kernels(graph: Graph) -> None:
    assert [k.layers for k in fuse(graph, rules=())] == [(n,) for n in range(len(graph))]


def test_rules_are_written_in_known_words() -> None:
    rules = (*RULES, *OPENVINO_RULES)
    words = {*OPERATORS, "*", *(r.becomes for r in rules)}
    for rule in rules:
        for step in rule.path.split():
            assert set(step.removeprefix("~").rstrip("^@+&").split("|")) <= words, rule
        assert all(i < len(rule.path.split()) for i in rule.idle)


def test_a_rule_of_ones_own() -> None:
    rule = Rule("pairs", "relu relu", becomes="pair")
    kernels = Drawing().add("a", "relu").add("b", "relu").add("c", "relu").kernels(rules=[rule])
    assert kernels == ["a b", "c"]
