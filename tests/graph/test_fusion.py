"""Which layers become one kernel: every rule fires where it must, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.graph import (
    GRAPH_INPUT,
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


def conv_path(ops: str, shape: TensorShape = MAP) -> list[str]:
    return Drawing(shape).conv("conv").path(ops).kernels()


# Convolutions


def test_batch_norm_and_activation_are_part_of_a_convolution() -> None:
    kernels = fuse(Drawing().conv("conv").path("batch_norm relu").graph())
    assert [(k.main, k.layers, k.idle) for k in kernels] == [(0, (0, 1, 2), (1,))]


@pytest.mark.parametrize(
    "op", ["relu", "relu6", "clip", "sigmoid", "tanh", "leaky_relu", "h_sigmoid"]
)
@pytest.mark.parametrize("shape", [MAP, ODD_MAP])
def test_activations_of_convolutions(op: str, shape: TensorShape) -> None:
    assert conv_path(op, shape) == [f"conv {op}"]


@pytest.mark.parametrize("op", ["elu", "selu", "softplus", "softsign", "gelu", "prelu", "exp"])
def test_activations_that_are_kernels_of_their_own(op: str) -> None:
    assert conv_path(op) == ["conv", op]


def test_only_convolutions_on_blocks_take_hard_swish_in() -> None:
    assert conv_path("h_swish") == ["conv h_swish"]
    assert conv_path("h_swish", ODD_MAP) == ["conv", "h_swish"]
    product = Drawing().conv("conv").add("gate", "h_sigmoid").add("mul", "mul", "conv", "gate")
    assert product.kernels() == ["conv gate mul"]


def test_one_activation_at_most() -> None:
    assert conv_path("relu tanh") == ["conv relu", "tanh"]


def test_what_is_read_elsewhere_is_not_taken_in() -> None:
    drawing = Drawing().conv("conv").add("relu", "relu").add("sum", "add", "conv", "relu")
    assert drawing.kernels() == ["conv", "relu", "sum"]


def test_an_output_of_the_graph_is_not_taken_in() -> None:
    assert Drawing().conv("conv").path("relu").kernels("conv") == ["conv", "relu"]


@pytest.mark.parametrize(
    ("op", "constants", "is_folded"),
    [("add", 32, True), ("mul", 32, True), ("mul", 1, True), ("add", 1, False),
     ("add", 32 * 14 * 14, False), ("mul", 14, False)],
)  # fmt: skip
def test_constants_are_part_of_the_weights(op: str, constants: int, is_folded: bool) -> None:
    kernels = Drawing().conv("conv").add("constant", op, constants=constants).kernels()
    assert kernels == (["conv constant"] if is_folded else ["conv", "constant"])


def test_padding_of_a_convolution() -> None:
    padded = (1, 32, 16, 16)
    assert Drawing().add("pad", "pad", shape=padded).conv("conv").kernels() == ["pad conv"]
    channels = (1, 34, 14, 14)
    drawing = Drawing().add("pad", "pad", shape=channels).conv("conv")
    assert drawing.kernels() == ["pad", "conv"]


# Sums


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


@pytest.mark.parametrize("first", ["before", "conv"])
@pytest.mark.parametrize("shape", [MAP, ODD_MAP])
def test_a_sum_is_added_to_what_a_convolution_writes(shape: TensorShape, first: str) -> None:
    assert residual(shape, first).kernels() == ["before relu", "conv sum end"]


def test_a_plain_convolution_takes_a_sum_with_a_bias_alone() -> None:
    expected = ["before relu", "conv", "sum", "end"]
    assert residual(ODD_MAP, bias=False).kernels() == expected
    assert residual(MAP, bias=False).kernels() == ["before relu", "conv sum end"]


def test_of_two_convolutions_the_first_input_on_blocks_and_else_the_last_one() -> None:
    def kernels(shape: TensorShape) -> list[str]:
        two = Drawing(shape).conv("a", "input").conv("b", "input")
        return two.add("sum", "add", "a", "b").kernels()

    assert kernels(MAP) == ["b", "a sum"]
    assert kernels(ODD_MAP) == ["a", "b sum"]


def test_a_sum_with_what_is_not_on_blocks() -> None:
    drawing = Drawing().conv("conv").add("sum", "add", "conv", "input")
    assert drawing.kernels() == ["conv", "sum"]
    block = fuse(drawing.graph(), is_cut_out=True)
    assert [k.layers for k in block] == [(0, 1)]


def test_a_sum_that_stretches() -> None:
    drawing = Drawing().conv("before").add("pool", "global_pool", shape=(1, 32, 1, 1))
    drawing.conv("conv", "before").add("sum", "add", "conv", "pool", shape=MAP)
    assert drawing.kernels() == ["before", "pool", "conv", "sum"]


def test_batch_norm_on_blocks_runs_as_a_convolution() -> None:
    assert Drawing().path("batch_norm relu").kernels() == ["batch_norm", "relu"]
    drawing = Drawing().conv("conv").add("pool", "max_pool").path("batch_norm relu")
    assert drawing.kernels() == ["conv", "pool", "batch_norm relu"]


@pytest.mark.parametrize(
    ("channels", "groups", "is_blocked"),
    [(3, 1, True), (18, 1, False), (20, 1, True), (20, 20, True), (18, 18, False), (32, 4, False),
     (64, 4, True)],
)  # fmt: skip
def test_which_convolutions_run_on_blocks(channels: int, groups: int, is_blocked: bool) -> None:
    drawing = Drawing((1, channels, 8, 8)).conv("conv", groups=groups)
    assert [k.blocked for k in fuse(drawing.graph())] == [is_blocked]


# Squeeze and excitation: the pool, two convolutions, and a product are kernels of their own.


def test_squeeze_excitation() -> None:
    small = (1, 32, 1, 1)
    drawing = Drawing().conv("conv").path("relu").add("pool", "global_pool", shape=small)
    drawing.conv("reduce").add("inner", "relu").conv("expand").add("gate", "h_sigmoid")
    drawing.add("scale", "scale", "relu", "gate", shape=MAP)
    assert drawing.kernels() == ["conv relu", "pool", "reduce inner", "expand gate", "scale"]


# Patterns of activations and norms


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


@pytest.mark.parametrize("kind", ["product first", "half first", "half apart"])
def test_gelu(kind: str) -> None:
    kernels = gelu(kind).kernels()
    assert len(kernels) == 2
    assert set(kernels[1].split()) == {"div", "erf", "add", "mul", "half"}
    assert "erf" in gelu(kind).kernels("erf")


def test_gelu_by_tanh() -> None:
    drawing = Drawing(TOKENS).add("x", "softmax").add("pow", "pow").add("a", "mul", constants=1)
    drawing.add("b", "add", "x", "a").add("c", "mul", constants=1).path("tanh")
    drawing.add("one", "add", constants=1).add("d", "mul", "x", "one").add("e", "mul", constants=1)
    assert drawing.kernels() == ["x", "pow a b c tanh one d e"]


def layer_norm(*, sub: str = "x") -> Drawing:
    mean = (1, 49, 1)
    drawing = (
        Drawing(TOKENS).add("y", "softmax").add("x", "softmax").add("mean", "mean", shape=mean)
    )
    drawing.add("sub", "sub", sub, "mean").path("pow").add("var", "mean", shape=mean).path(
        "add sqrt"
    )
    drawing.add("div", "div", "sub", "sqrt")
    drawing.add("scale", "mul", constants=64)
    return drawing.add("shift", "add", constants=64)


def test_layer_norm() -> None:
    assert layer_norm().kernels()[2:] == ["mean sub pow var add sqrt div scale shift"]


def test_no_layer_norm_of_the_mean_of_another() -> None:
    assert len(layer_norm(sub="y").kernels()) == 11


def test_silu_is_one_kernel_beside_the_convolution() -> None:
    drawing = Drawing().conv("conv").path("sigmoid").add("mul", "mul", "conv", "sigmoid")
    assert drawing.kernels() == ["conv", "sigmoid mul"]


def test_no_silu_of_two_outputs_of_a_split() -> None:
    half = (1, 16, 14, 14)
    drawing = Drawing().add("split", "split", shape=half, outputs=2)
    drawing.path("sigmoid").add("mul", "mul", "split", "sigmoid")
    assert drawing.kernels() == ["split", "sigmoid", "mul"]


def test_hard_swish_of_a_clip_stays_in_pieces() -> None:
    drawing = Drawing().conv("conv").add("add", "add", constants=1).path("clip")
    drawing.add("mul", "mul", "conv", "clip").add("div", "div", constants=1)
    assert drawing.kernels() == ["conv", "add", "clip", "mul", "div"]


# Products of matrices


def linear(operator: str, *, bias: int = 0, shape: TensorShape = TOKENS) -> Drawing:
    drawing = Drawing(shape)
    return drawing.add("linear", "linear", constants=64 * 64 + bias, operator=operator)


def test_a_product_takes_one_bias() -> None:
    assert linear("MatMul").add("bias", "add", constants=64).kernels() == ["linear bias"]
    assert linear("MatMul").add("bias", "add", constants=49 * 64).kernels() == ["linear", "bias"]
    twice = linear("Gemm", bias=64).add("bias", "add", constants=64)
    assert twice.kernels() == ["linear", "bias"]


def test_products_of_matrices_take_activations_in() -> None:
    matrix = (1, 64)
    assert linear("Gemm", shape=matrix).path("relu").kernels() == ["linear relu"]
    assert linear("MatMul", shape=matrix).path("relu").kernels() == ["linear", "relu"]
    assert linear("Gemm", shape=matrix).path("gelu").kernels() == ["linear", "gelu"]
    tokens = linear("MatMul").add("bias", "add", constants=64).path("relu")
    assert tokens.kernels() == ["linear bias", "relu"]


def attention(operator: str = "MatMul", order: tuple[int, ...] = (0, 1, 3, 2)) -> list[str]:
    heads = (1, 4, 49, 16)
    turned = tuple(heads[n] for n in order)
    drawing = Drawing(heads).add("q", "softmax", "input").add("k", "softmax", "input")
    drawing.add("turn", "transpose", shape=turned, order=order)
    drawing.add("scores", "matmul", "q", "turn", shape=(1, 4, 49, 49), operator=operator)
    drawing.add("scale", "mul", constants=1).add("weights", "softmax")
    return drawing.kernels()[2:]


def test_attention() -> None:
    assert attention() == ["turn scores scale", "weights"]
    assert attention(order=(0, 3, 2, 1)) == ["turn", "scores scale", "weights"]


def test_no_factor_of_a_sum_in_the_notation_of_einstein() -> None:
    assert attention("Einsum") == ["turn scores", "scale", "weights"]


def test_a_sum_before_a_norm_that_nobody_else_reads() -> None:
    drawing = Drawing(TOKENS).add("x", "softmax").add("y", "softmax")
    drawing.add("sum", "add", "x", "y").add("norm", "layer_norm")
    assert drawing.kernels() == ["x", "y", "sum norm"]
    assert drawing.kernels("sum") == ["x", "y", "sum", "norm"]


# What does not run


def test_no_operation() -> None:
    kernels = fuse(Drawing().conv("conv").path("dropout relu identity").graph())
    assert [(k.layers, k.idle) for k in kernels] == [((0, 1, 2, 3), (1, 3))]


def test_what_repeats_runs_once() -> None:
    drawing = Drawing().add("x", "exp").add("a", "relu", "x").conv("c").add("b", "relu", "x")
    drawing.conv("d").add("sum", "add", "c", "d")
    kernels = fuse(drawing.graph())
    assert [(k.layers, k.idle) for k in kernels[:2]] == [((0,), ()), ((1, 3), (3,))]
    assert kernels[1].main == 1


def test_constants_that_may_differ_are_no_repetition() -> None:
    drawing = Drawing().add("x", "exp")
    drawing.add("a", "mul", "x", constants=32).add("b", "mul", "x", constants=32)
    assert drawing.add("sum", "add", "a", "b").kernels() == ["x", "a", "b", "sum"]


def test_parts_of_all_are_a_split() -> None:
    half = (1, 16, 14, 14)
    drawing = Drawing().add("x", "exp").add("a", "slice", "x", shape=half)
    drawing.add("b", "slice", "x", shape=half).add("sum", "add", "a", "b")
    assert drawing.kernels() == ["x", "a b", "sum"]
    assert drawing.add("c", "relu", "x").kernels() == ["x", "a", "b", "sum", "c"]


def channels_last(*, between: str = "layer_norm", cut: bool = False) -> Drawing:
    last = (1, 14, 14, 32)
    drawing = Drawing().conv("conv").add("a", "transpose", shape=last, order=(0, 2, 3, 1))
    drawing.add("norm", between).add("b", "transpose", shape=MAP, order=(0, 3, 1, 2))
    return drawing.path("exp") if cut else drawing.conv("next")


def test_transposes_at_convolutions_do_not_run() -> None:
    kernels = fuse(channels_last().graph())
    assert [(k.layers, k.idle) for k in kernels] == [((0, 1), (1,)), ((2, 3), (3,)), ((4,), ())]


def test_transposes_to_what_needs_them_run() -> None:
    assert channels_last(cut=True).kernels() == ["conv a", "norm", "b", "exp"]


def test_transposes_that_meet_their_inverse_do_not_run() -> None:
    turned = (1, 64, 49)
    drawing = Drawing(TOKENS).add("x", "softmax")
    drawing.add("a", "transpose", shape=turned, order=(0, 2, 1)).path("relu")
    drawing.add("b", "transpose", shape=TOKENS, order=(0, 2, 1)).path("erf")
    assert drawing.kernels() == ["x a", "relu b", "erf"]
    assert "a" in drawing.kernels("relu")


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
@given(graphs(), st.booleans())
def test_kernels_are_a_partition_that_can_run_in_order(graph: Graph, cut: bool) -> None:
    kernels = fuse(graph, is_cut_out=cut)
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
        assert all(graph.layers[n].is_costed for n in inside) or len(inside) == 1


@pytest.mark.slow
@given(graphs())
def test_no_rules_no_kernels(graph: Graph) -> None:
    assert [k.layers for k in fuse(graph, rules=())] == [(n,) for n in range(len(graph))]


def test_rules_are_written_in_known_words() -> None:
    words = {*OPERATORS, "*", *(r.becomes for r in RULES)}
    for rule in RULES:
        for step in rule.path.split():
            assert set(step.removeprefix("~").rstrip("^@+").split("|")) <= words, rule
        assert all(i < len(rule.path.split()) for i in rule.idle)


def test_a_rule_of_ones_own() -> None:
    rule = Rule("pairs", "relu relu", becomes="pair")
    kernels = Drawing().add("a", "relu").add("b", "relu").add("c", "relu").kernels(rules=[rule])
    assert kernels == ["a b", "c"]
