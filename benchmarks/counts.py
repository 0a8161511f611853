"""MACs of real networks: ours, and those of PyTorch's flop counter, fvcore, calflops, onnx-tool.

    python benchmarks/counts.py [--models build/models] [--cache build/counts.jsonl] [--number 300]
    python benchmarks/counts.py --print > docs/results/counts.txt

A MAC is a multiply-accumulate of a convolution or of a product of matrices. What is no MAC in what
another counter counts (norms, activations, sums) is left out by its name, or is told as what makes
the difference. Modules of timm, torchvision and transformers are counted by PyTorch's flop counter,
by fvcore and calflops, and by us in what ``torch.export`` makes of them; ONNX files (see
``real_models.py``) by onnx-tool, by us, and by the shapes that ``onnx.shape_inference`` finds. What
was counted is kept in the cache, a line of JSON a network, and not counted again; ``--slice 0/2``
counts every second one. Needs the packages of ``real_models.py``, and fvcore, calflops, onnx-tool.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.metadata import version
from io import StringIO
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

import onnx
import real_models
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from latcast.bench.tables import machine
from latcast.graph import Graph
from latcast.graph.read import read_graph
from latcast.graph.read.pytorch import read_pytorch

# fvcore's handles whose flops are MACs.
PRODUCTS = frozenset(("conv", "linear", "addmm", "matmul", "bmm", "einsum"))
FILE_PRODUCTS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU"))
# That a counter has for one network.
SECONDS = 60
MAX_PARAMETERS = 40_000_000
# Names of timm that are left out: the same architectures as others, larger.
_LARGE = re.compile(r"giant|huge|large|enormous|xlarge|_[34578]\d\d|sam2?|7b|1b|3b|_b[4-8]|nfnet_f")

# A network's name, the MACs of every counter by its name, and what else it tells.
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("build/models"))
    parser.add_argument("--cache", type=Path, default=Path("build/counts.jsonl"))
    parser.add_argument("--number", type=int, default=300, help="of modules, about")
    parser.add_argument("--slice", default="0/1", help="which of how many parts")
    parser.add_argument("--print", action="store_true", help="count nothing, print the table")
    options = parser.parse_args()
    if options.print:
        print(report(read(options.cache)))
        return
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    torch.set_num_threads(1)
    part, parts = map(int, options.slice.split("/"))
    names = [*sorted(map(str, options.models.glob("*.onnx"))), *modules(options.number)]
    for name in names[part::parts]:
        if name not in {r["name"] for r in read(options.cache)}:
            start = time.perf_counter()
            row = count_file(Path(name)) if name.endswith(".onnx") else count_module(name)
            row = {"name": name, **row, "seconds": round(time.perf_counter() - start, 1)}
            with options.cache.open("a") as file:
                file.write(json.dumps(row) + "\n")


def read(cache: Path) -> list[Row]:
    lines = cache.read_text().splitlines() if cache.exists() else []
    rows = {row["name"]: row for row in map(json.loads, lines)}
    return sorted(rows.values(), key=lambda r: str(r["name"]))


def modules(number: int) -> list[str]:
    """Names of modules: those that ``real_models.py`` exports, and others of both libraries."""
    names = list(dict.fromkeys(real_models.names()))
    models: Any = import_module("torchvision.models")
    timm: Any = import_module("timm")
    classifiers = [f"torchvision:{n}" for n in models.list_models(module=models)]
    rest = [f"timm:{n}" for n in timm.list_models() if not _LARGE.search(n)]
    kept = [n for n in classifiers if not re.search(r"_l$|_h_|vgg|_128gf|_32gf|_64gf|_b[4-7]", n)]
    kept = [n for n in kept if n not in names]
    rest = [n for n in rest if n not in names]
    step = len(rest) / max(1, number - len(names) - len(kept))
    return [*names, *kept, *(rest[int(n * step)] for n in range(int(len(rest) / step)))]


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """End what takes longer by a TimeoutError."""

    def end(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def attempt(count: Callable[[], Row]) -> Row:
    """What a counter finds, or its error."""
    try:
        with limited(SECONDS), torch.no_grad(), redirect_stdout(StringIO()):
            return count()
    except Exception as error:  # noqa: BLE001 - of other people's code, which may raise anything
        return {"error": f"{type(error).__name__}: {error}".split("\n")[0][:160]}


def count_module(name: str) -> Row:
    """MACs of a module by every counter, on the CPU: fvcore's tracer knows no other."""
    try:
        with limited(SECONDS):
            module, inputs = real_models.build(name)
    except Exception as error:  # noqa: BLE001 - of other people's code, which may raise anything
        return {"skipped": f"{type(error).__name__}: {error}"[:160]}
    if (size := sum(p.numel() for p in module.parameters())) > MAX_PARAMETERS:
        return {"skipped": f"{size:,} parameters"}
    tensors = tuple(inputs.values())
    return {
        "ours": attempt(lambda: by_us(read_pytorch(exported(module, tensors)))),
        "torch": attempt(lambda: by_torch(module, tensors)),
        "fvcore": attempt(lambda: by_fvcore(module, tensors)),
        "calflops": attempt(lambda: by_calflops(module, tensors)),
    }


def exported(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
    return torch.export.export(module, inputs, strict=False)


def by_us(graph: Graph) -> Row:
    macs: Counter[str] = Counter()
    for layer in graph.layers:
        if layer.is_supported and layer.macs:
            macs[layer.operator] += layer.macs
    return {"by": macs, "unsupported": graph.unsupported, "params": graph.params}


def by_torch(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Row:
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return {"by": {str(k): v // 2 for k, v in counter.get_flop_counts()["Global"].items()}}


def by_fvcore(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Row:
    fvcore = import_module("fvcore.nn")
    analysis = fvcore.FlopCountAnalysis(module, inputs)
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    by = {k: int(v) for k, v in analysis.by_operator().items()}
    return {
        "by": {k: v for k, v in by.items() if k in PRODUCTS},
        "left out": {k: v for k, v in by.items() if k not in PRODUCTS},
        "without a handle": dict(analysis.unsupported_ops()),
    }


def by_calflops(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Row:
    calflops = import_module("calflops")
    _, macs, _ = calflops.calculate_flops(
        module, args=list(inputs), print_results=False, output_as_string=False
    )
    return {"by": {"all": int(macs)}}


def count_file(path: Path) -> Row:
    """MACs of an ONNX file by onnx-tool, by us, and by the shapes that onnx itself infers."""
    described = real_models.inputs_of(path)
    shapes = {}
    for text in described.split():
        name, sides, _ = text.rsplit(":", 2)
        shapes[name] = tuple(map(int, sides.split("x"))) if sides else ()
    return {
        "ours": attempt(lambda: by_us(read_graph(path, shapes=shapes))),
        "onnx": attempt(lambda: by_onnx(path, shapes)),
        "onnx-tool": attempt(lambda: by_onnx_tool(path, shapes)),
    }


def by_onnx_tool(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Row:
    onnx_tool = import_module("onnx_tool")
    numpy = import_module("numpy")
    graph = onnx_tool.Model(str(path), {"verbose": False}).graph
    graph.shape_infer({k: numpy.zeros(v, numpy.float32) for k, v in shapes.items()})
    graph.profile()
    by: Counter[str] = Counter()
    bias = 0
    for node in graph.nodemap.values():
        by[node.op_type] += int(node.macs[0])
        if node.op_type in ("Conv", "Gemm", "ConvTranspose") and len(node.input) > 2:
            bias += prod(graph.tensormap[node.output[0]].get_shape())
    return {
        "by": {k: v for k, v in by.items() if k in FILE_PRODUCTS and v},
        "biases": bias,
        "left out": {k: v for k, v in by.items() if k not in FILE_PRODUCTS and v},
    }


def by_onnx(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Row:
    """Output elements x the length of each sum, of the shapes that onnx infers."""
    model = onnx.load(path)
    held = {x.name: tuple(x.dims) for x in model.graph.initializer}
    for x in model.graph.input:
        if x.name in shapes:
            del x.type.tensor_type.shape.dim[:]
            for side in shapes[x.name]:
                x.type.tensor_type.shape.dim.add().dim_value = side
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    known = dict(held)
    for x in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        known.setdefault(x.name, tuple(d.dim_value for d in x.type.tensor_type.shape.dim))
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            known[node.output[0]] = tuple(node.attribute[0].t.dims)
    by: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in ("Loop", "If", "Scan", "LSTM", "GRU", "RNN", "Einsum"):
            raise NotImplementedError(f"no count of {node.op_type}")
        if node.op_type in FILE_PRODUCTS:
            by[node.op_type] += product_macs(node, known)
    return {"by": by}


def product_macs(node: onnx.NodeProto, known: Mapping[str, tuple[int, ...]]) -> int:
    first, second, out = known[node.input[0]], known[node.input[1]], known[node.output[0]]
    if 0 in (*first, *second, *out) or not (first and second and out):
        raise ValueError(f"onnx infers no shapes of {node.name}")
    if node.op_type == "Conv":
        return prod(out) * prod(second[1:])
    if node.op_type == "ConvTranspose":
        return prod(first) * prod(second[1:])
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return prod(out) * first[-2 if transposed else -1]


def total(counted: Row) -> int | None:
    return sum(counted["by"].values()) if "by" in counted else None


def report(rows: Sequence[Row]) -> str:
    """The table: what each counter makes of each network, and why it differs."""
    used = [r for r in rows if "skipped" not in r]
    skipped = [r for r in rows if "skipped" in r]
    packages = ("torch", "torchvision", "timm", "transformers", "fvcore", "calflops", "onnx-tool")
    lines = [
        "$ python benchmarks/counts.py",
        machine(),
        ", ".join(f"{n} {version(n)}" for n in packages),
        f"{len(used)} networks, batch 1; {len(skipped)} others: too large, or not to be built",
        "",
    ]
    lines += summary(used)
    lines += ["", f"{'network':58}{'ours, MACs':>17}  others: = the same, or why not"]
    lines += [line(r) for r in used]
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> list[str]:
    lines = []
    for peer in ("torch", "onnx", "fvcore", "calflops", "onnx-tool"):
        both = [r for r in rows if peer in r]
        counted = [r for r in both if total(r[peer]) is not None and total(r["ours"]) is not None]
        same = sum(total(r[peer]) == total(r["ours"]) for r in counted)
        reasons = Counter(
            re.sub(r"[\d,]{2,}|[+-]\d+", "n", why(r, peer)) for r in counted
            if total(r[peer]) != total(r["ours"])
        )  # fmt: skip
        lines.append(
            f"{peer}: counts {len(counted)} of {len(both)}, {same} the same as ours; others:"
        )
        lines += [f"    {number:4} {reason}" for reason, number in reasons.most_common()]
    return lines


def line(row: Row) -> str:
    ours = total(row["ours"])
    shown = f"{ours:,}" if ours is not None else str(row["ours"].get("error"))
    cells = [f"{p} {why(row, p)}" for p in row if p in
             ("torch", "onnx", "fvcore", "calflops", "onnx-tool")]  # fmt: skip
    return f"{Path(row['name']).name:58}{shown:>17}  {'; '.join(cells)}"


def why(row: Row, peer: str) -> str:
    """``=``, or what makes the difference to ours."""
    ours, theirs = total(row["ours"]), total(row[peer])
    if theirs is None:
        return f"fails ({row[peer]['error']})"
    if ours is None or theirs == ours:
        return "="
    difference = theirs - ours
    if row[peer].get("biases") == difference:
        return f"counts the biases, {difference:+,}"
    missed = made_of(-difference, row["ours"]["by"])
    if missed:
        return f"{difference:+,}: lacks {' and '.join(missed)}"
    return f"{difference:+,}"


def made_of(difference: int, by: Mapping[str, int]) -> list[str]:
    """Operators whose MACs are the difference together; none where there are no such."""
    for number in (1, 2):
        for names in combinations(by, number):
            if sum(by[n] for n in names) == difference:
                return list(names)
    return []


if __name__ == "__main__":
    main()
