"""``latcast measure`` of networks of any kind: populations and the user's own files."""

from __future__ import annotations

import pytest
from onnx import helper
from onnx_models import model

from latcast import data as datasets
from latcast import measure
from latcast.devices import Target
from latcast.families import population
from latcast.graph import GraphBuilder
from latcast.graph.write.onnx import INPUT, to_onnx
from latcast.measure import CampaignFile
from latcast.measure.runtimes._quantized import quantized

pytestmark = pytest.mark.usefixtures("lock_of_its_own")


def one_operator(op: str, shape: tuple[int | str, ...] = ("batch", 3, 9, 9)) -> bytes:
    """On an input of an open batch; its output has its shape."""
    node = helper.make_node(op, ["x"], ["y"], name="only")
    return model([node], {"x": shape}, outputs={"y": shape}).SerializeToString()


@pytest.mark.slow
def test_a_folder_of_models_and_one_that_cannot_run(latcast, tmp_path, hasty):
    folder = tmp_path / "models"
    folder.mkdir()
    for name, op in (("good", "Relu"), ("bad", "Nonsense")):
        (folder / f"{name}.onnx").write_bytes(one_operator(op))
    out = tmp_path / "cpu.parquet"
    options = ("--models", folder, "--runs", "2", "--batch", "2", "--name", "here")
    run = latcast("measure", *options, "--out", out)
    assert "failed: bad: " in run.stderr
    data = datasets.read(out)
    assert data.names == ("good",)
    assert data.graphs[0].layers[0].out_shapes == ((2, 3, 9, 9),)
    assert str(data.target) == "here/onnxruntime/b2/t1"
    # The same command goes on; nothing is left to do.
    found = latcast.json("measure", *options, "--out", out, "--resume")
    assert found["networks"] == 1
    assert "Nonsense" in found["failed"]["0"]
    message = latcast.error("measure", "--space", "fbnet", "--out", out, "--resume", code=2)
    assert "--space was not given, got fbnet" in message


@pytest.mark.slow
def test_a_shape_closes_what_the_file_leaves_open(latcast, tmp_path, hasty):
    path, out = tmp_path / "open.onnx", tmp_path / "cpu.parquet"
    path.write_bytes(one_operator("Relu", ("seq", "batch", 9)))
    options = ("--models", path, "--runs", "2", "--name", "here", "--out", out)
    assert "--shape x=128x1x9" in latcast.error("measure", *options, code=1)
    latcast("measure", *options, "--shape", "seq=50")
    assert datasets.read(out).graphs[0].layers[0].out_shapes == ((50, 1, 9),)


@pytest.mark.slow
def test_a_population_is_measured(latcast, tmp_path, hasty, fake, monkeypatch):
    harmful = (fake.CRASHES, fake.HANGS, fake.RAISES, fake.NONSENSE, fake.EATS)
    variants = [m for m in population(30, 1, ["mobilenet-v1"])
               if m.parameters["resolution"] not in harmful][:2]  # fmt: skip
    monkeypatch.setattr("latcast.families.population", lambda *_: variants)
    monkeypatch.setitem(measure.runtimes.RUNTIMES._things, "onnxruntime", fake.FakeRuntime)
    out = tmp_path / "cpu.parquet"
    options = ("--population", "2", "--family", "mobilenet-v1", "--runs", "2")
    run = latcast("measure", *options, "--out", out)
    assert "networks" in run.stdout
    data = datasets.read(out)
    assert set(data.names) == {m.text for m in variants}
    assert set(data.families) == {"mobilenet-v1"}
    assert data.layers is not None
    # Another campaign can be brought to the machine's state in this one.
    again = tmp_path / "again.parquet"
    latcast(
        "measure", *options, "--name", str(data.target.device), "--correct-to", out, "--out", again
    )
    level = measure.REFERENCE_LEVEL
    assert datasets.read(again).provenance[level] == data.provenance[level]
    message = latcast.error("measure", *options, "--seed", "3", "--out", out, "--resume", code=2)
    assert "--seed was 0, got 3" in message


@pytest.mark.usefixtures("interrupted_measuring")
def test_the_plan_is_the_population_then_the_files(latcast, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.onnx").write_bytes(one_operator("Relu"))
    (tmp_path / "two" / "other.onnx").write_bytes(one_operator("Tanh"))
    options = ["--population", "3", "--seed", "4", "--family", "vgg", "--family", "squeezenet"]
    options += ["--models", tmp_path / "one" / "same.onnx", "--models", tmp_path / "two"]
    latcast("measure", *options, "--out", tmp_path / "a.parquet", code=130)
    with CampaignFile.open(tmp_path / "a.campaign") as campaign:
        names = [source.name for source in campaign.networks()]
        assert campaign.plan()["seed"] == 4
    variants = [m.text for m in population(3, 4, ["vgg", "squeezenet"])]
    same = [str(tmp_path / folder / "same.onnx") for folder in ("one", "two")]
    assert names == [*variants, same[0], "other", same[1]]


def write_both_precisions(folder):
    """The same convolution in floats, and as ONNX Runtime's quantizer writes it."""
    b = GraphBuilder(1)
    graph = b.build(b.linear(b.global_pool(b.conv(b.input(3, 16, 16), 8, 3)), 10))
    in_floats = to_onnx(graph)
    folder.mkdir()
    (folder / "floats.onnx").write_bytes(in_floats)
    (folder / "integers.onnx").write_bytes(quantized(in_floats, {INPUT: graph.inputs()}))


@pytest.mark.usefixtures("interrupted_measuring")
def test_files_in_int8_are_of_a_target_in_int8(latcast, tmp_path):
    """Their dataset was of a target in fp32."""
    write_both_precisions(folder := tmp_path / "both")
    for name, models, asked, precision in (
        ("a", folder / "integers.onnx", (), "int8"),
        ("b", folder / "integers.onnx", ("--precision", "int8"), "int8"),
        ("c", folder / "floats.onnx", (), "fp32"),
        ("d", folder, ("--precision", "int8"), "int8"),  # those in floats are quantized
    ):
        out = tmp_path / f"{name}.parquet"
        latcast("measure", "--models", models, *asked, "--name", "x", "--out", out, code=130)
        with CampaignFile.open(out.with_suffix(".campaign")) as campaign:
            assert Target.parse(campaign.plan()["target"]).precision == precision
    # Nothing needs to be said to go on.
    latcast(
        "measure", "--models", folder / "integers.onnx", "--out", tmp_path / "a.parquet",
        "--resume", code=130,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("models", "asked", "says"),
    [
        ("both", (), "integers is in int8 and others are in floats: measure them apart, or all"),
        ("both", ("--precision", "fp32"), "--precision must be int8 for integers"),
        ("both", ("--precision", "fp32,int8"), "--precision must be int8 for integers"),
        ("both/integers.onnx", ("--precision", "bf16"), "a runtime runs as they are; got bf16"),
        ("both/integers.onnx", ("--population", "2"), "networks must be of one precision"),
        ("both/integers.onnx", ("--runtime", "pytorch"), "use onnxruntime or openvino"),
    ],
)
def test_precisions_that_do_not_go_together(latcast, tmp_path, models, asked, says):
    write_both_precisions(tmp_path / "both")
    out = tmp_path / "a.parquet"
    arguments = ("measure", "--models", tmp_path / models, *asked, "--name", "x", "--out", out)
    assert says in latcast.error(*arguments, code=2)
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--population", "5", "--space", "fbnet"), "leave out --space"),
        (("--population", "5", "--samples", "9"), "leave out --samples"),
        (("--models", "a.onnx", "--resolutions", "160"), "leave out --resolutions"),
        (("--models", "a.onnx", "--archs", "a.json"), "--models says what is measured"),
        (("--family", "vgg"), "say how many with --population"),
        (("--population", "5", "--family", "resnett"), "resnet"),
        (("--models", "none.onnx"), "no such file: none.onnx"),
        (("--models", "empty"), "must hold .onnx files; it holds none"),
    ],
)
def test_wrong_usage(latcast, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert says in latcast.error("measure", *arguments, "--out", "a.parquet", code=2)
    (tmp_path / "text.onnx").write_text("not a model")
    latcast.error("measure", "--models", "text.onnx", "--out", "a.parquet", code=1)
    assert not list(tmp_path.glob("a.*"))
