"""Files of other formats beside their ONNX sources, and what they compute beside their runtimes.

    python benchmarks/formats.py convert FOLDER --to onnx openvino ncnn tflite
    python benchmarks/formats.py compare FOLDER [--format tflite …]

``convert`` exports the networks of :data:`NETWORKS` with random weights (timm, torchvision) and has
each format's own converter write them: OpenVINO's ``convert_model`` from ONNX, ncnn's ``pnnx``,
LiteRT's ``litert_torch``. Each needs its packages, which need not be installed together: files that
are there are not written again. ``compare`` reads every file, tells multiply-accumulates and
parameters beside those of the ONNX file of the same name, and runs the graph as it was read, as
ONNX, beside the format's runtime on the same random input. Files without an ONNX file of their
name, as of wheels, are compared with their runtime alone.
"""

from __future__ import annotations

import argparse
import subprocess
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from latcast.bench.tables import machine
from latcast.graph import Graph
from latcast.graph.read import as_onnx, read_graph

# Small networks of many kinds: converters take seconds to minutes for each.
NETWORKS = """
    torchvision:mobilenet_v2 torchvision:mobilenet_v3_small torchvision:mobilenet_v3_large
    torchvision:shufflenet_v2_x0_5 torchvision:squeezenet1_1 torchvision:mnasnet0_5
    torchvision:efficientnet_b0 torchvision:regnet_y_400mf torchvision:resnet18 timm:test_byobnet
    timm:test_convnext timm:test_convnext2 timm:test_convnext3 timm:test_efficientnet
    timm:test_efficientnet_gn timm:test_efficientnet_ln timm:test_efficientnet_evos
    timm:test_mambaout timm:test_nfnet timm:test_resnet timm:test_vit timm:test_vit2 timm:test_vit3
    timm:test_vit4 timm:mobilenetv2_050 timm:mobilenetv3_small_050 timm:efficientnet_lite0
    timm:ghostnet_050 timm:regnetx_002 timm:resnet10t timm:dla46_c timm:hardcorenas_a timm:lcnet_050
    timm:tinynet_e timm:mixnet_s timm:fbnetc_100 timm:rexnet_100 timm:mobileone_s0 timm:fastvit_t8
    timm:edgenext_xx_small timm:mobilevit_xxs timm:mobilevitv2_050 timm:efficientvit_b0
    timm:levit_128s timm:deit_tiny_patch16_224 timm:pit_ti_224 timm:gmlp_ti16_224
    timm:xcit_nano_12_p16_224 timm:pvt_v2_b0 timm:semnasnet_075 timm:spnasnet_100
    timm:ese_vovnet19b_dw timm:densenet121 timm:mobilenetv4_conv_small_050 timm:repghostnet_050
    timm:starnet_s1 timm:repvit_m0_9 timm:tf_efficientnetv2_b0 timm:ghostnetv2_100 timm:shvit_s1
    timm:vit_xsmall_patch16_clip_224 timm:resnest14d timm:skresnet18
    timm:cs3darknet_focus_s
"""
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "ncnn": ".ncnn.param", "tflite": ".tflite"}
# Of an image that is exported for a network that takes any.
_SIDE = 128
# The largest difference of outputs, of the largest output, that single precision may make.
_TOLERANCE = 1e-3


# --- converters -------------------------------------------------------------------------------


def convert(folder: Path, formats: Sequence[str]) -> None:
    """Have the converters write what is not there yet."""
    for name in NETWORKS.split():
        stem = folder / name.replace(":", "_")
        missing = [f for f in formats if not Path(f"{stem}{SUFFIXES[f]}").exists()]
        if not missing:
            continue
        module, shape = _module(name)
        for wanted in missing:
            try:
                _CONVERTERS[wanted](module, shape, stem)
            except Exception as error:  # noqa: BLE001  # a converter's own limits
                print(f"{name}: {wanted} cannot convert it: {str(error)[:100]!r}", flush=True)


def _module(name: str) -> tuple[Any, tuple[int, ...]]:
    import torch

    package, _, model = name.partition(":")
    torch.manual_seed(0)
    if package == "timm":
        import timm

        module = timm.create_model(model)
        side = module.default_cfg["input_size"][1]
        is_fixed = module.default_cfg.get("fixed_input_size") or model.startswith("test_")
        side = side if is_fixed else _SIDE
    else:
        import torchvision

        module, side = torchvision.models.get_model(model, weights=None), _SIDE
    return module.eval(), (1, 3, side, side)


def _to_onnx(module: Any, shape: tuple[int, ...], stem: Path) -> None:
    import torch

    torch.onnx.export(module, (torch.zeros(shape),), f"{stem}.onnx", opset_version=17, dynamo=False)


def _to_openvino(_: Any, __: tuple[int, ...], stem: Path) -> None:
    import openvino

    model = openvino.convert_model(f"{stem}.onnx")
    openvino.save_model(model, f"{stem}.xml", compress_to_fp16=False)


def _to_ncnn(module: Any, shape: tuple[int, ...], stem: Path) -> None:
    torch: Any = import_module("torch")

    traced = torch.jit.trace(module, torch.zeros(shape), check_trace=False)
    traced.save(f"{stem}.pt")
    sides = f"inputshape=[{','.join(map(str, shape))}]"
    command = ["pnnx", f"{stem}.pt", sides, "fp16=0"]
    subprocess.run(command, check=True, capture_output=True, cwd=stem.parent)
    for leftover in stem.parent.glob(f"{stem.name}[._]*"):
        if ".pnnx." in leftover.name or leftover.suffix in (".pt", ".py"):
            leftover.unlink()


def _to_tflite(module: Any, shape: tuple[int, ...], stem: Path) -> None:
    import litert_torch
    import torch

    litert_torch.convert(module, (torch.zeros(shape),)).export(f"{stem}.tflite")


_CONVERTERS: dict[str, Callable[[Any, tuple[int, ...], Path], None]] = {
    "onnx": _to_onnx,
    "openvino": _to_openvino,
    "ncnn": _to_ncnn,
    "tflite": _to_tflite,
}


# --- comparison -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One file: what was read, beside its source and its runtime.

    Attributes:
        name: of the file.
        macs: of the graph by those of the ONNX file; None where there is none.
        params: likewise.
        unsupported: operators without a cost.
        difference: of outputs, of the largest one; None where either could not be computed.
        note: why something is missing.
    """

    name: str
    macs: float | None = None
    params: float | None = None
    unsupported: tuple[str, ...] = ()
    difference: float | None = None
    note: str = ""


def _near(ratio: float, tolerance: float) -> bool:
    return abs(ratio - 1) <= tolerance


def compare(path: Path, format_: str) -> Row:
    """Read a file, and run it in two ways."""
    stem = path.name.removesuffix(SUFFIXES[format_])
    source = path.with_name(f"{stem}.onnx")
    reference = read_graph(source) if source.exists() else None
    shapes: dict[str, tuple[int, ...]] = {}
    if format_ == "ncnn" and reference is not None:
        shapes = {"in0": _with_batch(reference.sources[0].shape)}
    try:
        graph = read_graph(path, shapes=shapes)
    except ValueError as error:
        return Row(stem, note=f"not read: {error}")
    macs, params = (None, None) if reference is None else _ratios(graph, reference)
    row = Row(stem, macs, params, tuple(graph.unsupported))
    if row.unsupported:  # neither can be run
        return row
    try:
        return replace(row, difference=_difference(path, format_, shapes))
    except Exception as error:  # noqa: BLE001  # a runtime's, on a file of any kind
        return replace(row, note=f"not run: {' '.join(str(error).split())[:90]}")


def _with_batch(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A vector has two axes in ncnn, as pnnx writes it."""
    return shape if len(shape) > 2 else (1, *shape)


def _ratios(graph: Graph, reference: Graph) -> tuple[float, float]:
    return graph.macs / max(reference.macs, 1), graph.params / max(reference.params, 1)


def _difference(path: Path, format_: str, shapes: dict[str, tuple[int, ...]]) -> float:
    """The largest difference of outputs, of the largest one, for a normal input."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(as_onnx(path, shapes), options)
    rng = np.random.default_rng(0)
    inputs = [
        rng.standard_normal([s if isinstance(s, int) else 1 for s in x.shape]).astype(np.float32)
        for x in session.get_inputs()
    ]
    names = [x.name for x in session.get_inputs()]
    ours = session.run(None, dict(zip(names, inputs, strict=True)))
    theirs = _RUNTIMES[format_](path, inputs)
    largest = max(float(np.abs(x).max()) for x in theirs)
    pairs = zip(ours, theirs, strict=True)
    return max(float(np.abs(a.reshape(b.shape) - b).max()) for a, b in pairs) / max(largest, 1e-9)


def _run_openvino(path: Path, inputs: Sequence[Any]) -> list[Any]:
    import openvino

    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = openvino.Core().compile_model(path, "CPU", config)
    found = model(list(inputs))
    return [found[x] for x in model.outputs]


def _run_ncnn(path: Path, inputs: Sequence[Any]) -> list[Any]:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    for option in ("fp16_arithmetic", "fp16_storage", "fp16_packed", "bf16_storage"):
        setattr(net.opt, f"use_{option}", False)
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
        raise ValueError("ncnn does not load it")
    extractor = net.create_extractor()
    for name, x in zip(net.input_names(), inputs, strict=True):
        extractor.input(name, ncnn.Mat(np.ascontiguousarray(x[0])))
    return [np.array(extractor.extract(name)[1])[None] for name in net.output_names()]


def _run_tflite(path: Path, inputs: Sequence[Any]) -> list[Any]:
    from ai_edge_litert.interpreter import Interpreter

    runtime = Interpreter(str(path), num_threads=1)
    runtime.allocate_tensors()
    for detail, x in zip(runtime.get_input_details(), inputs, strict=True):
        runtime.set_tensor(detail["index"], x.astype(detail["dtype"]))
    runtime.invoke()
    return [runtime.get_tensor(x["index"]) for x in runtime.get_output_details()]


_RUNTIMES: dict[str, Callable[[Path, Sequence[Any]], list[Any]]] = {
    "openvino": _run_openvino,
    "ncnn": _run_ncnn,
    "tflite": _run_tflite,
}


def _print(rows: Sequence[Row], format_: str) -> None:
    """One line for the format, and one for each file that is not the same."""
    read = [x for x in rows if not x.note.startswith("not read")]
    with_source = [x for x in read if x.macs is not None]
    run = [x for x in read if x.difference is not None]
    macs, params = (
        sum(_near(getattr(x, what) or 0, tolerance) for x in with_source)
        for what, tolerance in (("macs", 0.001), ("params", 0.01))
    )
    same = sum((x.difference or 0) < _TOLERANCE for x in run)
    counts = (
        f"{len(rows)} files, {len(read)} read, {sum(not x.unsupported for x in read)} of them with "
        f"every operator; of {len(with_source)} with a source, MACs equal in {macs}, parameters "
        f"within 1 % in {params}; outputs of the runtime in {same} of {len(run)} that can be run"
    )
    print(f"\n{textwrap.fill(f'{format_}: {counts}', 100)}\n")
    print(f"  {'file':32s} {'MACs':>7s} {'params':>7s} {'output':>8s}")
    for x in rows:
        ratios = ("-" if v is None else f"{v:.3f}" for v in (x.macs, x.params))
        output = "-" if x.difference is None else f"{x.difference:.0e}"
        names = f"unsupported: {', '.join(x.unsupported[:2])}" if x.unsupported else ""
        print(f"  {x.name[:32]:32s} {' '.join(f'{v:>7s}' for v in ratios)} {output:>8s}  "
              f"{' '.join(filter(None, (names, x.note)))}".rstrip())  # fmt: skip


_KEY = """\
MACs and params: those of the file by those of the source; output: largest difference of outputs.
They differ where a converter folds constants (standardized weights, biases of zeros, branches whose
last weights are zero), or the exporter to ONNX wrote equal weights once (those that are zero).
ncnn loads no file in which pnnx has left PyTorch's operators (torch.unbind, Tensor.reshape)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["convert", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--to", nargs="+", default=list(SUFFIXES), choices=SUFFIXES)
    parser.add_argument("--format", nargs="+", default=list(_RUNTIMES), choices=_RUNTIMES)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.what == "convert":
        convert(arguments.folder, arguments.to)
        return
    print(f"Files of converters beside their ONNX sources and their runtimes; {machine()}.")
    print(_KEY)
    for format_ in arguments.format:
        paths = sorted(arguments.folder.rglob(f"*{SUFFIXES[format_]}"))
        _print([compare(x, format_) for x in paths], format_)


if __name__ == "__main__":
    main()
