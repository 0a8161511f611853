"""Programs in files that :func:`torch.export.save` wrote, read without PyTorch.

The file is a zip whose graph is JSON (see ``torch/_export/serde/schema.py``). PyTorch's own
loader opens pickles beside it and evaluates the shapes' expressions, either of which can run
code; nothing of that is needed here, and nothing of it is done.
"""

from __future__ import annotations

import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from latcast._limits import MAX_GRAPH_BYTES, MAX_NODES, MAX_UNPACKED_RATIO

from ._program import Call, CallGraph, Program, Ref, Side, Tensor, tensor_names

# What zipfile raises of a file that is damaged, encrypted or compressed in another way.
_BROKEN = (
    zipfile.BadZipFile, NotImplementedError, EOFError, OSError, zlib.error, lzma.LZMAError,
    struct.error,
)  # fmt: skip
# Bit of an entry that is encrypted.
_ENCRYPTED = 1
# Version of the schema that is read.
_MAJOR_VERSION = 8

# Code of an element type -> PyTorch's name, and bytes.
_TYPES: dict[int, tuple[str, int]] = {
    1: ("uint8", 1), 2: ("int8", 1), 3: ("int16", 2), 4: ("int32", 4), 5: ("int64", 8),
    6: ("float16", 2), 7: ("float32", 4), 8: ("float64", 8), 9: ("complex32", 4),
    10: ("complex64", 8), 11: ("complex128", 16), 12: ("bool", 1), 13: ("bfloat16", 2),
    28: ("uint16", 2), 29: ("float8_e4m3fn", 1), 30: ("float8_e5m2", 1),
    31: ("float8_e4m3fnuz", 1), 32: ("float8_e5m2fnuz", 1), 33: ("float8_e8m0fnu", 1),
    34: ("uint32", 4), 35: ("uint64", 8),
}  # fmt: skip

# A command's error is one line: the first statement ends so that the second may follow it there.
_SAVED = (
    (
        "a pickle of torch.save, which could run code when it is opened: export it (or build it, "
        "and load its state) with"
    ),
    'module = torch.load("{0}", weights_only=False).eval();',
    'torch.export.save(torch.export.export(module, (torch.zeros(1, 3, 224, 224),)), "{1}.pt2")',
)
# What else PyTorch writes: what it is, and the two lines that export it.
_SCRIPTED = (
    "a TorchScript archive, of Python's code: export it with",
    'module = torch.jit.load("{0}").eval();',
    'torch.onnx.export(module, (torch.zeros(1, 3, 224, 224),), "{1}.onnx", dynamo=False)',
)


def read_archive(file: Path | bytes) -> Program:
    """The program in a ``.pt2`` file, or in its bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no exported program, one of another version, or it is broken.
    """
    name = "the model" if isinstance(file, bytes) else file.name
    try:
        with (
            BytesIO(file) if isinstance(file, bytes) else file.open("rb") as opened,
            zipfile.ZipFile(opened) as archive,
        ):
            text = _graph_text(archive, name)
        return _program(json.loads(text))
    except (FileNotFoundError, _OtherFormatError):
        raise
    except _BROKEN as error:
        raise ValueError(_other(name, _SAVED)) from error
    except (
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        ValueError,
    ) as error:
        raise ValueError(f"{name} holds no graph that can be read: {reason(error)}") from error


class _OtherFormatError(ValueError):
    """The file is none of torch.export."""


def _other(name: str, lines: tuple[str, ...]) -> str:
    stem = Path(name).stem if Path(name).suffix else "model"
    told = "\n  ".join(line.format(name, stem) for line in lines)
    return f"{name} must be a file of torch.export.save; it may be {told}"


def reason(error: Exception) -> str:
    """The message of an error, in one line that is not long whatever a file holds."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__} {said[:300]}" if isinstance(error, KeyError) else said[:300]


def _graph_text(archive: zipfile.ZipFile, name: str) -> bytes:
    """The JSON of the only model in an archive, of the present layout or of the one before."""
    graphs = [
        info
        for info in archive.infolist()
        if info.filename == "serialized_exported_program.json"
        or PurePosixPath(info.filename).match("models/*.json")
    ]
    inside = {PurePosixPath(info.filename).name for info in archive.infolist()}
    if not graphs and "data.pkl" in inside:
        raise _OtherFormatError(
            _other(name, _SCRIPTED if "constants.pkl" in inside else _SAVED).replace("may be", "is")
        )
    if len(graphs) != 1:
        raise ValueError(f"it must hold one model; it holds {len(graphs)}")
    most = min(MAX_GRAPH_BYTES, max(1, graphs[0].compress_size) * MAX_UNPACKED_RATIO)
    if graphs[0].file_size > most or graphs[0].flag_bits & _ENCRYPTED:
        raise ValueError(
            f"a graph must be plain, and have at most {most} bytes; got {graphs[0].file_size}"
        )
    return archive.read(graphs[0])


def _program(record: Mapping[str, Any]) -> Program:
    version = record["schema_version"]["major"]
    if version != _MAJOR_VERSION:
        raise ValueError(
            f"its schema must be of version {_MAJOR_VERSION}, as PyTorch 2.13 writes it; "
            f"got {version}"
        )
    module = record["graph_module"]
    parameters: dict[str, str] = {}
    constants: set[str] = set()
    inputs: list[str] = []
    for spec in module["signature"]["input_specs"]:
        ((kind, value),) = spec.items()
        if kind == "parameter":
            parameters[value["arg"]["name"]] = value["parameter_name"]
        elif kind == "user_input":
            inputs += _tensor_names(value["arg"])
        elif "arg" in value and "name" in value["arg"]:
            constants.add(value["arg"]["name"])
    outputs = [
        name
        for spec in module["signature"]["output_specs"]
        if "user_output" in spec
        for name in _tensor_names(spec["user_output"]["arg"])
    ]
    graph = _graph(module["graph"])
    return Program(
        CallGraph(tuple(inputs), tuple(outputs), graph.calls, graph.tensors),
        parameters,
        frozenset(constants),
    )


def _graph(record: Mapping[str, Any]) -> CallGraph:
    if max(len(record["nodes"]), len(record["tensor_values"]) // 4) > MAX_NODES:
        raise ValueError(f"a graph must have at most {MAX_NODES} nodes; it has more")
    return CallGraph(
        tuple(n for x in record["inputs"] for n in _tensor_names(x)),
        tuple(n for x in record["outputs"] for n in _tensor_names(x)),
        tuple(_call(n, node) for n, node in enumerate(record["nodes"])),
        {name: _tensor(meta) for name, meta in record["tensor_values"].items()},
    )


def _call(position: int, node: Mapping[str, Any]) -> Call:
    outputs = tuple(n for x in node["outputs"] for n in _tensor_names(x))
    arguments = {x["name"] or str(n): _argument(x["arg"]) for n, x in enumerate(node["inputs"])}
    stack = str(node.get("metadata", {}).get("nn_module_stack", "")).split(";")[-1].split(",")
    name = node.get("name") or (outputs[0] if outputs else f"call_{position}")
    target = str(node["target"]).removeprefix("torch.ops.")
    return Call(str(name), target, arguments, outputs, stack[1] if len(stack) > 2 else "")


def _tensor_names(argument: Mapping[str, Any]) -> list[str]:
    """Names of the tensors of an argument; what is none has no names."""
    return tensor_names(_argument(argument))


_PLAIN = ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_string")
# Kind of a list -> kind of its elements.
_LISTS = {
    "as_tensors": "as_tensor",
    "as_nested_tensors": "as_tensors",
    "as_sym_ints": "as_sym_int",
}


def _argument(argument: Mapping[str, Any]) -> Any:
    """An argument: a tagged union, as ``{"as_ints": [1, 1]}``; None for what does not matter."""
    ((kind, value),) = argument.items()
    result = value if kind in _PLAIN else None
    if kind == "as_tensor":
        result = Ref(str(value["name"]))
    elif kind in _LISTS:
        result = [_argument({_LISTS[kind]: v}) for v in value]
    elif kind == "as_optional_tensor":
        result = _argument(value)
    elif kind == "as_optional_tensors":
        result = [_argument(v) for v in value]
    elif kind == "as_graph":
        result = _graph(value["graph"])
    elif kind == "as_sym_int":
        result = value.get("as_int")
    return result


def _tensor(meta: Mapping[str, Any]) -> Tensor:
    if meta["dtype"] not in _TYPES:
        raise ValueError(f"element type {meta['dtype']!r} is not known")
    name, size = _TYPES[meta["dtype"]]
    return Tensor(tuple(_side(s) for s in meta["sizes"]), name, size)


def _side(side: Mapping[str, Any]) -> Side:
    return int(side["as_int"]) if "as_int" in side else str(side["as_expr"]["expr_str"])
