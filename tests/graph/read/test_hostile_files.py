"""Damaged and hostile files of every format: a graph or a clear error, soon, in little memory.

Changes of ONNX models node by node are in ``test_onnx_reader_fuzz.py``.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import resource
import signal
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from latcast.graph import Graph, GraphBuilder, fuse
from latcast.graph.inspection import Inspection
from latcast.graph.read import as_onnx, read_graph
from latcast.graph.read.ncnn import read_ncnn
from latcast.graph.write.ncnn import to_ncnn
from latcast.graph.write.onnx import to_onnx

# The same files in every run, but at night, when `make nightly` numbers its runs and reads more.
RUN = int(os.environ.get("LATCAST_FUZZ_RUN", "0"))
FILES = 500 if RUN else 32
# Of processor time, which other work does not use up, and of memory beyond what the tests have.
MAX_SECONDS, MAX_BYTES, MAX_MESSAGE = 20, 2**30, 700

NUMBERS = (
    0, -1, 1, 7, 1_000, 2**31 - 1, 2**31, -(2**31), 2**53, 2**62, -(2**63), 10**30,
    float("nan"), float("inf"), 1e308, -0.5,
)  # fmt: skip
WORDS = (
    "",
    "-233",
    "1e999",
    "٣",
    "1_0",
    "0x10",
    "in0",
    "None",
    "a" * 10_000,
    "\x00",
    "-",
    ",",
    "1," * 5_000,
)


def network() -> Graph:
    b = GraphBuilder()
    x = b.conv_norm(b.input(3, 17, 15), 16, 3, "h_swish", stride=2)
    y = b.squeeze_excitation(b.depthwise(x, 5, 1, "relu6"), 8, gate="h_sigmoid")
    x = b.add(x, b.conv_norm(y, 16, 1))
    x = b.channel_shuffle(b.max_pool(x, 3, stride=2, padding=1), 2)
    return b.build(b.classifier(x, 5))


# A file, and what lies beside it.
Files = tuple[bytes, bytes]

# -- files that are fine -------------------------------------------------------------------------


def _onnx() -> Files:
    """With its weights in a file beside it."""
    model = onnx.load_from_string(to_onnx(network()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "net.onnx")
        onnx.save_model(
            model, file, save_as_external_data=True, location="net.bin", size_threshold=64
        )
        return file.read_bytes(), file.with_suffix(".bin").read_bytes()


def _ncnn() -> Files:
    """The network, and operators that it lacks."""
    lines = to_ncnn(network())[0].strip().split("\n")
    first = lines[2].split()[4]
    more = (
        "Split s_ 1 9 @ s0 s1 s2 s3 s4 s5 s6 s7 s8", "Permute p_ 1 1 s0 p_ 0=3",
        "Reshape r_ 1 1 s1 r_ 0=15 1=-1", "Crop c_ 1 1 s2 c_ -23309=1,1 -23310=1,-233 -23311=1,2",
        "Reduction d_ 1 1 s3 d_ 0=3 1=0 -23303=2,1,2 4=0", "Interp i_ 1 1 s4 i_ 0=2 1=2.0 2=2.0",
        "Slice l_ 1 2 s5 l0 l1 -23300=2,-233,-233 1=1", "LSTM t_ 1 1 r_ t_ 0=8 1=960 2=2",
        "Pooling q_ 1 1 s6 q_ 0=0 1=3 2=2 5=1", "Deconvolution e_ 1 1 s7 e_ 0=2 1=2 3=2 5=1 6=24",
        "Padding a_ 1 1 s8 a_ 0=1 1=2 2=3 3=4 4=0", "MyOp m_ 1 1 a_ m_ -23330=4,3,32,8,3",
    )  # fmt: skip
    text = "\n".join([*lines, *(x.replace("@", first) for x in more), ""])
    return text.encode(), to_ncnn(network())[1] + bytes(20_000)


def _openvino() -> Files:
    ov = pytest.importorskip("openvino")
    with tempfile.TemporaryDirectory() as folder:
        source, file = Path(folder, "net.onnx"), Path(folder, "net.xml")
        source.write_bytes(to_onnx(network()))
        ov.save_model(ov.convert_model(source), file, compress_to_fp16=False)
        return file.read_bytes(), file.with_suffix(".bin").read_bytes()


def _tflite() -> Files:
    pytest.importorskip("ai_edge_litert")
    from latcast.graph.write.tflite import to_tflite

    return to_tflite(network()), b""


def _pytorch() -> Files:
    torch = pytest.importorskip("torch")
    from latcast.graph.write.pytorch import to_pytorch

    content = io.BytesIO()
    torch.export.save(
        torch.export.export(to_pytorch(network()).eval(), (torch.zeros(1, 3, 17, 15),)), content
    )
    return content.getvalue(), b""


# -- what is done to them ----------------------------------------------------------------------


def _bytes(content: bytes, rng: random.Random) -> bytes:
    """Cut off, with bytes changed, or a part of it repeated."""
    damaged = bytearray(content)
    for _ in range(rng.choice([0, 1, 1, 2, 4, 30])):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    at = rng.randrange(len(damaged))
    match rng.randrange(4):
        case 0:
            del damaged[at:]
        case 1:
            damaged[at:at] = damaged[at : at + rng.randrange(200)] * rng.choice([1, 50])
    return bytes(damaged)


def _words(content: bytes, rng: random.Random) -> bytes:
    """Words of a text swapped, or replaced by numbers that no file has."""
    words = re.split(r"([\s=,\"<>/]+)", content.decode())
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = 2 * rng.randrange(len(words) // 2)
        if rng.random() < 0.5:  # numbers matter most
            numbers = [n for n, x in enumerate(words) if x.lstrip("-").isdigit()]
            at = rng.choice(numbers)
        words[at] = rng.choice(
            [str(rng.choice(NUMBERS)), rng.choice(WORDS), rng.choice(words[::2])]
        )
    return "".join(words).encode()


def _lines(content: bytes, rng: random.Random) -> bytes:
    """Lines of a text missing, twice, in another order, or 2,000 times."""
    lines = content.decode().split("\n")
    at, to = sorted(rng.sample(range(1, len(lines)), 2))
    match rng.randrange(5):
        case 0:
            lines[at], lines[to] = lines[to], lines[at]
        case 1:
            del lines[at : min(to, at + 5)]
        case 2:
            lines[to:to] = lines[at : at + 5]
        case 3:
            lines[to:to] = [lines[at]] * 2_000
        case 4:
            lines[2:] = reversed(lines[2:])
    return "\n".join(lines).encode()


def _markup(content: bytes, rng: random.Random) -> bytes:
    """Entities that multiply, a document in a document, and layers that read each other."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 30))
    deep = b"<a>" * rng.choice([100, 100_000])
    bomb = f'<!DOCTYPE net [<!ENTITY e0 "x">{entities}]>'.encode()
    outside = b'<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    start = content.index(b"<net")
    match rng.randrange(5):
        case 0:
            return content[:start] + rng.choice([bomb, outside]) + content[start:]
        case 1:
            return content.replace(b"<layers>", b"<layers>" + deep)
        case 2:
            return content.replace(b'from-layer="', b'from-layer="1', rng.choice([1, 5]))
        case 3:
            return content.replace(b"<dim>", b"<dim>1</dim><dim>" * rng.choice([1, 3_000]), 2)
    return content[start:].decode().encode(rng.choice(["utf-16", "utf-7", "cp500"]))


def _offsets(content: bytes, rng: random.Random) -> bytes:
    """Numbers of four bytes, most of them offsets and lengths, changed in the first part."""
    damaged, end = bytearray(content), rng.choice([64, 2_000, len(content)])
    for _ in range(rng.choice([1, 1, 2, 6])):
        at = 4 * rng.randrange(2, min(end, len(content) - 4) // 4)
        (old,) = struct.unpack_from("<i", damaged, at)
        new = rng.choice([0, -1, 2**31 - 1, -(2**31), old + 4 * rng.randrange(-9, 9), old * 2])
        struct.pack_into("<i", damaged, at, max(-(2**31), min(new, 2**31 - 1)))
    return bytes(damaged)


def _tree(content: bytes, rng: random.Random) -> bytes:
    """The JSON in an archive with values replaced, moved, missing, deeply nested or repeated."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("models/model.json"))
        record = json.loads(archive.read(name))
    for _ in range(rng.choice([1, 1, 2, 4])):
        places = [p for p in _places(record["graph_module"]) if rng.random() < 0.2] or [
            (record, "graph_module")
        ]
        (to, key), (source, other) = rng.choice(places), rng.choice(places)
        match rng.randrange(6):
            case 0 | 1:
                to[key] = rng.choice([*NUMBERS, *WORDS, None, [], {}, [[]], True])
            case 2:
                to[key] = deepcopy(source[other])
            case 3:
                del to[key]
            case 4:
                to[key] = [deepcopy(source[other])] * 300
            case 5:
                to[key] = "DEEP"
    deep = "[" * (n := rng.choice([50, 900, 100_000])) + "]" * n
    return _zipped(name, json.dumps(record).replace('"DEEP"', deep).encode())


def _places(tree: Any) -> list[tuple[Any, Any]]:
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    return [x for key, value in items for x in ((tree, key), *_places(value))]


def _zipped(name: str, text: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return file.getvalue()


Change = Callable[[bytes, random.Random], bytes]
# Format -> suffix, a file that is fine, and what is done to it.
FORMATS: dict[str, tuple[str, Callable[[], Files], tuple[Change, ...]]] = {
    "onnx": (".onnx", _onnx, (_bytes,)),
    "ncnn": (".param", _ncnn, (_bytes, _words, _words, _lines)),
    "openvino": (".xml", _openvino, (_bytes, _words, _words, _lines, _markup)),
    "tflite": (".tflite", _tflite, (_bytes, _offsets, _offsets)),
    "pytorch": (".pt2", _pytorch, (_bytes, _tree, _tree, _tree)),
}

# How they are called.
TITLES = {
    "onnx": "ONNX", "ncnn": "ncnn (.param)", "openvino": "OpenVINO (.xml)",
    "tflite": "TensorFlow Lite (.tflite)", "pytorch": "PyTorch (.pt2)",
}  # fmt: skip


@cache
def sound(name: str) -> Files:
    return FORMATS[name][1]()


def hostile(name: str, seed: int) -> Files:
    rng, changes = random.Random(seed), FORMATS[name][2]
    content, beside = sound(name)
    if rng.random() < 0.1:
        beside = _bytes(beside or b"0", rng)
    return changes[seed % len(changes)](content, rng), beside


@pytest.fixture(autouse=True)
def bounds() -> Iterator[None]:
    """An hour of work, or memory without end, fails the test and not the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGVTALRM, _late)
    resource.setrlimit(resource.RLIMIT_AS, (now + MAX_BYTES, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _late(*_: object) -> None:
    pytest.fail(f"it must end within {MAX_SECONDS} s")


def check(name: str, files: Files, folder: Path, label: object) -> bool:
    """Whether the file is a graph, of which everything can be told; if not, its error is clear."""
    path = folder / f"net{FORMATS[name][0]}"
    path.write_bytes(files[0])
    path.with_suffix(".bin").write_bytes(files[1])
    message = ""
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_SECONDS)
    try:
        graph = read_graph(path)
        Inspection.of(graph).busiest(3).to_json()
        fuse(graph)
    except ValueError as error:
        message = f"{type(error).__module__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    assert not message or message.partition(".")[0].startswith(("builtins: ", "latcast"))
    assert not message or 20 < len(message) < MAX_MESSAGE, (label, message)
    assert message.replace("\n", "").isprintable(), (label, message)
    return not message


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_a_hostile_file_gives_a_graph_or_a_clear_error(name: str, tmp_path: Path) -> None:
    assert check(name, sound(name), tmp_path, "as it was written")
    seeds = range(RUN * FILES, (RUN + 1) * FILES)
    read = [check(name, hostile(name, seed), tmp_path, (name, seed)) for seed in seeds]
    assert 0 < sum(read) < FILES


# -- files made to hurt ----------------------------------------------------------------------------


def _field(number: int, content: bytes) -> bytes:
    """A field of protobuf that has its length before it."""
    length, out = len(content), bytearray([number << 3 | 2])
    while length > 127:
        out.append(length & 127 | 128)
        length >>= 7
    return bytes(out) + bytes([length]) + content


def _nested(depth: int) -> bytes:
    """A model whose node has a graph as an attribute, whose node has a graph, …."""
    graph = _field(1, b"")
    for _ in range(depth):
        graph = _field(1, _field(5, _field(6, graph)))
    return _field(7, graph)


def _onnx_of(shape: list[int], nodes: int = 1) -> bytes:
    """A chain of ReLUs on an input of a shape."""
    info = helper.make_tensor_value_info
    made = [helper.make_node("Relu", [f"x{n}"], [f"x{n + 1}"]) for n in range(nodes)]
    ends = [info("x0", 1, shape)], [info(f"x{nodes}", 1, None)]
    return bytes(helper.make_model(helper.make_graph(made, "g", *ends)).SerializeToString())


def _ncnn_of(*lines: str) -> bytes:
    return "\n".join(["7767517", f"{len(lines)} 9", *lines, ""]).encode()


_ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 30))
_LARGE = 2**62
BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "graphs in graphs": ("onnx", lambda: _nested(90)),
    "graphs deeper than a stack": ("onnx", lambda: _nested(20_000)),
    "more empty nodes than any model has": ("onnx", lambda: _field(7, b"\x0a\0" * 2_100_000)),
    "a shape beyond any machine": ("onnx", lambda: _onnx_of([_LARGE, _LARGE])),
    "an operator of too many axes": ("onnx", lambda: _onnx_of([1] * 10_000)),
    "a length beyond the file": ("onnx", lambda: b"\x3a" + b"\xff" * 9 + b"\x01"),
    "brackets": ("pytorch", lambda: _zipped("net/models/model.json", b"[" * 200_000_000)),
    "empty lists": ("pytorch", lambda: _zipped("net/models/model.json", b"[]," * 60_000_000)),
    "blanks": ("pytorch", lambda: _zipped("net/models/model.json", b" " * 200_000_000)),
    "a number of a million digits": ("pytorch", lambda: _zipped(
        "net/models/model.json", b'{"graph_module": %s}' % (b"9" * 10**6))),
    "entities": ("openvino", f"<!DOCTYPE net [{_ENTITIES}]><net>&e29;</net>".encode),
    "elements in elements": ("openvino", lambda: b"<net>" + b"<a>" * 10**6),
    "an attribute of megabytes": ("openvino", lambda: b'<net name="%s"/>' % (b"x" * 10**7)),
    "layers that wait for each other": ("openvino", lambda: (
        b'<net><layers><layer id="0" name="a" type="Relu"/><layer id="1" name="b" type="Relu"/>'
        b'</layers><edges><edge from-layer="0" from-port="1" to-layer="1" to-port="0"/>'
        b'<edge from-layer="1" from-port="1" to-layer="0" to-port="0"/></edges></net>')),
    "blobs without number": ("ncnn", lambda: _ncnn_of(f"Split s 0 {_LARGE} a b")),
    "sides beyond any machine": ("ncnn", lambda: _ncnn_of(
        f"Input i 0 1 a 0={_LARGE} 1={_LARGE} 2=3", "ReLU r 1 1 a b")),
    "weights beyond any file": ("ncnn", lambda: _ncnn_of(
        "Input i 0 1 a 0=9 1=9 2=3", f"Convolution c 1 1 a b 0={2**40} 1=3 6={_LARGE}")),
    "a blob that reads itself": ("ncnn", lambda: _ncnn_of("ReLU r 1 1 a a")),
    "slices without end": ("ncnn", lambda: _ncnn_of(
        "Input i 0 1 a 0=9 1=9 2=3", "Slice s 1 1 a b -23300=1000000000" + ",1" * 10**5)),
    "a table of itself": ("tflite", lambda: struct.pack("<I4sI", 8, b"TFL3", 0) * 100),
    "a vector beyond the file": ("tflite", lambda: struct.pack(
        "<I4sHHHHHHiIII", 20, b"TFL3", 12, 8, 0, 0, 4, 0, 12, 4, 2**31 - 1, 0)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_made_to_hurt_ends_in_a_clear_error(bomb: str, tmp_path: Path) -> None:
    name, content = BOMBS[bomb]
    if name == "tflite":
        pytest.importorskip("ai_edge_litert")
    assert not check(name, (content(), b""), tmp_path, bomb)


@pytest.mark.slow
def test_a_side_without_end_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(sound("pytorch")[0])) as archive:
        name = next(n for n in archive.namelist() if n.endswith("models/model.json"))
        text = archive.read(name).replace(b'"as_int": 17', b'"as_int": Infinity')
    assert not check("pytorch", (_zipped(name, text), b""), tmp_path, "infinity")


@pytest.mark.parametrize("start", range(0, 200, 5))
def test_a_damaged_archive_is_refused(start):
    whole = bytearray(_zipped("net/models/model.json", b'{"a": 1}'))
    whole[start % len(whole)] ^= 0xFF
    with pytest.raises(ValueError, match=r"\S"):
        read_graph(b"PK\3\4" + bytes(whole[4:]))


def test_weights_that_are_counted_below_0_are_refused():
    text = b"7767517\n2 2\nInput in0 0 1 in0 0=6 1=5 2=4\nConvolution c 1 1 in0 a 0=8 1=3 6=-96\n"
    with pytest.raises(ValueError, match="weights must be counted from 0; got -144"):
        read_ncnn(text)


def test_a_constant_beyond_the_file_of_weights_is_refused(tmp_path):
    ov = pytest.importorskip("openvino")
    from openvino import opset13 as ops

    x = ops.parameter([1, 64], np.float32, name="x")
    product = ops.matmul(x, ops.constant(np.ones((64, 64), np.float32)), False, False)
    ov.save_model(ov.Model([product], [x], "net"), tmp_path / "net.xml", compress_to_fp16=False)
    weights = tmp_path / "net.bin"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"constants must lie inside of net\.bin; one does not"):
        as_onnx(tmp_path / "net.xml")


def test_errors_are_short_whatever_a_file_names():
    name = "x" * 5000
    value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3])
    node = helper.make_node("Relu", [name], ["y"])
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])
    model = helper.make_model(helper.make_graph([node], "g", [value], [end]))
    with pytest.raises(ValueError, match="side 1 of input") as error:
        read_graph(onnx.ModelProto.SerializeToString(model), shapes={name: (2, 4)})
    assert len(str(error.value)) <= 601


@pytest.mark.parametrize("seed", [3833, 5813])
def test_an_axis_of_a_tensor_that_has_none_is_refused(seed: int, tmp_path: Path) -> None:
    assert not check("tflite", hostile("tflite", seed), tmp_path, seed)
