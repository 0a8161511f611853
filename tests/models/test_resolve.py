"""What is asked for is what the answer is for, whatever the name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import latcast as library
from latcast.data import Dataset
from latcast.families import Variant
from latcast.measure import runtimes
from latcast.models import BaseModel, Kernels, Predictor, zoo
from latcast.models.joint import JointPredictor
from latcast.models.resolve import (
    TargetQuery,
    UnresolvedError,
    load_with_data,
    resolve,
    resolve_one,
)
from latcast.spaces import space

SPACE = space("ofa-mobilenet-v3")
ARCHS = SPACE.sample(2, 0, restrict={"r": [160]})
EPYC = "epyc-genoa-2c"
INTERVAL = ("predict", "predict_interval")


def targets(name: str, **asked: Any) -> list[str]:
    role = asked.pop("role", "space")
    return [str(r.predictor.target) for r in resolve(name, TargetQuery(**asked), role=role)]


@pytest.mark.parametrize(
    ("name", "asked", "target", "basis"),
    [
        ("tesla-p40", {}, "tesla-p40/pytorch/b64", "measurements"),
        ("tesla-p40", {"batch": 64}, "tesla-p40/pytorch/b64", "measurements"),
        ("tesla-p40", {"batch": 1}, "tesla-p40/pytorch/b1", None),
        ("tesla-p40", {"precision": "fp16"}, "tesla-p40/pytorch/b64/fp16", "specification"),
        ("tesla-p40", {"precision": "fp32"}, "tesla-p40/pytorch/b64", "measurements"),
        ("tesla-p40", {"runtime": "mnn"}, "tesla-p40/mnn/b64", "specification"),
        ("rtx-2080-ti", {"batch": 1}, "rtx-2080-ti/pytorch-help/b1", "measurements"),
        ("help-v100-32", {"batch": 64}, "tesla-v100/pytorch-help/b64", "measurements"),
        (EPYC, {"threads": 2}, f"{EPYC}/onnxruntime/b1/t2", "measurements"),
        (f"{EPYC}/ncnn/b1/t1", {}, f"{EPYC}/ncnn/b1/t1", "measurements"),
        (f"{EPYC}-ncnn-b1-t1", {"batch": 8}, f"{EPYC}/ncnn/b8/t1", None),
        ("raspberry-pi-4", {"batch": 2}, "raspberry-pi-4/ncnn/b2", "measurements"),
        ("raspberry-pi-4/ncnn/b4/int8/t4", {}, "raspberry-pi-4/ncnn/b4/int8/t4", "measurements"),
    ],
)
def test_a_target_is_exact(
    name: str, asked: dict[str, Any], target: str, basis: str | None
) -> None:
    """The joint model may know the same chip at another batch: it is measured then (None)."""
    found = resolve_one(name, TargetQuery(**asked))
    assert (str(found.predictor.target), basis or found.basis) == (target, found.basis)
    own = name in zoo.names() and str(zoo.target(name)) != target
    assert any("is of" in note for note in found.notes) == own
    assert any("specification" in note for note in found.notes) == (found.basis == "specification")


def test_a_name_that_fits_several_targets_is_all_of_them() -> None:
    assert len(targets(EPYC)) == len(targets(EPYC, role="networks")) == 8
    assert targets(EPYC, runtime="openvino") == [f"{EPYC}/openvino/b1/bf16/t1",
                                                 f"{EPYC}/openvino/b1/t1"]  # fmt: skip
    assert targets("tesla-v100", batch=32) == ["tesla-v100/pytorch-help/b32"]
    with pytest.raises(UnresolvedError, match="has several models; name one: epyc"):
        resolve_one(EPYC)
    for found in resolve("titan-rtx"):
        assert resolve_one(found.name).predictor.target == found.predictor.target


@pytest.mark.parametrize(
    ("device", "asked", "target", "own"),
    [
        ("raspberry-pi-4", {}, "raspberry-pi-4/ncnn/b1", "help-raspi4"),
        ("raspberry-pi-4", {"batch": 1}, "raspberry-pi-4/ncnn/b1", "help-raspi4"),
        ("raspberry-pi-4", {"batch": 2, "runtime": "ncnn"}, "raspberry-pi-4/ncnn/b2", None),
        ("tesla-v100", {"batch": 32}, "tesla-v100/pytorch/b32", "help-v100-32"),
        ("gtx-1080-ti", {}, "gtx-1080-ti/pytorch/b1", "help-1080ti-64"),
        (EPYC, {"runtime": "ncnn"}, f"{EPYC}/ncnn/b1", f"{EPYC}-ncnn-b1-t1"),
    ],
)
def test_models_of_architectures_alone_answer_for_other_networks_where_they_are_named(
    device: str, asked: dict[str, Any], target: str, own: str | None
) -> None:
    """They have seen NAS-Bench-201 or MobileNets only; the joint model answers for all others."""
    (found,) = resolve(device, TargetQuery(**asked), role="networks")
    assert (str(found.predictor.target), found.predictor.kind) == (target, "joint-target")
    raw = ("/0/-1/", "NVIDIA ", " x ")
    assert not any(part in note for note in found.notes for part in raw)
    if own is not None:
        assert any(own in note for note in found.notes)
        (named,) = resolve(own, role="networks")
        assert named.predictor.target == zoo.target(own, "networks")
        by_runtime = TargetQuery(runtime=named.predictor.target.runtime)
        answers = {r.predictor.target for r in resolve(device, by_runtime, role="networks")}
        assert (named.predictor.target in answers) == (by_runtime.runtime != "ncnn")


@pytest.mark.parametrize(
    ("device", "runtime", "threads", "kind"),
    [
        ("xeon-platinum-8488c", "onnxruntime", 1, "layers"),
        ("xeon-platinum-8488c", "openvino", 1, "layers"),
        ("xeon-platinum-8488c", "onnxruntime", 8, "layers"),
        ("xeon-platinum-8488c", "ncnn", 1, "joint-target"),
        ("raspberry-pi-4", "onnxruntime", 1, "joint-target"),
    ],
)
def test_another_x86_cpu_is_answered_by_the_model_of_ours(
    device: str, runtime: str, threads: int, kind: str
) -> None:
    """By peaks of both, wider, and not below what the device can do; where it was not measured."""
    query = TargetQuery(runtime=runtime, threads=threads)
    (found,) = resolve(device, query, role="networks")
    assert (str(found.predictor.target), found.predictor.kind, found.basis) == (
        f"{device}/{runtime}/b1/t{threads}", kind, "specification",
    )  # fmt: skip
    name = f"{EPYC}-{runtime}-b1-t1"
    assert any(name in note for note in found.notes) == (kind == "layers")
    if kind == "layers":
        graphs = [library.read_graph(Variant.parse("squeezenet-1.1").to_onnx(1))]
        ours = library.load(name, networks=graphs)
        assert found.predictor.predict(graphs) < ours.predict(graphs)
        width, known = (np.divide(*m.predict_interval(graphs)) for m in (found.predictor, ours))
        assert width < known
        least = found.predictor.least_ms(found.predictor._own(graphs)[0])
        for by in (1, 1e6):
            found.predictor.least_ms = lambda _, by=by: by * least
            ms, (lower, upper) = (getattr(found.predictor, n)(graphs) for n in INTERVAL)
            told = found.predictor.explain(graphs[0])
            assert (told.ms, told.lower_ms) == pytest.approx((ms[0], lower[0]))
            assert told.upper_ms == pytest.approx(upper[0])
            assert told.total_ms == pytest.approx(told.ms)
            assert told.lower_ms >= by * least[0] * (1 - 1e-9)
        assert told.ms == pytest.approx(1e6 * least[0])


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_more_threads_are_as_much_faster_as_there_are_at_most(runtime: str, tmp_path: Path) -> None:
    """One thread is known by the model of another CPU: several are the same model's answer.

    Four by OpenVINO on an EPYC were 4.5 times as fast as one.
    """
    graphs = [library.read_graph(Variant.parse("squeezenet-1.1").to_onnx(1))]
    ms = []
    for threads in (1, 2, 4, 16, None):
        (found,) = resolve("epyc-9654", TargetQuery(runtime, threads=threads), role="networks")
        own: Any = found.predictor
        ms.append(float(own.predict(graphs)[0]))
        lower, upper = own.predict_interval(graphs)
        explained = own.explain(graphs[0])
        assert explained.ms == pytest.approx(ms[-1])
        assert explained.total_ms == pytest.approx(ms[-1])
        assert own.least_ms(own._own(graphs)[0]) <= lower < upper
        if threads != 1:
            many = own.more_threads.many
            assert upper / ms[-1] >= many.predict_interval(graphs)[1] / many.predict(graphs) - 1e-9
    assert ms == sorted(ms, reverse=True)
    assert all(ms[0] / n <= m * (1 + 1e-9) for n, m in zip((1, 2, 4, 16, 96), ms, strict=True))
    with pytest.raises(ValueError, match="must be adapted before it is saved"):
        own.save(tmp_path / "x.latcast")


def test_more_threads_of_a_cpu_of_ours_are_by_its_own_model() -> None:
    """Two by ONNX Runtime on an EPYC Turin took ShuffleNet twice as long as one."""
    graphs = [library.read_graph(Variant.parse("squeezenet-1.0").to_onnx(1))]
    one, two = (
        resolve("epyc-turin-2c", TargetQuery("onnxruntime", None, "fp32", n), role="networks")[0]
        for n in (1, 2)
    )
    assert 1 <= one.predictor.predict(graphs) / two.predictor.predict(graphs) <= 2
    assert any("epyc-turin-2c-onnxruntime-b1-t1, as much faster as 2" in n for n in two.notes)
    (exact,) = resolve(EPYC, TargetQuery("onnxruntime", threads=2), role="networks")
    assert exact.predictor.kind == "joint-target"


@pytest.mark.parametrize(
    ("device", "asked", "target"),
    [
        ("core-i7-12700k", {"threads": 1}, "core-i7-12700k/onnxruntime/b1/t1"),
        ("core-i7-12700k", {"threads": 1, "batch": 4}, "core-i7-12700k/onnxruntime/b4/t1"),
        ("core-i7-12700k", {"threads": 1, "precision": "fp16"}, "core-i7-12700k/ncnn/b1/fp16/t1"),
        ("core-i7-12700k", {}, "core-i7-12700k/ncnn/b1"),
        ("epyc-7742", {"threads": 1}, "epyc-7742/ncnn/b1/t1"),
        ("raspberry-pi-4", {"threads": 1}, "raspberry-pi-4/ncnn/b1/t1"),
    ],
)
def test_the_runtime_that_nobody_asks_for_is_the_one_known_best(
    device: str, asked: dict[str, Any], target: str
) -> None:
    """On one thread of an x86 CPU of which nothing was measured, that of our hosts."""
    (found,) = resolve(device, TargetQuery(**asked), role="networks")
    assert str(found.predictor.target) == target
    runtime = found.predictor.target.runtime
    assert any(f"no runtime is asked for: the forecast is for {runtime}" in n for n in found.notes)


@pytest.mark.parametrize(
    ("device", "asked", "target"),
    [
        ("samsung-note10", {}, "samsung-note10/ncnn/b1"),
        ("tesla-p40", {}, "tesla-p40/pytorch/b1"),
        ("rtx-2080-ti", {"batch": 1}, "rtx-2080-ti/pytorch/b1"),
        ("samsung-note10", {"threads": 4}, "samsung-note10/ncnn/b1/t4"),
        ("tesla-p40", {"batch": 64}, "tesla-p40/pytorch/b64"),
        ("tesla-p40/pytorch/b64", {}, "tesla-p40/pytorch/b64"),
        ("samsung-note10/lookup-table/b1", {}, "samsung-note10/lookup-table/b1"),
    ],
)
def test_a_name_of_a_device_and_of_its_model_is_the_device_for_a_networks_file(
    device: str, asked: dict[str, Any], target: str
) -> None:
    """Not a lookup table, nor a batch of 64; the whole target asks for those."""
    (found,) = resolve(device, TargetQuery(**asked), role="networks")
    assert str(found.predictor.target) == target
    own = zoo.target(device.partition("/")[0])
    is_told = any("search spaces' architectures on" in n and str(own) in n for n in found.notes)
    assert is_told == (str(own) != target and not asked)


@pytest.mark.parametrize(
    ("device", "target", "adapted"),
    [
        ("core-i7-12700k", "mine/onnxruntime/b1/t1", "core-i7-12700k/onnxruntime/b1/t1"),
        ("raspberry-pi-4", "mine/ncnn/b1/t4", "raspberry-pi-4/ncnn/b1/t4"),
        # Nothing was measured by that runtime on a GPU.
        ("tesla-p40", "mine/openvino/b1/t1", "tesla-p40/pytorch/b1"),
    ],
)
def test_what_is_adapted_of_a_device_is_like_the_measurements(
    device: str, target: str, adapted: str
) -> None:
    graph = library.read_graph(Variant.parse("squeezenet-1.1").to_onnx(1))
    data = Dataset((graph,), np.ones(1), target)  # type: ignore[arg-type]  # parsed there
    model, _ = load_with_data(device, lambda: data)
    assert str(model.target) == adapted


@pytest.mark.parametrize(
    ("device", "asked", "says"),
    [
        ("raspberry-pi-4", {"runtime": "tensorrt"}, "GPUs of nvidia alone; got .* ask for ncnn, "),
        ("snapdragon-865-adreno-650", {"runtime": "pytorch"}, "of nvidia, amd, .* ncnn-vulkan"),
        ("rtx-4090", {"runtime": "litert"}, "runs on GPUs of adreno, .* pytorch"),
        ("edge-tpu", {"runtime": "qnn"}, "NPUs of qualcomm alone; .* litert"),
        ("edge-tpu", {"runtime": "ncnn"}, "ncnn runs on no NPU"),
        ("loongson-3a6000", {"runtime": "openvino"}, "CPUs of x86, arm, apple alone"),
        ("raspberry-pi-4", {"threads": 5}, "at most the 4 cores of raspberry-pi-4; got 5"),
    ],
)
@pytest.mark.parametrize("role", ["networks", "space"])
def test_a_target_that_cannot_be_is_refused(
    role: zoo.Role, device: str, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(UnresolvedError, match=says):
        resolve(device, TargetQuery(**asked), role=role)


def test_a_varied_device_has_threads_for_the_cores_that_it_is_to_have() -> None:
    resolve("raspberry-pi-4", TargetQuery(threads=8), role="networks", vary=("cores", 8))
    with pytest.raises(UnresolvedError, match="at most the 2 cores of raspberry-pi-4"):
        resolve("raspberry-pi-4", TargetQuery(threads=4), role="networks", vary=("cores", 2))


def test_what_runs_on_an_accelerator_is_asked_of_it() -> None:
    """QNN is of Qualcomm's, whose NPUs alone it was measured on."""
    (found,) = resolve("rk3588-npu", role="networks")
    assert found.predictor.target.runtime == "tflite"
    (found,) = resolve("qcs9075-hexagon", role="networks")
    assert found.predictor.target.runtime == "qnn"


@pytest.mark.parametrize(
    ("runtime", "device", "told"),
    [
        ("openvino", "raspberry-pi-4", True),
        ("openvino", "core-i9-10940x", False),
        ("ncnn", "raspberry-pi-4", False),
        ("pytorch", "arc-a770", True),
        ("pytorch", "rx-7900-xtx", False),
        ("onnxruntime", "rk3588-npu", True),
    ],
)
def test_a_runtime_that_was_measured_on_no_device_of_a_kind_says_so(
    runtime: str, device: str, told: bool
) -> None:
    (found,) = resolve(device, TargetQuery(runtime, threads=None), role="networks")
    assert any("no table measured" in note for note in found.notes) == told
    predictor: Any = found.predictor
    if told:
        assert predictor.calibration.quantile(0.9) > predictor.intervals().quantile(0.9)


@pytest.mark.parametrize("name", ["-", "net.onnx"])
def test_what_names_no_model_is_told(name: str) -> None:
    of = "standard input can be the network or the data" if name == "-" else "which is what they"
    with pytest.raises(UnresolvedError, match=of):
        resolve(name)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("precision", "host"), [("fp32", f"{EPYC}-{{}}-b1-t1"), ("int8", "epyc-turin-2c-{}-b1-int8-t1")]
)
def test_of_two_machines_that_one_answers_which_knows_most(
    runtime: str, precision: str, host: str
) -> None:
    """In fp32 that on which 730 networks were measured, not that of 104."""
    query = TargetQuery(runtime=runtime, precision=precision, threads=1)
    for device in ("xeon-platinum-8488c", "ryzen-9-7950x"):
        (found,) = resolve(device, query, role="networks")
        assert found.predictor.kind == "layers"
        assert any(f"by the model {host.format(runtime)}," in note for note in found.notes)


def test_an_accelerator_that_was_not_measured_keeps_its_model() -> None:
    (found,) = resolve("eyeriss", role="networks")
    assert found.predictor.target.runtime == "help"


@pytest.mark.parametrize(
    ("name", "asked", "options", "target"),
    [
        ("rtx-4090", {"batch": 8, "precision": "fp16"}, {}, "rtx-4090/pytorch/b8/fp16"),
        ("raspberry-pi-5", {}, {"space": space("fbnet")}, "raspberry-pi-5/ncnn/b1"),
        ("tesla-p40", {}, {"space": space("ofa-resnet50")}, "tesla-p40/pytorch/b64"),
        ("snapdragon-8-gen-3", {"runtime": "qnn"}, {}, "snapdragon-8-gen-3/qnn/b1/int8"),
        ("our-board", {}, {"similar_to": "raspberry-pi-4"}, "our-board/ncnn/b1"),
        ("raspberry-pi-5", {"runtime": "help"}, {"space": space("nasbench201")},
         "raspberry-pi-5/help/b1"),
    ],
)  # fmt: skip
def test_any_device_is_answered_for_architectures(
    name: str, asked: dict[str, Any], options: dict[str, Any], target: str
) -> None:
    found = resolve_one(name, TargetQuery(**asked), **options)
    assert str(found.of_space.target) == target
    assert found.of_space.kind == "joint-space"
    wanted = options.get("space", SPACE)
    assert found.of_space.space.name == wanted.block_space
    assert found.notes


@pytest.mark.parametrize("role", ["space", "networks"])
def test_every_listed_name_resolves(role: zoo.Role) -> None:
    for name in zoo.names(role):
        target = zoo.target(name, role)
        # For networks of any kind a device's name is the device; its model's is the whole target.
        asked = str(target) if role == "networks" and name == target.device else name
        assert resolve_one(asked, role=role).predictor.target == target


@pytest.mark.parametrize(
    ("name", "asked", "options", "message"),
    [
        ("samsung-note1", {}, {}, "did you mean 'samsung-note10'"),
        ("tesla-p40/pytorch", {"batch": 2}, {}, "is a target, which is not of batch 2"),
        ("tesla-p40/", {}, {}, "a target's runtime must be"),
        ("tesla-p40", {"precision": "fp99"}, {}, "precision must be one of"),
        ("nasbench201", {}, {}, "is a base model of many targets"),
        ("apple-m22", {}, {"role": "networks"}, "did you mean 'apple-m2'"),
        ("raspberry-pi-4", {"runtime": "qnn"}, {"role": "networks"}, "no npu of its chip"),
        ("tesla-p40", {}, {"similar_to": "tesla-p4"}, "it needs no similar one"),
        ("our-board", {}, {"similar_to": "raspberry-pi-44"}, "did you mean 'raspberry-pi-4'"),
        ("rtx-4090", {"runtime": "qnn"}, {}, "no npu of its chip"),
        (
            "raspberry-pi-4",
            {"runtime": "ncnm"},
            {},
            "no runtime is called 'ncnm'; did you mean 'nc",
        ),
        ("raspberry-pi-4/ncnm/b1", {}, {"role": "networks"}, "did you mean 'ncnn'.*onnxruntime, "),
        ("tesla-p40", {}, {"base": "no-such"}, "no base model is called"),
    ],
)
def test_what_nothing_answers(
    name: str, asked: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnresolvedError, match=message):
        resolve(name, TargetQuery(**asked), **options)


def test_runtimes_have_other_names() -> None:
    own, other = (resolve(EPYC, TargetQuery(runtime=r)) for r in ("onnxruntime", "onnx"))
    assert [r.predictor.target for r in own] == [r.predictor.target for r in other]
    graph = library.read_graph(Variant.parse("squeezenet-1.1").to_onnx(64))
    for device in ("raspberry-pi-4", "epyc-9654"):
        names = ("onnxruntime", "onnx")
        a, b = (library.forecast(graph, device, runtime=n).devices[0] for n in names)
        assert (a.latency_ms, a.upper_ms) == pytest.approx((b.latency_ms, b.upper_ms))
        assert not any("onnx-cpu" in note for note in (*a.notes, *b.notes))


def test_runtimes_of_ones_own_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    things = {**runtimes.RUNTIMES._things, "abacus": runtimes.Runtime}
    monkeypatch.setattr(runtimes.RUNTIMES, "_things", things)
    assert targets("raspberry-pi-4", runtime="abacus") == ["raspberry-pi-4/abacus/b1"]


def test_load_is_the_one_door(tmp_path: Path) -> None:
    graph = library.read_graph(Variant.parse("squeezenet-1.1").to_onnx(64))
    assert isinstance(library.load("tesla-p40", networks=graph), JointPredictor)
    p = library.load("raspberry-pi-4", networks=graph, runtime="help")
    assert isinstance(p, JointPredictor)
    assert isinstance(library.load("help-pixel3"), JointPredictor)
    assert isinstance(library.load(f"{EPYC}-openvino-b1-t1", networks=graph), Kernels)
    assert isinstance(library.load("tesla-p40", networks=ARCHS), Predictor)
    assert isinstance(library.load(SPACE.name), BaseModel)
    one = library.load("tesla-p40", space=SPACE, batch=1)
    assert one.target.batch == 1
    one.save(tmp_path / "one.latcast")
    assert library.load(tmp_path / "one.latcast", batch=1).target == one.target
    with pytest.raises(UnresolvedError, match=r"must be a model of batch 2; it is one of tesla"):
        library.load(tmp_path / "one.latcast", batch=2)
    for role, name in (("accuracy", SPACE.name), ("base", SPACE.name)):
        with zoo.path(name, role) as path:  # type: ignore[arg-type]  # a role
            with pytest.raises(UnresolvedError, match="it is one of no single target"):
                library.load(path, batch=1)
            with pytest.raises(UnresolvedError, match=r"belong to no device|many targets"):
                resolve(str(path), TargetQuery(), role="space")
    cells = library.load("tesla-p40", space="nasbench201")
    assert (cells.space.name, cells.target.batch) == ("nasbench201", 64)


def test_only_what_answers_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    really = zoo.open_model
    monkeypatch.setattr(zoo, "open_model", lambda path: opened.append(path) or really(path))
    resolve("tesla-p40", TargetQuery(batch=64))
    assert [path.name for path in opened] == ["tesla-p40.latcast"]


@pytest.mark.slow
def test_python_and_the_command_line_give_the_same_record(latcast: Any, tmp_path: Path) -> None:
    archs = tmp_path / "archs.json"
    archs.write_text(json.dumps(ARCHS.to_dicts()))
    names = ["tesla-p40", "no-such-device", "rtx-2080-ti"]
    options = [x for name in names for x in ("--device", name)]
    run = latcast("predict", archs, *options, "--batch", 1, "--json", code=1, partly=True)
    record = json.loads(run.stdout)
    rows = record["devices"]
    found = library.forecast(archs, names, batch=1)
    assert record == json.loads(json.dumps(found.to_dict()))
    assert record == json.loads(json.dumps(library.forecast(ARCHS, names, batch=1).to_dict()))
    assert [row["device"] for row in rows] == names
    assert [row.get("target") for row in rows] == ["tesla-p40/pytorch/b1", None,
                                                   "rtx-2080-ti/pytorch-help/b1"]  # fmt: skip
    assert "no model or device is called 'no-such-device'" in rows[1]["error"]
    error = json.loads(next(x for x in run.stderr.splitlines() if x.startswith("{")))
    assert error["error"].startswith("no-such-device: no model")
    assert f"note: tesla-p40: {rows[0]['notes'][0]}" in run.stderr


def test_a_graph_on_devices_of_which_one_cannot_be_answered(latcast: Any, tmp_path: Path) -> None:
    network = tmp_path / "one.onnx"
    network.write_bytes(Variant.parse("squeezenet-1.1").to_onnx(1))
    run = latcast("predict", network, "--device", "apple-m22", "--device", EPYC,
                  "--runtime", "ncnn", "--json", "--html", tmp_path / "page.html", code=1,
                  partly=True)  # fmt: skip
    record = json.loads(run.stdout)
    assert [row.get("target") for row in record["devices"]] == [None, f"{EPYC}/ncnn/b1"]
    assert record["network"]["kernels"] > 0
    assert EPYC in (tmp_path / "page.html").read_text(encoding="utf-8")
    devices = ("--device", "apple-m22", "--device", EPYC)
    text = latcast("predict", network, *devices, code=1, partly=True).stdout
    assert "openvino/b1/bf16/t1" in text
    assert "apple-m2" in latcast.error("predict", network, "--device", "apple-m22", code=2)


def test_memory_traffic_is_at_the_width_of_the_target() -> None:
    graph = library.read_graph(Variant.parse("squeezenet-1.1").to_onnx(1))
    asked: Any = {"runtime": "pytorch", "precision": ["fp32", "fp16"]}
    whole, half = library.forecast(graph, "rtx-4090", **asked).devices
    for name in ("param_bytes", "activation_bytes"):
        assert half.costs[name] == pytest.approx(whole.costs[name] / 2, rel=1e-3)
