"""Kernels in floats as ONNX Runtime's static quantizer leaves them, where no graph is kept.

Of a graph :func:`latcast.graph.qdq.quantized` tells what runs. A corpus has kernels alone: what was
fused with a product in floats is told by its label. What the quantizer knows runs on integers by
itself, activations that cut off are merged into what is before them, and all else runs in floats
between a dequantization and a quantization.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from latcast.graph import KERNEL_FACTS
from latcast.graph.qdq import COMPUTING, MOVING, REMOVABLE, WEIGHTED

from . import OPS, Networks, distinct

Floats = npt.NDArray[np.float64]

_FLOAT = 4
# Bytes of an output channel's scale, and its bias in int32 with a scale, beside what is quantized.
_BY_CHANNEL = 16
_IMAGE_CHANNELS = 3
# Times the bytes of a norm's constants, which are quantized, each with scales, and not folded.
_CONSTANTS = 6.0
_NORMS = frozenset(("batch_norm", "layer_norm", "instance_norm"))
_ON_INTEGERS = (COMPUTING | MOVING | WEIGHTED) - _NORMS
_AT = {name: n for n, name in enumerate(KERNEL_FACTS)}
_BYTES = [_AT[name] for name in ("param_bytes", "read_bytes", "write_bytes")]


class _Kernel(NamedTuple):
    op: str
    label: str
    facts: Floats


def in_int8(networks: Networks) -> Networks:
    """Networks of kernels in floats, which may be fused, in integers of 8 bits; without an order.

    By these the layer models of int8 on an EPYC of the Turin generation are off by 6.2 and 3.2 % on
    the networks that they were fitted to (ONNX Runtime, OpenVINO), by the quantized graphs by 4.2
    and 2.8 %, and by the kernels in floats by 78 and 51 %.
    """
    kernels: list[_Kernel] = []
    owners: list[int] = []
    for k, (op, label, facts) in enumerate(
        zip(networks.ops.tolist(), networks.labels, networks.facts, strict=True)
    ):
        found = list(_parts(OPS[op], label, facts))
        kernels += found
        owners += [k] * len(found)
    ops = [OPS.index(kernel.op) for kernel in kernels]
    facts = np.array([kernel.facts for kernel in kernels]).reshape(-1, len(KERNEL_FACTS))
    numbers, arrays = distinct(ops, [kernel.label for kernel in kernels], facts)
    shape = (len(networks.ops), len(arrays[0]))
    spread = scipy.sparse.csr_matrix((np.ones(len(owners)), (owners, numbers)), shape=shape)
    return Networks(*arrays, scipy.sparse.csr_matrix(networks.counts @ spread))


def _parts(op: str, label: str, facts: Floats) -> Iterator[_Kernel]:
    """Yield the kernels that run for one in floats."""
    names, _, form = label.partition("/")
    blocked = "/blocked" if form.startswith("blocked") else ""
    layers = names.split("+")
    if op in WEIGHTED or op == "matmul":
        at = layers.index(op) if op in layers else 0
        yield from _products(op, layers[: at + 1], layers[at + 1 :], facts, blocked)
    elif layers[0] in _ON_INTEGERS and (len(layers) == 1 or MOVING.issuperset(layers)):
        yield _Kernel(op, names, _smaller(facts))
    else:
        yield from _beside(layers, facts, facts[_AT["read_bytes"]])


def _products(
    op: str, until: Sequence[str], after: Sequence[str], facts: Floats, blocked: str
) -> Iterator[_Kernel]:
    """A product, and what was fused with it."""
    own = _smaller(facts)
    own[_AT["layers"]] = 1.0
    written = facts[_AT["write_bytes"]]
    if op in WEIGHTED:
        own[_AT["param_bytes"]] += _BY_CHANNEL * facts[_AT["outputs"]]
        if facts[_AT["inputs"]] == _IMAGE_CHANNELS:
            yield _between("quantize", facts, facts[_AT["read_bytes"]] / _FLOAT)
    residuals = written if "add" in after and op in ("conv", "depthwise_conv") else 0.0
    own[_AT["read_bytes"]] = max(facts[_AT["read_bytes"]] - residuals, 0.0) / _FLOAT
    if "matmul" in after:
        # Attention: of queries with keys, and of their scores with values.
        rows, wide, deep = (facts[_AT[name]] for name in ("positions", "outputs", "inputs"))
        is_second = rows * wide == written / _FLOAT
        scores = rows * (deep if is_second else wide)
        own[_AT["macs"]] /= 2
        values, own[_AT["write_bytes"]] = own.copy(), scores
        own[_AT["read_bytes"]] = written / 2
        values[_AT["read_bytes"]] = scores + written / _FLOAT
        place = list(after).index("matmul")
        yield from (_element(x, facts, written / _FLOAT) for x in until[:-1])
        yield _Kernel(op, op + blocked, own)
        yield from (_element(x, facts, scores) for x in after[:place])
        yield _Kernel(op, op + blocked, values)
        yield from (_element(x, facts, written / _FLOAT) for x in after[place + 1 :])
        return
    yield _Kernel(op, op + blocked, own)
    yield from _beside(after, facts, written + residuals)


def _beside(layers: Sequence[str], facts: Floats, read: float) -> Iterator[_Kernel]:
    """Yield layers that do no product, those in floats between two changes of their type."""
    number, in_floats = facts[_AT["write_bytes"]] / _FLOAT, False
    for n, (name, reads, number) in enumerate(_numbers(layers, facts, read / _FLOAT)):
        is_on_integers = name in _ON_INTEGERS
        if name in REMOVABLE and (n or len(layers) == 1) and not in_floats:
            continue
        if is_on_integers and in_floats:
            yield _between("quantize", facts, number)
        elif not is_on_integers and not in_floats:
            yield _between("dequantize", facts, number)
        in_floats = not is_on_integers
        if name in OPS:
            yield _layer(name, facts, reads, number, 1.0 if is_on_integers else _FLOAT)
    if in_floats:
        yield _between("quantize", facts, number)


def _numbers(
    layers: Sequence[str], facts: Floats, read: float
) -> Iterator[tuple[str, float, float]]:
    """Yield how many numbers each layer reads and writes.

    What follows a mean is one number for all channels, up to a difference from it, or a division
    by the deviation: so a norm in parts has it.
    """
    number = whole = facts[_AT["write_bytes"]] / _FLOAT
    for n, name in enumerate(layers):
        if name == "mean":
            number = whole / max(facts[_AT["outputs"]], 1.0)
        elif name in ("sub", "div"):
            number = whole
        yield name, whole if name == "mean" else number if n else read, number


def _layer(name: str, facts: Floats, reads: float, number: float, element: float) -> _Kernel:
    """One layer beside a product, of elements of so many bytes."""
    made = _element(name, facts, number * element)
    made.facts[_AT["read_bytes"]] = reads * element
    if name in _NORMS:
        made.facts[_AT["param_bytes"]] = _CONSTANTS * facts[_AT["param_bytes"]]
        made = made._replace(label=f"dequantize+{name}")
    return made


def _element(name: str, facts: Floats, number_bytes: float) -> _Kernel:
    """One layer that reads and writes so many bytes."""
    own = facts.copy()
    for fact, value in (
        ("macs", 0.0), ("param_bytes", 0.0), ("window", 1.0), ("stride", 1.0), ("groups", 1.0),
        ("layers", 1.0), ("blocked", 0.0), ("inputs", facts[_AT["outputs"]]),
        ("read_bytes", number_bytes), ("write_bytes", number_bytes),
    ):  # fmt: skip
        own[_AT[fact]] = value
    return _Kernel(name, name, own)


def _between(name: str, facts: Floats, number: float) -> _Kernel:
    """A quantization, or its inverse, of so many numbers."""
    made = _element(name, facts, number)
    wide = "read_bytes" if name == "quantize" else "write_bytes"
    made.facts[_AT[wide]] = _FLOAT * number
    made.facts[_AT["param_bytes"]] = 5.0
    return made


def _smaller(facts: Floats) -> Floats:
    own = facts.copy()
    own[_BYTES] /= _FLOAT
    if not own[_AT["macs"]]:
        own[_AT["blocked"]] = 0.0
    return own
