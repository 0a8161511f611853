"""Networks by the names of packages, and what PyTorch saves in formats that are not read."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import types
import warnings

import pytest

from latcast import _imports
from latcast.graph.read import ReadOptions, is_network, names, read_graph

torch = pytest.importorskip("torch")
nn = torch.nn


class Net(nn.Module):
    def __init__(self, *, looks: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        self.default_cfg = {"input_size": (3, 32, 32)}
        self.rates = [x.item() for x in torch.linspace(0, 1, 2)] if looks else []

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))


@pytest.fixture
def timm(monkeypatch):
    """A package that stands for timm's, which is not installed for tests."""
    names = ["plain", "looks"]
    module = types.ModuleType("timm")
    module.is_model = names.__contains__
    module.list_models = lambda: names
    module.create_model = lambda name, pretrained: Net(looks=name == "looks")
    monkeypatch.setitem(sys.modules, "timm", module)


MACS = 32 * 32 * 8 * 27 + 40


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "looks"])
def test_a_network_has_the_sides_of_its_package(timm, name):
    graph = read_graph(f"timm:{name}")
    assert (graph.in_shape, graph.macs) == ((1, 3, 32, 32), MACS)
    assert graph.params == 8 * 27 + 8 + 45
    assert graph.name == name


def test_the_batch_and_other_sides_are_asked_for(timm):
    assert read_graph("timm:plain", batch=4).macs == 4 * MACS
    assert read_graph("timm:plain", batch=4).batch == 4
    assert read_graph("timm:plain", shapes={"x": (1, 3, 16, 32)}).in_shape == (1, 3, 16, 32)
    with pytest.raises(ValueError, match="inputs of the model: x"):
        read_graph("timm:plain", shapes={"y": (1, 3, 16, 32)})


def test_sides_are_asked_for_by_what_they_are_of(timm):
    """As in a sweep: the sides of images, or of any input by its position."""
    assert read_graph("timm:plain", shapes={"resolution": (16,)}).in_shape == (1, 3, 16, 16)
    assert read_graph("timm:plain", shapes={"x.3": (48,)}, batch=2).in_shape == (2, 3, 32, 48)
    with pytest.raises(ValueError, match="sequence must be a side of an input, of a text or sound"):
        read_graph("timm:plain", shapes={"sequence": (16,)})


@pytest.mark.parametrize(
    ("shape", "whole", "name", "wanted"),
    [
        ((1, 128), True, "sequence", [1, 64]),
        ((1, 16_000), False, "sequence", [1, 64]),
        ((1, 80, 3000), False, "sequence", [1, 80, 64]),
        ((1, 3, 16, 224, 224), False, "resolution", [1, 3, 16, 64, 64]),
    ],
)
def test_sides_of_texts_sounds_and_films(shape, whole, name, wanted):
    shapes, left = names._asked_shapes({"x": (shape, whole)}, ReadOptions(shapes={name: (64,)}))
    assert (shapes, left) == ({"x": wanted}, {})


def test_a_package_lists_its_networks(timm, latcast):
    assert latcast.json("models", "timm:pl")["networks"] == ["timm:plain"]
    assert "latcast predict timm:plain --device NAME" in latcast("models", "timm:").stdout
    assert "no network of timm is called 'x'" in latcast.error("models", "timm:x", code=2)
    assert "--card is of a model" in latcast.error("models", "timm:", "--card", "x.md", code=2)


def test_a_package_of_another_version_of_pytorch_is_told(monkeypatch):
    def fail(_):
        raise RuntimeError("operator torchvision::nms does not exist\n and a stack")

    versions = {"torchvision": "0.28.0", "torch": "2.12.0"}
    monkeypatch.setattr(_imports, "import_module", fail)
    monkeypatch.setattr(_imports, "_version", versions.get)
    with pytest.raises(ModuleNotFoundError) as told:
        _imports.require("torchvision", "models", "building torchvision:resnet18")
    assert str(told.value) == (
        "building torchvision:resnet18 needs torchvision; 0.28.0 is installed and cannot be loaded "
        "beside torch 2.12.0 (operator torchvision::nms does not exist): install versions that go "
        "together: pip install --upgrade torch torchvision"
    )
    with pytest.raises(RuntimeError):  # nothing is installed of that name: a defect of its own
        _imports.require("absent", "models", "x")


def test_what_cannot_be_exported_is_told_without_a_traceback(monkeypatch, caplog):
    """PyTorch logs one by itself, where a fake tensor cannot be of a shape."""

    def fail(*_, **__):
        logging.getLogger("torch").error("Traceback")
        raise RuntimeError("attempting to expand a dimension")

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(ValueError, match=r"must be able to export Net .* attempting to expand"):
        read_graph(Net(), shapes={"x": (1, 3, 5, 5)})
    assert not caplog.records
    logging.getLogger("torch").error("heard again")
    assert len(caplog.records) == 1


def test_what_no_package_has_is_an_error(timm, monkeypatch):
    with pytest.raises(ValueError, match="no network of timm is called 'plan'; did you mean 'pla"):
        read_graph("timm:plan")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'latcast\[models\]'"):
        read_graph("torchvision:resnet18")


def test_a_name_is_a_package_and_a_network(monkeypatch):
    assert all(map(is_network, ("timm:a", "transformers:folder/x", "a.xml", "b.pth")))
    assert not any(map(is_network, ("other:a", "arch.json", "timm")))
    for content, expected in ((b"\x08\x07ONNX", True), (b' {"ks": [3]}', False)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert is_network("-") is expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params"),
    [("torchvision:mobilenet_v2", 3504872), ("timm:resnet18", 11689512), ("transformers:distilbert",
     66362880)],
)  # fmt: skip
def test_published_networks_have_their_published_parameters(name, params):
    pytest.importorskip(name.partition(":")[0])
    assert read_graph(name).params == params


@pytest.mark.slow
def test_a_configuration_of_transformers_is_read(tmp_path):
    pytest.importorskip("transformers")
    config = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1,
              "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    graph = read_graph(f"transformers:{tmp_path}", shapes={"input_ids": (1, 16)})
    assert graph.macs > 16 * (4 * 32 * 32 + 2 * 32 * 64)


def saved(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(Net(), path)
    return path


def scripted(tmp_path):
    path = tmp_path / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Net().eval(), torch.zeros(1, 3, 32, 32)), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "kind"), [(saved, "a pickle of torch.save"), (scripted, "a TorchScript archive")]
)
def test_the_error_of_other_files_has_the_two_lines_that_export_them(
    tmp_path, monkeypatch, make, kind
):
    path = make(tmp_path)
    with pytest.raises(ValueError, match=f"must be a file of torch.export.save; it is {kind}") as e:
        read_graph(path)
    monkeypatch.chdir(tmp_path)
    lines = str(e.value).split("\n")[1:]
    assert len(lines) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # As a command prints them: in one line.
        exec(" ".join(x.strip() for x in lines).replace("224", "32"), {"torch": torch})
    (exported,) = {*tmp_path.glob("model.*")} - {path}
    assert read_graph(exported).macs == MACS


def test_a_file_of_no_known_format_is_an_error(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\1\2\3")
    formats = re.escape(".onnx, .pt2, .tflite, .param or .xml")
    with pytest.raises(ValueError, match=f"must be a file that ends in {formats}; got a.bin"):
        read_graph(tmp_path / "a.bin")
