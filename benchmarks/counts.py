"""MACs of real networks: ours, and those of PyTorch's flop counter, fvcore, calflops, onnx-tool.

    python benchmarks/counts.py [--models build/models] [--cache build/counts.jsonl] [--number 300]
    python benchmarks/counts.py --print > docs/results/counts.txt

A MAC is a multiply-accumulate of a convolution or of a product of matrices. What is no MAC in what
another counter counts (norms, activations, sums) is left out by its name, or is told as what makes
the difference; what the counts do not tell was found layer by layer (``BY_HAND``). Modules of timm,
torchvision and transformers are counted by PyTorch's flop counter, by fvcore and calflops, and by
us in what ``torch.export`` makes of them; ONNX files (see ``real_models.py``) by onnx-tool, by us,
and by the shapes that ``onnx.shape_inference`` finds. What was counted is kept in the cache, a line
of JSON a network, and not counted again; ``--slice 0/2`` counts every second one. Needs the
packages of ``real_models.py``, and fvcore, calflops, onnx-tool.
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
SECONDS = 300
MAX_PARAMETERS = 150_000_000
# Names of timm that are left out: the same architectures as others, larger.
_LARGE = re.compile(r"giant|huge|large|enormous|xlarge|_[34578]\d\d|sam2?|7b|1b|3b|_b[4-8]|nfnet_f")

# Further ones of timm, small.
TIMM = """
    test_byobnet test_convnext test_convnext2 test_convnext3 test_efficientnet
    test_efficientnet_evos test_efficientnet_gn test_efficientnet_ln test_mambaout test_nfnet
    test_resnet test_vit test_vit2 test_vit3 test_vit4 mnasnet_small mobilenetv2_035 lcnet_035
    resnet10t tinynet_e
    regnetx_002 mobilenetv3_small_050 vit_xsmall_patch16_clip_224 convnext_zepto_rms starnet_s050
    tf_mobilenetv3_small_minimal_100 resnet14t mobilenetv4_conv_small_035 regnety_002
"""


def _offsets(width: int, depths: Sequence[int], heads: Sequence[int], hidden: int = 512) -> int:
    """Biases of an attention by relative position, from a network of two layers."""
    return (2 * width - 1) ** 2 * hidden * sum(
        d * (2 + h) for d, h in zip(depths, heads, strict=True)
    )  # fmt: skip


def _shared(channels: Sequence[int], depths: Sequence[int]) -> int:
    """CoaT's depthwise taps, 9 and 30 a channel, of a stage's blocks, which share the modules."""
    return sum(
        39 * d**2 * n**2 * c for n, c, d in zip((56, 28, 14, 7), channels, depths, strict=True)
    )


def _attentions(tokens: int, width: int, blocks: int) -> int:
    """All products of a transformer's attentions."""
    return blocks * (4 * tokens * width**2 + 2 * tokens**2 * width)


# Files with branches, which no other counter reads -> the same network without any.
TWINS = {
    f"silero-vad_{name}": "silero-vad_silero_vad_openvino_16k"
    for name in ("silero_vad", "silero_vad_16k_op15", "silero_vad_half", "silero_vad_op18_ifless")
}
# What is counted -> network -> MACs that a counter adds, or leaves out where they are negative;
# worked out from the layers that make them.
BY_HAND: dict[str, dict[str, int]] = {
    "of constants": {
        "convit_tiny": 10 * 196**2 * 3 * 4,  # blocks, pairs of patches, their 3, heads
        "edgenext_xx_small": 32**2 * 64 * 48,  # positions, sines, channels
        "xcit_nano_12_p16_224": 14**2 * 64 * 128,
        "xcit_medium_24_p16_224": 14**2 * 64 * 512,
        "swinv2_cr_tiny_ns_224": 49**2 * 384 * (2 * 5 + 2 * 8 + 6 * 14 + 2 * 26),  # pairs, hidden
        "swin_v2_t": _offsets(8, (2, 2, 6, 2), (3, 6, 12, 24)),
        "swin_v2_s": _offsets(8, (2, 2, 18, 2), (3, 6, 12, 24)),
        "swin_v2_b": _offsets(8, (2, 2, 18, 2), (4, 8, 16, 32)),
        "swinv2_tiny_window8_256": _offsets(8, (2, 2, 6, 2), (3, 6, 12, 24)),
        # The map of the last stage has one window of 8.
        "swinv2_base_window16_256": _offsets(16, (2, 2, 18), (4, 8, 16)) + _offsets(8, (2,), (32,)),
        "vit_relpos_medium_patch16_224": _offsets(14, (12,), (8,), 128),
        "swin2sr": _offsets(8, (4,), (6,)),
        **dict.fromkeys(("maxvit_rmlp_nano_rw_256", "maxxvit_rmlp_nano_rw_256"),
                        _offsets(8, (2, 4, 6, 2), (2, 4, 8, 16))),  # of windows and of grids
        "deberta-v2-small": 4 * 2 * 1024 * 384**2,  # keys and queries of 1024 offsets
        "test_vit3": 96**2,  # the query of the pool
        "vit_base_patch16_siglip_224": 768**2,
        # Of the decoder's first layer all before keys and values of the map: 100 queries of 256.
        "detr-resnet50": 5 * 100 * 256**2 + 2 * 100**2 * 256,
    },
    "that no output needs": {
        **dict.fromkeys(("bert-384x6", "roberta-384x6", "mpnet-384x4", "vit-384x6"), 384**2),
        **dict.fromkeys(("albert-base", "squeezebert"), 768**2),  # poolers
        "mobilebert": 512**2,
        "yolos-tiny": 100 * (2 * 192**2 + 192 * 4),  # boxes of 100 tokens
        "detr-resnet50": 100 * (2 * 256**2 + 256 * 4),
    },
    "of convolutions that blocks share, once a block more": {
        "coat_lite_tiny": _shared((64, 128, 256, 320), (2, 2, 2, 2)),
        "coat_lite_medium": _shared((128, 256, 320, 512), (3, 6, 10, 8)),
    },
    "of attentions that run as one operator": {
        "vit_b_16": -_attentions(197, 768, 12),
        "vit_b_32": -_attentions(50, 768, 12),
    },
}  # fmt: skip

# A network's name, the MACs of every counter by its name, and what else it tells.
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, nargs="+", default=[Path("build/models")])
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
    files = sorted(str(x) for folder in options.models for x in folder.glob("*.onnx"))
    names = [*files, *modules(options.number)]
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
    rest = [rest[int(n * step)] for n in range(int(len(rest) / step))]
    return list(dict.fromkeys((*names, *kept, *(f"timm:{n}" for n in TIMM.split()), *rest)))


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
            module.requires_grad_(False)  # PyTorch's counter fails at views that would need some
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
        if layer.is_supported and layer.macs * layer.runs:
            macs[layer.operator] += layer.macs * layer.runs
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
    if "?" in described:
        return {"skipped": f"open sides: {described}"}
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
    ours = {Path(r["name"]).stem: r["ours"] for r in used}
    for row in used:
        if twin := ours.get(TWINS.get(Path(row["name"]).stem, "")):
            row["without branches"] = twin
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


PEERS = ("torch", "onnx", "fvcore", "calflops", "onnx-tool", "without branches")


def summary(rows: Sequence[Row]) -> list[str]:
    counted = [r for r in rows if total(r["ours"]) is not None]
    right = sum(is_right(r) for r in counted)
    ours = f"ours: read {len(counted)} of {len(rows)}"
    lines = [f"{ours}; {right} equal another counter's, or differ by what is explained"]
    for peer in PEERS:
        both = [r for r in counted if peer in r]
        answered = [r for r in both if total(r[peer]) is not None]
        reasons = Counter(re.sub(r"[+-][\d,]+", "", why(r, peer)).strip(" :") for r in answered)
        same = reasons.pop("=", 0)
        lines.append(f"{peer}: counts {len(answered)} of {len(both)}, {same} the same as ours")
        lines += [f"    {number:4} {reason}" for reason, number in reasons.most_common()]
    return lines


def is_right(row: Row) -> bool:
    """Whether another counter finds as many, or its difference is explained."""
    return any(
        total(row[p]) is not None and not re.fullmatch(r"[+-][\d,]+", why(row, p))
        for p in PEERS
        if p in row
    )


def line(row: Row) -> str:
    ours = total(row["ours"])
    shown = f"{ours:,}" if ours is not None else str(row["ours"].get("error"))
    cells = [f"{p} {why(row, p)}" for p in PEERS if p in row]
    return f"{Path(row['name']).name:58}{shown:>17}  {'; '.join(cells)}"


def why(row: Row, peer: str) -> str:
    """``=``, or what makes the difference to ours."""
    ours, theirs = total(row["ours"]), total(row[peer])
    if theirs is None:
        return f"fails ({row[peer]['error']})"
    if ours is None or theirs == ours:
        return "="
    difference = theirs - ours
    rest = difference - row[peer].get("biases", 0)
    told = ["counts the biases"] if rest != difference else []
    by, them = row["ours"]["by"], row[peer]["by"]
    gates = sum(them[n] - by.get(n, 0) for n in ("LSTM", "GRU") if n in them)
    lacks: list[str] = []
    if rest and rest == gates:
        told.append("counts the activations of gates")
    elif rest and (hand := by_hand(row["name"], rest, by)):
        told.append(hand[0])
        lacks = hand[1]
    elif rest:
        lacks = made_of(-rest, by)
        told += ["rounds an einsum"] if abs(rest) < 1e-4 * them.get("einsum", 0) else []
    told += [f"lacks {' and '.join(lacks)}"] if lacks else []
    return f"{difference:+,}" + (f": {', '.join(told)}" if told else "")


def by_hand(name: str, difference: int, by: Mapping[str, int]) -> tuple[str, list[str]] | None:
    """The causes worked out by hand that make a difference, and the operators left out besides."""
    found = [
        (macs, cause)
        for cause, networks in BY_HAND.items()
        for network, macs in networks.items()
        if re.search(rf"[:_]{network}(\.onnx)?$", name)
    ]
    for some in (s for n in range(len(found), 0, -1) for s in combinations(found, n)):
        added = sum(macs for macs, _ in some)
        lacks = made_of(added - difference, by)
        if added == difference or lacks:
            causes = " and ".join(cause for _, cause in some)
            return f"{'counts' if added > 0 else 'lacks'} products {causes}", lacks
    return None


def made_of(difference: int, by: Mapping[str, int]) -> list[str]:
    """Operators whose MACs are the difference together; none where there are no such.

    Half of the products of an attention are those of the scores, where these are as large.
    """
    if difference > 0 and 2 * difference == by.get("aten.matmul.default"):
        return ["half of aten.matmul.default"]
    for number in (1, 2):
        for names in combinations(by, number):
            if sum(by[n] for n in names) == difference:
                return list(names)
    return []


if __name__ == "__main__":
    main()
