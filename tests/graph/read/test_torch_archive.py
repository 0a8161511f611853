"""Exported programs in files: read as they are in memory, and never executed."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latcast.graph.read import read_graph
from latcast.graph.read.pytorch import read_pytorch
from latcast.graph.read.pytorch._program import evaluate

torch = pytest.importorskip("torch")
nn = torch.nn


class Net(nn.Module):  # type: ignore[misc, name-defined]  # torch is optional
    """A bit of everything that a file says in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.table = nn.Parameter(torch.ones(1, 36, 8))
        self.register_buffer("order", torch.arange(36).flip(0))
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = self.act(self.norm(self.conv(x)))
        a, b = x.chunk(2, 1)
        x = torch.cat([b, a.clamp(0, 6)], 1).flatten(2).transpose(1, 2)
        with torch.no_grad():
            y = x + self.table[:, self.order]
        y, _ = self.attention(y, y, y, need_weights=False)
        return self.linear(y.mean(1)), y.topk(2, 1)[1]


@pytest.fixture(scope="module")
def program() -> Any:
    with torch.no_grad():
        return torch.export.export(
            Net().eval(),
            (torch.zeros(2, 3, 6, 6),),
            dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
            strict=False,
        )


@pytest.fixture(scope="module")
def path(program: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("programs") / "net.pt2"
    torch.export.save(program, file)
    return file


def changed(path: Path, to: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A file whose graph has been changed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("models/model.json"):
                record = json.loads(content)
                change(record)
                content = json.dumps(record).encode()
            new.writestr(info.filename, content)
    return to


@pytest.mark.slow
def test_a_file_is_read_as_the_program_is(program: Any, path: Path) -> None:
    for batch in (None, 1, 5):
        graph = read_graph(path, batch=batch)
        assert graph == read_graph(program, batch=batch).named("net")
        assert graph.layers[0].out_shapes == ((batch or 1, 8, 6, 6),)
    assert read_pytorch(str(path)).name == "net"
    assert not graph.unsupported
    assert graph.params == sum(p.numel() for p in Net().parameters())
    assert len(graph.outputs) == 2


@pytest.mark.slow
def test_the_layout_of_earlier_files(path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(path) as new, zipfile.ZipFile(tmp_path / "net.pt2", "w") as old:
        content = new.read("net/models/model.json")
        old.writestr("serialized_exported_program.json", content)
        old.writestr("version", "8.8")
    assert read_pytorch(tmp_path / "net.pt2") == read_pytorch(path)


def test_a_file_needs_no_pytorch(path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from latcast.graph.read import read_graph\n"
        f"print(read_graph({str(path)!r}, batch=2).macs)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == read_graph(path, batch=2).macs


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was opened",))


def test_nothing_in_a_file_is_executed(path: Path, tmp_path: Path) -> None:
    """Neither pickles beside the graph nor expressions in it, which PyTorch would evaluate."""
    trap = tmp_path / "trap"

    def set_trap(record: dict[str, Any]) -> None:
        for name, tensor in _graph(record)["tensor_values"].items():
            for side in tensor["sizes"]:
                if "as_expr" in side and name != "x":
                    side["as_expr"]["expr_str"] = f"open({str(trap)!r}, 'w').close()"

    with zipfile.ZipFile(changed(path, tmp_path / "evil.pt2", set_trap), "a") as archive:
        archive.writestr("net/data/constants/obj.pt", pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"open\(.* is not understood; known: Integer"):
        read_graph(tmp_path / "evil.pt2", batch=2)
    assert not trap.exists()


def test_other_files_are_refused(path: Path, tmp_path: Path) -> None:
    torch.save(Net().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(
        ValueError, match=r"weights.pt .* is a pickle of torch.save, .*: export it .*with"
    ):
        read_pytorch(tmp_path / "weights.pt")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match=r"old.pth must be a file of torch\.export\.save"):
        read_pytorch(tmp_path / "old.pth")
    with pytest.raises(FileNotFoundError):
        read_pytorch(tmp_path / "none.pt2")

    def set_version(record: dict[str, Any]) -> None:
        record["schema_version"]["major"] = 9

    with pytest.raises(ValueError, match=r"must be of version 8, .* got 9"):
        read_pytorch(changed(path, tmp_path / "new.pt2", set_version))


def _graph(record: dict[str, Any]) -> dict[str, Any]:
    graph: dict[str, Any] = record["graph_module"]["graph"]
    return graph


def _huge_side(record: dict[str, Any]) -> None:
    _graph(record)["tensor_values"]["conv2d"]["sizes"][1] = {"as_int": 2**62}


def _negative_side(record: dict[str, Any]) -> None:
    _graph(record)["tensor_values"]["conv2d"]["sizes"][1] = {"as_int": -3}


def _tower(record: dict[str, Any]) -> None:
    power = "Pow(Integer(9), Integer(9999999999))"
    side = {"as_expr": {"expr_str": power, "hint": None}}
    _graph(record)["tensor_values"]["conv2d"]["sizes"][0] = side


def _deep_side(record: dict[str, Any]) -> None:
    deep = "Add(" * 2_000 + "1" + ")" * 2_000
    _graph(record)["tensor_values"]["conv2d"]["sizes"][0] = {"as_expr": {"expr_str": deep}}


def _cycle(record: dict[str, Any]) -> None:
    conv = next(n for n in _graph(record)["nodes"] if "conv2d" in n["target"])
    conv["inputs"][0]["arg"]["as_tensor"]["name"] = "relu_"


def _given_twice(record: dict[str, Any]) -> None:
    nodes = _graph(record)["nodes"]
    nodes.append(nodes[1])


def _no_groups(record: dict[str, Any]) -> None:
    conv = next(n for n in _graph(record)["nodes"] if "conv2d" in n["target"])
    conv["inputs"].append({"name": "groups", "arg": {"as_int": 0}, "kind": 1})


def _flat_image(record: dict[str, Any]) -> None:
    _graph(record)["tensor_values"]["p_conv_weight"]["sizes"] = [{"as_int": 8}]


def _other_type(record: dict[str, Any]) -> None:
    _graph(record)["tensor_values"]["x"]["dtype"] = 99


def _no_graph(record: dict[str, Any]) -> None:
    record["graph_module"] = []


@pytest.mark.parametrize(
    "change",
    [
        _huge_side, _negative_side, _tower, _deep_side, _cycle, _given_twice, _no_groups,
        _flat_image, _other_type, _no_graph,
    ],
)  # fmt: skip
def test_broken_graphs_are_clear_errors(
    change: Callable[[dict[str, Any]], None], path: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"broken\.pt2") as caught:
        read_graph(changed(path, tmp_path / "broken.pt2", change), batch=2)
    assert len(str(caught.value)) < 500
    assert len(str(caught.value).splitlines()) == 1


def test_sides_are_whole_numbers_of_symbols() -> None:
    a, b = (f"Symbol('{s}', positive=True, integer=True)" for s in "ab")
    symbols = {"a": 7, "b": 3}
    assert evaluate(f"Add(Mul(Integer(2), {a}), Integer(-5))", symbols) == 9
    assert evaluate(f"FloorDiv({a}, {b})", symbols) == 2
    assert evaluate(f"Mod({a}, {b})", symbols) == 1
    assert evaluate(f"Max({a}, Pow({b}, Integer(2)))", symbols) == 9
    for wrong in (
        "",
        "a",
        "__import__('os')",
        "Integer",
        f"Pow({a}, Integer(-1))",
        f"{a}.x",
        "1.5",
        f"Mod({a}, Integer(0))",
        "Symbol('c')",
        "Max()",
        "Pow(Integer(9), Integer(60))",
    ):
        with pytest.raises(ValueError, match=r"cannot be computed|understood|below|exponent|value"):
            evaluate(wrong, symbols)
