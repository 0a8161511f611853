"""MACs and parameters of published networks: fvcore's, our readers', and our families'.

A MAC is a multiply-accumulate of a convolution or a product of matrices. fvcore counts so in its
handles of conv, linear, addmm, matmul, bmm and einsum; what it counts in others (norms, pools) is
no MAC and left out here, by name. Where two counts differ the operators that make the difference
are told. Needs fvcore, torchvision and timm, which the project does not.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latcast.families import Variant
from latcast.graph import Graph, fuse, kernel_label
from latcast.graph.read.onnx import read_onnx
from latcast.graph.read.pytorch import read_pytorch
from latcast.graph.write.pytorch import to_pytorch
from latcast.spaces import space

PRODUCTS = frozenset(("conv", "linear", "addmm", "matmul", "bmm", "baddbmm", "einsum"))
"""fvcore's handles whose flops are MACs."""

FAMILIES = {
    "resnet18": "resnet-18",
    "resnet50": "resnet-50",
    "mobilenet_v2": "mobilenet-v2",
    "mobilenet_v3_small": "mobilenet-v3-small",
    "mobilenet_v3_large": "mobilenet-v3-large",
    "efficientnet_b0": "efficientnet-b0",
    "convnext_tiny": "convnext-tiny",
    "vgg16": "vgg-16",
    "squeezenet1_1": "squeezenet-1.1",
    "densenet121": "densenet-121",
    "vit_b_16": "vit-base",
    "mobilenetv1_100": "mobilenet-v1",
    "vit_tiny_patch16_224": "deit-tiny",
}
"""Network of torchvision or timm -> what our families call it."""

SPACES = ("ofa-mobilenet-v3", "ofa-proxyless", "ofa-resnet50", "nasbench201", "fbnet")
OPSET = 17


@dataclass
class Count:
    """MACs by operator, and parameters."""

    by_operator: Counter[str]
    params: int
    other_flops: dict[str, int] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Of all operators."""
        return self.by_operator.total()

    def differences(self, other: Count) -> str:
        """Operators whose MACs differ, with what ``other`` has more."""
        names = sorted(self.by_operator | other.by_operator)
        more = {n: other.by_operator[n] - self.by_operator[n] for n in names}
        return ", ".join(f"{n} {v:+,}" for n, v in more.items() if v)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", help="names of some of them (default: all)")
    wanted = parser.parse_args().networks
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(f"{versions()}; batch 1; MACs, and parameters in parentheses\n")
    print(f"{'':22}{'fvcore':>30}  {'PyTorch':8}{'ONNX':8}{'family':8}kernels")
    notes: Counter[str] = Counter()
    for name, build, side in networks():
        if not wanted or name in wanted:
            print(row(name, distinct(build()), side, notes), flush=True)
    left_out = ", ".join(f"{k} {v:,}" for k, v in sorted(notes.items()))
    print(f"\nflops of fvcore that are no MACs, over all networks: {left_out}")


def versions() -> str:
    names = ("torch", "torchvision", "timm", "onnx", "fvcore")
    return ", ".join(f"{name} {version(name)}" for name in names)


def networks() -> Iterator[tuple[str, Callable[[], nn.Module], int]]:
    """Names, what builds the module, and the side of its input."""
    models, timm = torchvision_models(), import_module("timm")
    for name in FAMILIES:
        if hasattr(models, name):
            yield name, getattr(models, name), 224
        else:
            yield name, lambda name=name: timm.create_model(name), 224  # type: ignore[misc]
    for name in SPACES:
        networks = space(name)
        network = networks.network(networks.sample(1, 0))
        yield name, lambda network=network: to_pytorch(network), network.in_shape[-1]  # type: ignore[misc]


def torchvision_models() -> Any:
    """Networks of torchvision, which need nothing of its compiled part but operators' names."""
    try:
        return import_module("torchvision.models")
    except RuntimeError:  # it is built for another PyTorch
        for module in [m for m in sys.modules if m.startswith("torchvision")]:
            del sys.modules[module]
        untyped: Any = torch.library
        for name in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            untyped.define(f"torchvision::{name}", schema)
        return import_module("torchvision.models")


def distinct(module: nn.Module) -> nn.Module:
    """The module with parameters that differ: the exporter writes equal ones once."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module.eval()


def row(name: str, module: nn.Module, side: int, left_out: Counter[str]) -> str:
    """A line for a network, with a line below it for every difference."""
    image = torch.zeros(1, 3, side, side)
    reference = count_of_fvcore(module, image)
    left_out.update(reference.other_flops)
    graph = read_pytorch(module, (image,))
    exported = read_onnx(onnx_of(module, image))
    ours = count_of_graph(graph)
    remarks = [f"fvcore has no count of {x}" for x in [reference.differences(ours)] if x]
    cells = [
        verdict(reference, ours, explained=bool(remarks)),
        verdict(ours, count_of_graph(exported)),
    ]
    if (variant := member_of(name)) is not None:
        less = folded_params(graph)
        cells.append(verdict(Count(ours.by_operator, ours.params - less), count_of_graph(variant)))
        if less:
            remarks.append(f"family: {less:,} parameters less, of batch norms folded into biases")
    remarks += kernel_differences(graph, exported)
    counted = f"{reference.macs:,} ({reference.params:,})"
    kernels = f"{len(fuse(graph))} {len(fuse(exported))}"
    lines = [f"{name:22}{counted:>30}  {''.join(f'{c:8}' for c in cells)}{kernels}"]
    return "\n".join([*lines, *(f"{'':6}{r}" for r in remarks)])


def count_of_fvcore(module: nn.Module, image: torch.Tensor) -> Count:
    fvcore = import_module("fvcore.nn")
    analysis = fvcore.FlopCountAnalysis(module, image)
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    flops = {k: int(v) for k, v in analysis.by_operator().items()}
    macs = Counter({k: v for k, v in flops.items() if k in PRODUCTS})
    others = {k: v for k, v in flops.items() if k not in PRODUCTS}
    return Count(macs, fvcore.parameter_count(module)[""], others)


def count_of_graph(graph: Graph) -> Count:
    """By the names that fvcore gives the operators."""
    if graph.unsupported:
        raise ValueError(f"all operators must be known; got {graph.unsupported}")
    macs: Counter[str] = Counter()
    for layer in graph.layers:
        name = layer.operator.removeprefix("aten.").partition(".")[0]
        macs["conv" if name == "conv2d" else name] += layer.macs
    return Count(+macs, graph.params)


def verdict(expected: Count, got: Count, *, explained: bool = False) -> str:
    """``=`` of equal MACs and parameters; else what differs."""
    wrong = ["MACs"] * (expected.macs != got.macs) + ["params"] * (expected.params != got.params)
    return ("see" if explained else ",".join(wrong)) if wrong else "="


def onnx_of(module: nn.Module, image: torch.Tensor) -> bytes:
    """As the exporter writes it when it is told to leave batch norms alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        torch.onnx.export(
            module, (image,), path, dynamo=False, opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
        )  # fmt: skip
        return path.read_bytes()


def member_of(name: str) -> Graph | None:
    return read_onnx(Variant.parse(FAMILIES[name]).to_onnx()) if name in FAMILIES else None


def folded_params(graph: Graph) -> int:
    """Parameters of batch norms beside those that become biases of the convolutions before."""
    return sum(x.params for x in graph.layers if x.op == "batch_norm") // 2


def kernel_differences(graph: Graph, exported: Graph) -> list[str]:
    """Kinds of kernels that one of two graphs has more of."""
    ours, theirs = kernels(graph), kernels(exported)
    if ours == theirs:
        return []
    return [f"kernels: {listed(ours - theirs)} are {listed(theirs - ours)} in ONNX"]


def kernels(graph: Graph) -> Counter[str]:
    return Counter(
        kernel_label(graph, k) for k in fuse(graph) if graph.layers[k.main].kind != "view"
    )


def listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {label}" for label, n in counts.items())


if __name__ == "__main__":
    main()
