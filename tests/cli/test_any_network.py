"""Networks out of files on the command line, end to end."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import infos, model

from latcast.data import Dataset
from latcast.devices import Target
from latcast.families import Variant
from latcast.graph import GraphBuilder
from latcast.graph.write.onnx import to_onnx
from latcast.models import Kernels, Roofline, zoo
from latcast.spaces import space

pytestmark = pytest.mark.slow

ARCH = {"ks": [3, 5] * 10, "e": [4] * 20, "d": [2, 3, 4, 3, 2], "r": [192]}
HOSTILE = '<script>alert("x")</script>\x1b[2J'


def on_target(model: Kernels, target: Target) -> Kernels:
    """The same model, of another target."""
    other = copy.deepcopy(model)
    other.fitted.target = target
    return other


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, layer_model: Kernels) -> Path:
    """Networks, and layer models: of an unknown device, and of one of the catalogue at batch 2."""
    path = tmp_path_factory.mktemp("any")
    layer_model.save(path / "one.latcast")
    epyc = Target("epyc-genoa-2c", "onnxruntime", batch=2, threads=1)
    on_target(layer_model, epyc).save(path / "two.latcast")
    variant = Variant.parse("squeezenet-1.1")
    (path / "squeezenet.onnx").write_bytes(variant.to_onnx())
    onnx.save(odd_network(), path / "odd.onnx")
    (path / "arch.json").write_text(json.dumps(ARCH))
    return path


def odd_network() -> onnx.ModelProto:
    """A convolution that is much wider than any known, then an operator that nobody knows."""
    weights = helper.make_tensor(
        "w", TensorProto.FLOAT, (20_000, 3, 1, 1), b"\0" * 240_000, raw=True
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name=HOSTILE),
        helper.make_node("Warp", ["a"], ["y"], name="w<b>arp", domain="com.example"),
    ]
    return model(
        nodes, {"x": ["batch", 3, "side", "side"]}, [weights], {"y": ["batch", 20_000, 8, 8]}
    )


@pytest.fixture
def shipped(tmp_path: Path, layer_model: Kernels, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped models of our own: two layer models of one device, one of another."""
    for name, target in (
        ("epyc-b1", Target("epyc-genoa-2c", "onnxruntime")),
        ("epyc-b2", Target("epyc-genoa-2c", "openvino", batch=2)),
        ("phone", Target("samsung-note10", "ncnn")),
    ):
        on_target(layer_model, target).save(tmp_path / f"{name}.layers.latcast")
    monkeypatch.setattr(zoo, "_folder", lambda: tmp_path)
    return tmp_path


SHAPE = ("--shape", "x=1x3x8x8")


def test_several_devices_of_different_batches(latcast: Any, folder: Path) -> None:
    arguments = ("predict", folder / "squeezenet.onnx")
    arguments += ("--device", folder / "one.latcast", "--device", folder / "two.latcast")
    one, two = latcast.json(*arguments)["devices"]
    assert (one["batch"], two["batch"]) == (1, 2)
    assert two["costs"]["macs"] == 2 * one["costs"]["macs"]
    assert two["per_sample_ms"] == pytest.approx(two["latency_ms"] / 2)
    assert two["specification"]["bandwidth_gb_s"] > 0
    assert one["specification"] is None
    run = latcast(*arguments)
    assert "batches differ (1, 2)" in run.stderr
    assert "A ms" in run.stdout
    assert "B ms" in run.stdout
    assert "ms/sample" in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 106
    assert latcast(*arguments, "--quiet").stderr == ""


def test_tables_of_one_device(latcast: Any, folder: Path) -> None:
    arguments = ("predict", folder / "squeezenet.onnx", "--device", folder / "two.latcast")
    text = latcast(*arguments).stdout
    assert "the 10 most expensive kernels" in text
    assert "every operator is supported" in text
    assert max(map(len, text.splitlines())) <= 102
    assert "the 3 most expensive kernels" in latcast(*arguments, "--layers", 3).stdout
    assert "most expensive" not in latcast(*arguments, "--layers", 0).stdout


def test_what_is_not_covered_is_said_by_name(latcast: Any, folder: Path) -> None:
    arguments = ("predict", folder / "odd.onnx", *SHAPE, "--device", folder / "one.latcast")
    record = latcast.json(*arguments)
    assert record["uncosted"] == {
        "layers": 1,
        "share": 0.5,
        "operators": [{"operator": "com.example::Warp", "layers": 1, "unknown": "operator"}],
    }
    device = record["devices"][0]
    assert 0 < device["uncosted_share"]["com.example::Warp"] < 1
    assert device["doubtful_share"] == pytest.approx(1)
    wide = next(d for d in device["doubts"] if d["kind"] == "conv")
    assert wide["subject"] == "output channels"
    assert wide["values"] == [20_000]
    text = latcast(*arguments).stdout
    assert "com.example::Warp" in text
    assert "output channels 20 k (seen: " in text
    assert all(c.isprintable() or c == "\n" for c in text)


def test_strict_is_about_unknown_costs_alone(latcast: Any, folder: Path) -> None:
    device = ("--device", folder / "one.latcast", "--strict")
    message = latcast.error("predict", folder / "odd.onnx", *SHAPE, *device, code=1)
    assert "com.example::Warp x 1" in message
    record = latcast.json("predict", folder / "squeezenet.onnx", *device)
    assert record["uncosted"]["layers"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("absent.onnx", "--device", "one.latcast"), 2, "no such file"),
        (("model.pb", "--device", "one.latcast"), 2, "must end in .onnx, .pt2"),
        (("odd.onnx", "--device", "one.latcast"), 1, "--shape"),
        (("odd.onnx", "--shape", "x=a", "--device", "one.latcast"), 2, "--shape must be like"),
        (("squeezenet.onnx", "--device", "rtx-20800"), 2, "did you mean"),
        (("squeezenet.onnx", "--device", "absent.latcast"), 2, "no such file"),
        (("squeezenet.onnx", "--device", "space.latcast"), 2, "needs a layer model"),
        (("squeezenet.onnx", "--device", "space.latcast"), 2, "predict best.json --device space"),
        (("squeezenet.onnx", "--device", "one.latcast", "--batch", "4"), 2, "model of batch 4"),
        (("squeezenet.onnx", "--device", "one.latcast", "--coverage", ".99"), 2, "ask for less"),
        (("squeezenet.onnx", "--device", "one.latcast", "--space", "fbnet"), 2, "leave it out"),
        (("arch.json", "--device", "tesla-p40", "--strict"), 2, "leave it out"),
        (("arch.json", "--device", "one.latcast"), 2, "architectures need a model of"),
        (("space.latcast", "--device", "one.latcast"), 2, "must end in"),
    ],
)
def test_wrong_usage(
    latcast: Any,
    folder: Path,
    synthetic: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    if not Path("space.latcast").exists():
        Roofline().fit(synthetic[:200]).save("space.latcast")
    assert message in latcast.error("predict", *arguments, code=code)


def test_models_lists_layer_models(latcast: Any, shipped: Path) -> None:
    assert "model of any network" in latcast("models").stdout
    names = {m["name"]: m for m in latcast.json("models")["models"]}
    assert names["phone"]["kind"] == "layers"
    assert "for networks of any kind" in latcast("models", "phone").stdout
    assert latcast.json("models", "samsung-note10")["target"] == "samsung-note10/ncnn/b1"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_page_escapes_what_files_say(latcast: Any, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run = latcast(
        "predict", folder / "odd.onnx", *SHAPE, "--device", folder / "one.latcast", "--html", page,
        "--json",
    )  # fmt: skip
    assert json.loads(run.stdout)["devices"]
    text = page.read_text(encoding="utf-8")
    found = _Tags()
    found.feed(text)
    assert found.tags.count("script") == 1  # the page's own, by its hash
    assert "svg" in found.tags
    assert '<script>alert("x")</script>' in "".join(found.text)
    assert "[batch, 3, side, side]" in found.text
    assert "\x1b" not in text
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    # Every element is closed where it must be.
    ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def test_a_page_that_cannot_be_written_costs_no_forecast(latcast: Any, folder: Path) -> None:
    network, device = folder / "squeezenet.onnx", folder / "one.latcast"
    page = folder / "absent" / "page.html"
    message = latcast.error("predict", network, "--device", device, "--html", page, code=1)
    assert "the folder of" in message


def test_train_evaluate_adapt_audit(latcast: Any, network_data: Dataset, tmp_path: Path) -> None:
    data, later = tmp_path / "data.parquet", tmp_path / "later.parquet"
    network_data[:27].save(data)
    network_data[27:].save(later)
    out = tmp_path / "m.latcast"
    trained = latcast.json("train", data, "--out", out)
    assert trained["predictor"] == "layers"
    assert trained["metrics"]["median_error"] < 10
    families = {"vgg", "squeezenet", "mobilenet-v1", "all"}
    assert set(trained["metrics_by_family"]) == families
    assert trained["metrics_by_family"]["all"]["within_25"] > 50
    card = latcast.json("models", out)["card"]
    assert card["metrics"] == trained["metrics"]
    assert card["data"][0]["source"] == "closed form"
    assert "on each family, by a model that had not seen it" in latcast("models", out).stdout

    scores = latcast.json("evaluate", out, later)
    assert scores["rows"] == 6
    assert scores["metrics"]["within_25"] == 100

    adapted = tmp_path / "adapted.latcast"
    result = latcast.json("adapt", out, later, "--samples", 3, "--out", adapted)
    assert (result["samples"], result["scored"], result["space"]) == (3, 3, None)
    assert "adapted from: layers model of" in latcast("models", adapted).stdout
    latcast.error("adapt", out, later, "--out", adapted, "--method", "last-layer", code=2)
    assert "the predictor is for" in latcast.error("evaluate", "tesla-p40", later, code=1)
    assert "the predictor is for rtx-3090" in latcast.error("evaluate", "rtx-3090", later, code=1)
    latcast.error("train", data, "--predictor", "mlp", "--out", out, code=2)

    assert latcast.json("audit", later)["issues"] == []
    assert "6 networks of 3 families" in latcast("audit", later).stdout


def test_networks_and_architectures_of_one_target_train_together(
    latcast: Any, network_data: Dataset, tmp_path: Path
) -> None:
    ofa = space("ofa-mobilenet-v3")
    archs = ofa.sample(12, 0, restrict={"r": [128]})
    latency_ms = ofa.costs(archs)["macs"].to_numpy() * 4e-8
    Dataset(archs, latency_ms, network_data.target).save(tmp_path / "archs.parquet")
    network_data[:12].save(tmp_path / "networks.parquet")
    out = tmp_path / "m.latcast"
    trained = latcast.json(
        "train", tmp_path / "networks.parquet", tmp_path / "archs.parquet", "--no-families",
        "--out", out,
    )  # fmt: skip
    assert trained["families"] == ["mobilenet-v1", "ofa-mobilenet-v3", "squeezenet", "vgg"]
    assert trained["metrics_by_family"] is None
    assert latcast.json("evaluate", out, tmp_path / "archs.parquet")["metrics"]["mape"] < 25
    other = Dataset(archs, latency_ms, Target("other", "simulator"))
    other.save(tmp_path / "other.parquet")
    arguments = ("train", tmp_path / "networks.parquet", tmp_path / "other.parquet")
    message = latcast.error(*arguments, "--out", out, "--no-families", code=1)
    assert "datasets must be of one target" in message


def test_a_loop_that_may_end_early_has_a_range(latcast: Any, folder: Path, tmp_path: Path) -> None:
    """Products of 256 x 256, as often as a condition says but 40 times at most."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["s", "w"], ["t"]),
            helper.make_node("ReduceMax", ["t"], ["m"], keepdims=0),
            helper.make_node("Cast", ["m"], ["go"], to=TensorProto.BOOL),
        ],
        "body",
        [
            *infos({"i": []}, TensorProto.INT64),
            *infos({"c": []}, TensorProto.BOOL),
            *infos({"s": [1, 256]}),
        ],
        infos({"go": None, "t": None}),
        [helper.make_tensor("w", TensorProto.FLOAT, (256, 256), b"\0" * 4 * 256**2, raw=True)],
    )
    path = tmp_path / "loop.onnx"
    loop = helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)
    onnx.save(model([loop], {"x": [1, 256]}, {"n": np.array(40)}), path)
    seen = latcast.json("inspect", path)
    assert (seen["total"]["macs"], seen["min_macs"]) == (40 * 256**2, 256**2)
    assert latcast.json("inspect", path, "--trip-count", 10)["total"]["macs"] == 10 * 256**2
    device = ("--device", folder / "one.latcast")
    shown = latcast("predict", path, *device)
    assert "65.5 k to 2.62 M MACs" in shown.stderr
    (found,) = latcast.json("predict", path, *device)["devices"]
    assert found["lower_ms"] < found["cheapest_ms"] < 0.1 * found["latency_ms"]
    (told,) = latcast.json("predict", path, *device, "--trip-count", 40)["devices"]
    assert told["cheapest_ms"] is None
    assert told["latency_ms"] == pytest.approx(found["latency_ms"])


def test_of_many_reasons_for_doubt_the_first_are_told(latcast: Any, tmp_path: Path) -> None:
    names = ("Sin", "Sinh", "Mish", "Selu", "Celu", "Log", "Softsign", "Floor")
    nodes = [helper.make_node(op, [f"t{n}"], [f"t{n + 1}"]) for n, op in enumerate(names)]
    path = tmp_path / "odd.onnx"
    onnx.save(model(nodes, {"t0": [1, 64]}), path)
    device = "epyc-genoa-2c-onnxruntime-b1-t1"
    text = latcast("predict", path, "--device", device).stdout
    assert text.count("the model has seen no ") == 5
    assert "3 other reasons, " in text
    assert len(latcast.json("predict", path, "--device", device)["devices"][0]["doubts"]) == 8


@pytest.mark.filterwarnings("error")
def test_views_alone_take_no_time(latcast: Any, tmp_path: Path) -> None:
    b = GraphBuilder()
    (tmp_path / "views.onnx").write_bytes(to_onnx(b.build(b.flatten(b.input(3, 8, 8)))))
    found = latcast.json("predict", tmp_path / "views.onnx", "--device", "epyc-genoa-2c")
    for row in found["devices"]:
        assert row["latency_ms"] == row["upper_ms"] == row["extrapolated_kernels"] == 0


def test_devices_without_a_model_of_their_own(folder: Path, latcast: Any, tmp_path: Path) -> None:
    file = folder / "squeezenet.onnx"
    both = ("predict", file, "--device", "rk3588", "--precision", "fp32,int8", "--threads", 4)
    found = latcast.json(*both)
    assert [d["target"] for d in found["devices"]] == [
        "rk3588/ncnn/b1/t4",
        "rk3588/ncnn/b1/int8/t4",
    ]
    (faster,) = found["faster"]
    assert (faster["precision"], faster["than"]) == ("int8", "fp32")
    is_less = found["devices"][1]["latency_ms"] < found["devices"][0]["latency_ms"]
    assert (faster["probability"] > 0.5) == is_less
    assert "int8 is faster than fp32 with a probability" in latcast(*both).stdout
    like = ("predict", file, "--device", "my-board", "--similar-to", "rk3588")
    assert latcast.json(*like)["devices"][0]["target"] == "my-board/ncnn/b1"
    like = ("predict", folder / "arch.json", *like[2:])
    assert latcast.json(*like)["devices"][0]["target"] == "my-board/ncnn/b1"
    for asked, words in (
        ((file, "--device", "my-board"), "my-board"),
        ((file, "--device", "rk3588", "--similar-to", "rk3588"), "needs no similar one"),
    ):
        assert words in latcast.error("predict", *asked, code=2)
    own = tmp_path / "own.toml"
    own.write_text(
        '[chiplet]\ntitle = "Chiplet"\nkind = "cpu"\ncores = 4\nmemory_gb = 4\n'
        'bandwidth_gb_s = 10\nsource = "made up"\narchitecture = "cortex-a55"\nclock_ghz = 1.8\n'
    )
    (row,) = latcast.json("predict", file, "--device", "chiplet", "--devices", own)["devices"]
    assert (row["target"], row["basis"]) == ("chiplet/ncnn/b1", "specification")
    assert row["lower_ms"] <= row["latency_ms"] <= row["upper_ms"]
    # A page shows what was stated of it, also one that is made of the JSON by others.
    answer, page = tmp_path / "answer.json", tmp_path / "page.html"
    asked = ("predict", file, "--device", "chiplet", "--device", "rk3588", "--precision",
             "fp32,int8", "--devices", own, "--json")  # fmt: skip
    answer.write_text(latcast(*asked).stdout)
    latcast("report", answer, "--out", page, "--title", "What a chiplet is worth")
    shown = page.read_text()
    assert "<title>What a chiplet is worth" in shown
    specified = shown[shown.index(">The devices</h") : shown.index(">How the forecast was made</h")]
    cells = re.findall(r"<tr><td[^>]*>(.*?)</td><td[^>]*>(.*?)</td>", specified)
    assert {("memory, GB", "4"), ("bandwidth, GB/s", "10"), ("clock, GHz", "1.8")} <= set(cells)
    assert "chiplet: Chiplet; source: made up" in specified
    assert specified.count("rk3588:") == 1  # its two targets have one device


def test_a_curve_over_a_figure_of_a_device(folder: Path, latcast: Any) -> None:
    asked = ("predict", folder / "squeezenet.onnx", "--device", "rtx-4090", "--vary")
    found = latcast.json(*asked, "bandwidth_gb_s=250,500.5,1e3")
    assert found["side"] == "bandwidth_gb_s"
    assert [p["value"] for p in found["points"]] == [250, 500.5, 1000]
    assert {p["target"] for p in found["points"]} == {"rtx-4090/pytorch/b1"}
    assert found["own"] == {"rtx-4090": 1008}
    assert "500.5" in latcast(*asked, "bandwidth_gb_s=250,500.5").stdout
    for value, message in (("bandwidth_gb_s", "like"), ("x=1", "figure")):
        assert message in latcast.error(*asked, value, code=2)
    assert "leave it out" in latcast.error(*asked, "cores=1", "--sweep", "batch=1", code=2)
