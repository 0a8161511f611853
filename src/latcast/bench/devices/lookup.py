"""Kernels of the networks that public tables name.

A key is the ``network`` of a table's row: a file of the table itself (``ncnn:resnet18``), a model
by its configuration (``neusight:gpt2_large@1024``), one operator by its dimensions, or a network
of the corpus (``timm:resnet50@224``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from latcast.devices import public_runtime
from latcast.graph import Graph, GraphBuilder, Tensor, rules_of
from latcast.graph.read import read_graph
from latcast.models.joint import FUSES_AS
from latcast.networks import Networks
from latcast.networks.corpus import read_corpus

from .language_models import language_model, linear


class Key(NamedTuple):
    """A network as a table names it, at a batch, by the fusion rules of a runtime.

    Of those in the corpus ``precision`` tells what runs, as of ``Corpus.networks``.
    """

    name: str
    batch: int
    runtime: str
    precision: str = "fp32"


# Inputs that a file leaves open: yolo-fastest's and FastestDet's benchmarks state 352 x 352.
_SHAPES: Mapping[str, Mapping[str, Sequence[int]]] = {"ncnn:FastestDet": {"in0": (1, 3, 352, 352)}}


@dataclass(frozen=True)
class Found:
    """Networks that were found, n, and why others were not.

    Attributes:
        networks: n rows.
        keys: of the rows.
        names: of the rows: what is one network has one name, whatever a table calls it.
        missing: name of a network -> why it has no kernels.
    """

    networks: Networks
    keys: tuple[Key, ...]
    names: tuple[str, ...]
    missing: Mapping[str, str]


def find(keys: Sequence[Key], files: Mapping[str, Path]) -> Found:
    """Kernels of networks, each at its batch.

    Args:
        keys: distinct ones.
        files: name of a network, without what follows ``@``, -> its file.
    """
    parts: list[Networks] = []
    order: list[Key] = []
    missing: dict[str, str] = {}
    of_corpus = [key for key in keys if _table(key) not in _OWN]
    for runtime in dict.fromkeys(key.runtime for key in keys):
        graphs, own = [], []
        for key in (k for k in keys if k.runtime == runtime):
            if _table(key) not in _OWN:
                continue
            try:
                graphs.append(_graph(key, files))
                own.append(key)
            except ValueError as error:
                missing[key.name] = str(error)
        if graphs:
            parts.append(Networks.of_graphs(graphs, rules_of(FUSES_AS.get(runtime, runtime))))
            order += own
    names = [key.name for key in order]
    if of_corpus:
        corpus, found, own_names, lost = _of_corpus(of_corpus)
        parts, order, names = parts + corpus, order + found, names + own_names
        missing |= lost
    joined = Networks.joined(parts) if parts else Networks.of_graphs([])
    return Found(joined, tuple(order), tuple(names), missing)


# Tables whose networks are files or operators of their own.
_OWN = ("ncnn", "neusight", "tinynas")


def _table(key: Key) -> str:
    return key.name.partition(":")[0]


def _graph(key: Key, files: Mapping[str, Path]) -> Graph:
    """The graph of a network that is no member of the corpus.

    Raises:
        ValueError: there is no file of it, and it is no operator.
    """
    name, _, size = key.name.partition("@")
    if path := files.get(name):
        if size:
            return language_model(path, int(size), key.batch)
        return read_graph(path, shapes=_SHAPES.get(name))
    for pattern, make in _OPERATORS.items():
        if match := re.fullmatch(pattern, key.name.partition(":")[2]):
            return make(match, key.batch)
    raise ValueError("a file of the network must be in its table's folder; there is none")


# --- single operators -------------------------------------------------------------------------


def _dims(match: re.Match[str]) -> dict[str, int]:
    return {k: int(v) for k, v in (part.split("=") for part in match["dims"].split())}


def _neusight(match: re.Match[str], _: int) -> Graph:
    """One operator of PyTorch on tensors of the dimensions that NeuSight states."""
    op, d = match["op"], _dims(match)
    b = GraphBuilder(d["B"], match[0])
    if op not in _BUILT:
        raise ValueError(f"the operator must be one of {', '.join(_BUILT)}; got {op}")
    try:
        return b.build(_BUILT[op](b, d))
    except KeyError as error:
        raise ValueError(f"{match[0]} must state the dimension {error}; it does not") from None


def _conv(b: GraphBuilder, d: Mapping[str, int]) -> Tensor:
    x = b.input(d["Input_Channel"], d["Input_Size"], d["Input_Size"])
    return b.conv(
        x, d["Output_Channel"], d["Kernel_Size"], stride=d["Stride"], padding=d["Padding"]
    )


def _binary(name: str) -> Callable[[GraphBuilder, Mapping[str, int]], Tensor]:
    return lambda b, d: b.binary(name, b.input(d["H"]), b.input(d["H"]))


def _by_number(name: str) -> Callable[[GraphBuilder, Mapping[str, int]], Tensor]:
    return lambda b, d: b.binary(name, b.input(d["H"]), 2.0)


def _activation(name: str) -> Callable[[GraphBuilder, Mapping[str, int]], Tensor]:
    return lambda b, d: b.activation(b.input(d["H"]), name)


_BUILT: Mapping[str, Callable[[GraphBuilder, Mapping[str, int]], Tensor]] = {
    "conv": _conv,
    "bmm": lambda b, d: b.matmul(b.input(d["M"], d["K"]), b.input(d["K"], d["N"])),
    "linear": lambda b, d: linear(b, b.input(d["M"], d["K"]), d["N"]),
    "softmax": lambda b, d: b.softmax(b.input(d["H"])),
    "ln": lambda b, d: b.layer_norm(b.input(d["H"])),
    **{name: _binary(name.capitalize()) for name in ("add", "mul", "div", "pow")},
    **{f"{name}u": _by_number(name.capitalize()) for name in ("add", "mul", "div", "pow")},
    **{name: _activation(name) for name in ("relu", "gelu", "tanh")},
}


def _tinynas(match: re.Match[str], batch: int) -> Graph:
    """One convolution; where the source flags it fused, an activation follows."""
    c_in, c_out, height, width, kernel, stride = (
        int(match[name]) for name in ("c_in", "c_out", "height", "width", "kernel", "stride")
    )
    b = GraphBuilder(batch, match[0])
    groups = c_in if match["kind"] == "depthwise" else 1
    x = b.conv(b.input(c_in, height, width), c_out, kernel, stride=stride, groups=groups)
    return b.build(b.activation(x, "relu") if match["fused"] == "1" else x)


_OPERATORS: Mapping[str, Callable[[re.Match[str], int], Graph]] = {
    r"(?P<op>\w+)/(?P<dims>\w+=\d+(?: \w+=\d+)*)": _neusight,
    r"(?P<kind>\w+)/(?P<c_in>\d+)-(?P<c_out>\d+)-(?P<height>\d+)x(?P<width>\d+)-k(?P<kernel>\d+)"
    r"-s(?P<stride>\d+)-f(?P<fused>\d)": _tinynas,
}


# --- the corpus -------------------------------------------------------------------------------

# Ends the name of a network whose branches are merged; of others merged and plain are the same.
MERGED = "/merged"


def _of_corpus(
    keys: Sequence[Key],
) -> tuple[list[Networks], list[Key], list[str], dict[str, str]]:
    """Networks of the corpus, their keys and names there, and why others are not found."""
    corpus = read_corpus()
    named = {
        key: next((n for n in (key.name, key.name.removesuffix(MERGED)) if n in corpus), None)
        for key in keys
    }
    missing = {key.name: "it is not in the corpus" for key in keys if named[key] is None}
    parts, order, names = [], [], []
    for runtime, precision in dict.fromkeys((key.runtime, key.precision) for key in keys):
        own = [
            (key, n)
            for key, n in named.items()
            if (key.runtime, key.precision) == (runtime, precision) and n is not None
        ]
        if own:
            # By the name under which campaigns quantize.
            fuses_as = FUSES_AS.get(runtime, public_runtime(runtime))
            batches = [key.batch for key, _ in own]
            called = [corpus.names[corpus.place(n)] for _, n in own]
            parts.append(corpus.networks(called, fuses_as, batches, precision))
            order += [key for key, _ in own]
            names += called
    return parts, order, names, missing
