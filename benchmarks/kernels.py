"""Kernels of real models by our rules against those of a runtime's own optimized graph.

    python benchmarks/kernels.py FOLDER [--runtime openvino] [--keep FOLDER]
    python benchmarks/kernels.py --variants 4

Compared are multisets of operator and output shape: of ONNX Runtime those of the model that it
saves after all of its optimizations, of OpenVINO those of ``compiled_model.get_runtime_model()``.
Apart stay what changes a layout (reorders, transposes), and views, which do not run. Printed are
the share of the kernels that are the same (of the larger number of both), once with equal shapes,
once with shapes that a layout may turn: axes in any order, rows of a product as one, channels
filled up to a block of 16. ``LIST`` in the folder tells the inputs' shapes (see
``benchmarks/real_models.py``); without one, so many variants of each family are compared.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import onnx

from latcast.bench.tables import machine
from latcast.families import family_names, population
from latcast.graph import OPERATORS, RECURRENT, UNKNOWN, Graph, Kernel, Layer, Rule, fuse, rules_of
from latcast.graph.read import ReadOptions
from latcast.graph.read.onnx import read_onnx

Shape = tuple[int, ...]
Found = tuple[str, Shape]
"""Operator and output shape of a kernel."""

BLOCK = 16
SKIPPED = frozenset(("transpose", *(op for op, row in OPERATORS.items() if row.kind == "view")))
_ALIKE = {"depthwise_conv": "conv", "linear": "product", "matmul": "product", "scale": "mul",
          "relu6": "clip"}  # fmt: skip
"""Operators that a runtime does not tell apart."""
_MOST_SHOWN = 4
_MOST_CAUSES = 30
_ENOUGH = 0.98


# --- ONNX Runtime ------------------------------------------------------------------------------


def of_onnxruntime(model: onnx.ModelProto) -> list[Found]:
    """Kernels of the model that ONNX Runtime saves, by our reader of its operators."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        content = model.SerializeToString()
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        layers = read_onnx(path).layers
    return [
        (_same(x.op if x.op != UNKNOWN else x.operator), x.out_shapes[0] or ())
        for x in layers
        if x.op not in SKIPPED
    ]


def _same(op: str) -> str:
    return _ALIKE.get(op, op)


def ours_onnxruntime(graph: Graph, kernel: Kernel) -> Iterator[Found]:
    """The nodes that a kernel of ours is in ONNX Runtime; none of a view."""
    layers = [graph.layers[n] for n in kernel.layers if n not in kernel.idle]
    running = [x for x in layers if x.op not in SKIPPED]
    if not running:
        return
    main = graph.layers[kernel.main]
    ops = {x.op for x in running}
    word = kernel.word if kernel.word in OPERATORS else main.op
    shape = running[-1].out_shapes[0] or ()
    if "batch_norm" in ops and (kernel.blocked or kernel.word in ("sum", "done")):
        # On blocks of channels it runs as a convolution of each channel.
        word = "conv"
    elif word in ("slice", "gather") and len(running) > 1:
        word, shape = "split", running[0].out_shapes[0] or ()
    if word == "h_swish" and len(running) == 1:
        # A function of ONNX, which is written out where no kernel has it.
        yield "h_sigmoid", shape
        word = "mul"
    yield (main.operator if word == UNKNOWN else _same(word)), shape


# --- OpenVINO ----------------------------------------------------------------------------------

_LAYERS = {
    "Convolution": "conv", "GroupConvolution": "conv", "Deconvolution": "conv_transpose",
    "FullyConnected": "product", "MatMul": "product", "Subgraph": "elementwise",
    "Eltwise": "elementwise", "Math": "elementwise", "Softmax": "softmax", "MVN": "layer_norm",
    "Pooling": "pool", "Reduce": "reduce", "Concatenation": "concat", "Split": "split",
    "StridedSlice": "slice", "Slice": "slice", "Gather": "gather", "Pad": "pad",
    "Interpolate": "resize", "RNNSeq": "rnn", "LSTMSeq": "rnn", "Lrn": "lrn", "Tile": "tile",
    "Broadcast": "expand", "RMS": "rms_norm", "DepthToSpace": "depth_to_space",
    "ScatterNDUpdate": "scatter",
}  # fmt: skip
"""Type of a layer -> what we call it."""
_KINDS = {"activation": "elementwise", "elementwise": "elementwise", "pool": "pool",
          "reduce": "reduce", "conv": "conv", "depthwise_conv": "conv", "linear": "product",
          "matmul": "product"}  # fmt: skip
_PASSED = ("Const", "Input", "Output", "Reorder", "Transpose", "Reshape", "Result", "Identity",
           "ShuffleChannels")  # fmt: skip


def of_openvino(model: onnx.ModelProto) -> list[Found]:
    """Kernels of the graph that OpenVINO's CPU plugin runs."""
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU",
        {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"},
    )  # fmt: skip
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        kind = info["layerType"].astype(str) if "layerType" in info else node.get_type_name()
        if kind not in _PASSED:
            shape = node.outputs()[0].get_partial_shape()
            sides = tuple(x.get_length() if x.is_static else 0 for x in shape)
            found.append((_LAYERS.get(kind, kind), sides))
    return found


def ours_openvino(graph: Graph, kernel: Kernel) -> Iterator[Found]:
    """The nodes that a kernel of ours is in OpenVINO."""
    layers = [graph.layers[n] for n in kernel.layers if n not in kernel.idle]
    running = [x for x in layers if x.op not in SKIPPED]
    if not running:
        return
    main = graph.layers[kernel.main]
    word = kernel.word if kernel.word in OPERATORS else main.op
    shape = running[-1].out_shapes[0] or ()
    if word == "slice" and len(running) > 1:
        yield "split", running[0].out_shapes[0] or ()
    elif kernel.word in ("layer_norm", "instance_norm", "group_norm"):
        yield from _normalization(running, shape)
    elif kernel.word == "attention":
        # Snippets compile it like any other work of elements.
        yield "elementwise", shape
        yield from _factor(graph, kernel)
    elif kernel.word in ("light", "batch_norm"):
        yield "elementwise", shape
    elif kernel.word in ("post", "product", "sum"):
        # A factor behind a view is moved before it.
        is_joined = running[-1].op == "concat"
        yield _KINDS.get(main.kind, main.op), shape if is_joined else main.out_shapes[0] or ()
        yield from _factor(graph, kernel)
    elif word in RECURRENT and len(shape) == _RECURRENT_AXES:
        yield from _directions(*shape)
    else:
        kind = "" if word == UNKNOWN else OPERATORS[word].kind
        yield _KINDS.get(kind, main.operator if word == UNKNOWN else word), shape


def _directions(steps: int, ways: int, batch: int, hidden: int) -> Iterator[Found]:
    """A sequence for each direction of a recurrent operator."""
    yield from [("rnn", (batch, steps, hidden))] * ways
    if ways > 1:
        yield "concat", (batch, ways, steps, hidden)


def _factor(graph: Graph, kernel: Kernel) -> Iterator[Found]:
    """The factor of a product of two tensors, which is moved to the smaller one."""
    inside = set(kernel.layers)
    for n in kernel.layers:
        layer = graph.layers[n]
        is_factor = layer.op in ("mul", "div") and layer.param_bytes == layer.element_bytes
        if not is_factor or len(layer.inputs) != 1 or layer.inputs[0] not in inside:
            continue
        product = graph.layers[layer.inputs[0]]
        if product.op != "matmul":
            continue
        first, second = (prod(x or ()) for x in product.in_shapes)
        slot = int(second <= first)
        source = product.inputs[slot]
        while source >= 0 and graph.layers[source].op in SKIPPED:
            source = graph.layers[source].inputs[0]
        # What gives it takes the factor in, if it can.
        if source < 0 or graph.layers[source].kind not in ("conv", "linear", "matmul"):
            yield "elementwise", product.in_shapes[slot] or ()


_RECURRENT_AXES = 4
_NORMALIZED_AXES = 3
"""Of tensors of more axes the plugin has no kernel that normalizes along the last one."""


def _normalization(layers: Sequence[Layer], end: Shape) -> Iterator[Found]:
    """MVN, and what scales and shifts behind it; written out of tensors of four axes and more."""
    first = layers[0].in_shapes[0] or ()
    if layers[0].op == "layer_norm" and len(first) > _NORMALIZED_AXES:
        yield "reduce", (*first[:-1], 1)
        yield "elementwise", first
        yield "rms_norm", first
        yield "elementwise", end
        return
    yield "layer_norm", first
    if len(layers) > 1 or layers[0].op == "layer_norm":
        yield "elementwise", end


RUNTIMES: dict[str, tuple[Callable[[onnx.ModelProto], list[Found]],
                          Callable[[Graph, Kernel], Iterator[Found]]]] = {
    "onnxruntime": (of_onnxruntime, ours_onnxruntime),
    "openvino": (of_openvino, ours_openvino),
}  # fmt: skip


# --- comparison --------------------------------------------------------------------------------


def _turned(op: str, shape: Shape) -> Shape:
    """A shape whatever the order of its axes; rows of a product are one axis."""
    if op == "product":
        shape = (prod(shape[:-1]), *shape[-1:])
    return tuple(sorted(s for s in shape if s != 1))


def _filled(_: str, shape: Shape) -> Shape:
    """A shape whose channels, any axis, are filled up to a block."""
    return tuple(sorted(-(-s // BLOCK) * BLOCK for s in shape))


def _viewed(op: str, shape: Shape) -> Shape:
    """Elements of what works on each of them, which may come before a view or after it."""
    return (prod(shape),) if op in ("elementwise", "quantize", "dequantize") else shape


@dataclass
class Comparison:
    """How many kernels there are on both sides, how many are the same, and which are not.

    Attributes:
        kernels: of the side with more of them.
        equal: those with the same operator and the same shape.
        same: those with the same operator and a shape that only the layout turns.
        ours: kernels that the runtime does not have.
        theirs: kernels of the runtime that we do not have.
    """

    kernels: int = 0
    equal: int = 0
    same: int = 0
    ours: Counter[Found] = field(default_factory=Counter)
    theirs: Counter[Found] = field(default_factory=Counter)

    def add(self, other: Comparison) -> None:
        """Count those of another model too."""
        self.kernels += other.kernels
        self.equal += other.equal
        self.same += other.same
        self.ours += other.ours
        self.theirs += other.theirs

    @property
    def share(self) -> float:
        """Share of the kernels that are the same, layouts apart."""
        return self.same / self.kernels if self.kernels else 1.0


def compare(ours: Iterable[Found], theirs: Iterable[Found]) -> Comparison:
    """Kernels of both sides matched one to one: by equal shapes, then by those of any layout."""
    left, right = Counter(ours), Counter(theirs)
    found = Comparison(max(left.total(), right.total()), (left & right).total())
    left, right = left - right, right - left
    found.same = found.equal
    for key in (_turned, _filled, _viewed):
        common = _keyed(left, key) & _keyed(right, key)
        found.same += common.total()
        left, right = _without(left, common, key), _without(right, common, key)
    found.ours, found.theirs = left, right
    return found


def _keyed(kernels: Counter[Found], key: Callable[[str, Shape], Shape]) -> Counter[Found]:
    keyed: Counter[Found] = Counter()
    for (op, shape), count in kernels.items():
        keyed[op, key(op, shape)] += count
    return keyed


def _without(
    kernels: Counter[Found], matched: Counter[Found], key: Callable[[str, Shape], Shape]
) -> Counter[Found]:
    left, rest = Counter(matched), Counter[Found]()
    for (op, shape), count in kernels.items():
        taken = min(count, left[op, key(op, shape)])
        left[op, key(op, shape)] -= taken
        rest[op, shape] += count - taken
    return +rest


def kernels_of(
    graph: Graph, rules: Sequence[Rule], nodes: Callable[[Graph, Kernel], Iterator[Found]]
) -> list[Found]:
    """Our kernels as a runtime's nodes."""
    return [
        found for kernel in fuse(graph, rules) for found in [*nodes(graph, kernel)] * kernel.times
    ]


# --- models ------------------------------------------------------------------------------------


def listed(folder: Path) -> dict[str, dict[str, Shape]]:
    """File -> shapes of its inputs, as ``LIST`` tells them; 1 for an open side."""
    rows = {}
    for line in (folder / "LIST").read_text().splitlines():
        name, *inputs = line.split()
        parts = [x.rsplit(":", 2) for x in inputs]
        rows[name] = {
            x[0]: tuple(1 if s == "?" else int(s) for s in x[1].split("x") if s) for x in parts
        }
    return rows


def fixed(path: Path, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """A model whose inputs have no open sides."""
    model = onnx.load(path)
    for x in model.graph.input:
        for dim, side in zip(x.type.tensor_type.shape.dim, shapes.get(x.name, ()), strict=False):
            if not dim.HasField("dim_value"):
                dim.dim_value = side
    return model


def _theirs(
    path: Path, shapes: Mapping[str, Shape], runtime: str, keep: Path | None
) -> list[Found]:
    kept = keep / f"{path.stem}.{runtime}.json" if keep else None
    if kept and kept.exists():
        return [(op, tuple(shape)) for op, shape in json.loads(kept.read_text())]
    found = RUNTIMES[runtime][0](fixed(path, shapes))
    if kept:
        kept.write_text(json.dumps(found))
    return found


def of_family(name: str, count: int, runtime: str) -> Comparison:
    """Variants of a family."""
    found = Comparison()
    of_runtime, nodes = RUNTIMES[runtime]
    for variant in population(count, 1, [name]):
        content = variant.to_onnx()
        ours = kernels_of(read_onnx(content), rules_of(runtime), nodes)
        found.add(compare(ours, of_runtime(onnx.load_from_string(content))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="of ONNX files, with LIST")
    parser.add_argument("--variants", type=int, default=4, help="of each family, without a folder")
    parser.add_argument("--runtime", choices=RUNTIMES, default="onnxruntime")
    parser.add_argument("--only", default="", help="files whose names contain this")
    parser.add_argument("--keep", type=Path, help="where the runtime's kernels are kept")
    parser.add_argument("--max-mb", type=float, default=200.0, help="larger files are left out")
    parser.add_argument("--worst", action="store_true", help="models alone that fall short")
    arguments = parser.parse_args()
    version = __import__(arguments.runtime).__version__
    print(f"{machine()}; {arguments.runtime} {version}\n")
    print(f"{'':44s} {'kernels':>8s} {'same':>8s} {'same shape':>11s}")
    total, enough, models = Comparison(), 0, 0
    if arguments.folder is None:
        for name in family_names():
            total.add(found := of_family(name, arguments.variants, arguments.runtime))
            print_row(name, found)
        print_row("all families", total)
        return
    inputs = listed(arguments.folder)
    for path in sorted(arguments.folder.glob("*.onnx"), key=lambda x: (x.stat().st_size, x.name)):
        is_large = path.stat().st_size > arguments.max_mb * 1e6
        if is_large or arguments.only not in path.name:
            continue
        shapes = inputs.get(path.name, {})
        try:
            theirs = _theirs(path, shapes, arguments.runtime, arguments.keep)
            graph = read_onnx(path, ReadOptions(shapes=shapes))
        except Exception as error:  # noqa: BLE001  # whatever a runtime raises
            print(f"{path.stem:44s} {str(error).splitlines()[0][:100]}")
            continue
        ours = kernels_of(graph, rules_of(arguments.runtime), RUNTIMES[arguments.runtime][1])
        found = compare(ours, theirs)
        models, enough = models + 1, enough + (found.share >= _ENOUGH)
        total.add(found)
        if not arguments.worst or found.share < _ENOUGH:
            print_row(path.stem, found)
    print_row(f"all {models} models", total)
    print(f"\n{enough} of {models} models have at least {_ENOUGH:.0%} the same")
    causes: Counter[str] = Counter()
    for whose, kernels in (("ours", total.ours), ("the runtime's", total.theirs)):
        for (op, _), count in kernels.items():
            causes[f"{op} of {whose}"] += count
    for words, count in causes.most_common(_MOST_CAUSES):
        print(f"{count:8d} x {words}")


def print_row(name: str, found: Comparison) -> None:
    equal = found.equal / found.kernels if found.kernels else 1.0
    print(f"{name:44s} {found.kernels:8d} {found.share:8.2%} {equal:11.2%}", flush=True)
    if not name.startswith("all "):
        for title, kernels in (("ours", found.ours), ("theirs", found.theirs)):
            for (op, shape), count in kernels.most_common(_MOST_SHOWN):
                print(f"{'':10s} {title}: {count} x {op} {list(shape)}")


if __name__ == "__main__":
    main()
