"""The joint model's file, and predictors of any network on any device that are made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latcast import families
from latcast._model_file import ModelFile, read_model, write_model
from latcast.data import Dataset
from latcast.devices import Device, Target, devices
from latcast.families import Variant, population
from latcast.graph import Graph
from latcast.graph.read.onnx import read_onnx
from latcast.models import Predictor, zoo
from latcast.models.joint import Joint, JointPredictor, Question
from latcast.models.joint._work import FEATURES, Work
from latcast.models.resolve import TargetQuery, UnresolvedError, resolve, resolve_one
from latcast.models.zoo import open_shipped
from latcast.networks import Networks
from latcast.testing import check_fitted

UNMEASURED = Device("board", "Board", "cpu", 8, 8.0, 20.0, "made up", clock_ghz=2.0,
                    architecture="cortex-a76")  # fmt: skip
CARD = Device("card", "NVIDIA Card", "gpu", 3000, 8.0, 300.0, "made up", clock_ghz=1.5,
              peak_fp32_flops=9e12, architecture="turing")  # fmt: skip


@pytest.fixture(scope="module")
def joint() -> Joint:
    shipped = open_shipped("devices", "joint")
    assert isinstance(shipped, Joint)
    return shipped


def _graphs(batch: int = 1, count: int = 6) -> tuple[Graph, ...]:
    variants = population(count, 3, ["vgg", "mobilenet-v1", "resnet"])
    return tuple(read_onnx(v.to_onnx(batch)) for v in variants)


GRAPHS = _graphs()


def _predictor(joint: Joint, device: Device | str, **asked: object) -> JointPredictor:
    found = devices()[device] if isinstance(device, str) else device
    return joint.predictor(Question.of(found, joint.domains, **asked))  # type: ignore[arg-type]


def test_features_are_named() -> None:
    work = Work.of(Networks.of_graphs(GRAPHS))
    assert len(FEATURES) == len(set(FEATURES)) == work.size


def test_a_file_keeps_the_model(joint: Joint, tmp_path: Path) -> None:
    with zoo.path("devices", "joint") as shipped:
        assert shipped.stat().st_size < 2.5e6
    joint.save(tmp_path / "again.latcast")
    again = Joint.load(tmp_path / "again.latcast")
    assert again.card == joint.card
    assert again.domains == joint.domains
    for device in ("raspberry-pi-4", "rtx-4090", "apple-m2"):
        one, two = (_predictor(j, device).predict(GRAPHS) for j in (joint, again))
        np.testing.assert_array_equal(one, two)


def test_files_of_other_features_stay_readable(joint: Joint, tmp_path: Path) -> None:
    """A feature that latcast lacks is left out; one that the file lacks weighs nothing."""
    joint.save(tmp_path / "a.latcast")
    file = read_model(tmp_path / "a.latcast")
    names = list(file.header["features"])
    lost = names.index("launch: class softmax")
    names[lost] = "launch: class of the future"
    write_model(tmp_path / "b.latcast", ModelFile(file.header | {"features": names}, file.tensors))
    other = Joint.load(tmp_path / "b.latcast")
    place = FEATURES.index("launch: class softmax")
    assert not other.model.learnt.slopes[:, place].any()
    for device in ("raspberry-pi-4", "rtx-4090"):
        one, two = (_predictor(j, device).predict(GRAPHS[:3]) for j in (joint, other))
        np.testing.assert_allclose(one, two, rtol=0.05)  # they have next to no softmax


@pytest.mark.parametrize("change", ["features", "domains", "known", "scores_of"])
def test_files_whose_parts_do_not_fit_are_refused(
    joint: Joint, tmp_path: Path, change: str
) -> None:
    joint.save(tmp_path / "a.latcast")
    file = read_model(tmp_path / "a.latcast")
    header = file.header | {change: file.header[change][:-1]}
    write_model(tmp_path / "b.latcast", ModelFile(header, file.tensors))
    with pytest.raises(ValueError, match="must be a latcast Joint"):
        Joint.load(tmp_path / "b.latcast")


@pytest.mark.parametrize(
    ("asked", "domain"),
    [
        ({"runtime": "openvino"}, "ncnn-cpu"),
        ({"runtime": "onnxruntime", "precision": "fp32"}, "ncnn-cpu"),
        ({"runtime": "onnxruntime", "precision": "int8"}, "onnx-cpu"),
        ({"runtime": "tflite", "precision": "int8"}, "tflite-cpu"),
    ],
)
def test_what_no_table_has_on_cpus_is_forecast_as_ncnn(asked: dict[str, str], domain: str) -> None:
    domains = {"ncnn-cpu": ("fp32", "int8"), "onnx-cpu": ("int8",), "tflite-cpu": ("int8", "fp32")}
    question = Question.of(UNMEASURED, domains, **asked)  # type: ignore[arg-type]
    assert question.facts.domain == domain
    assert question.target.runtime == asked["runtime"]
    said = f"{asked['runtime']} was not measured in fp32 on such devices, ncnn was"
    assert (said in question.notes) == (domain == "ncnn-cpu")


def test_int8_on_x86_is_by_a_runtime_s_other_precisions() -> None:
    """As ncnn's OpenVINO's was forecast to take three times as long as it does."""
    domains = {"ncnn-cpu": ("fp32", "int8"), "openvino-cpu": ("fp32",)}
    for name, runtime, domain in (
        ("epyc-9654", "openvino", "openvino-cpu"),
        ("epyc-9654", "mnn", "ncnn-cpu"),
        ("raspberry-pi-4", "openvino", "ncnn-cpu"),
    ):
        question = Question.of(devices()[name], domains, runtime=runtime, precision="int8")
        assert (question.facts.domain, question.facts.precision) == (domain, "int8")
        told = f"{runtime} was not measured in int8 on such devices"
        assert any(note.startswith(told) for note in question.notes)


def test_what_is_computed_in_fp16_anyway_is_one_forecast(joint: Joint, tmp_path: Path) -> None:
    """On a Raspberry Pi 5 fp16 was forecast to take 1.4 times as long as fp32."""
    fp32, fp16 = (_predictor(joint, "raspberry-pi-5", runtime="ncnn", precision=p)
                  for p in ("fp32", "fp16"))  # fmt: skip
    assert (fp32.target.precision, fp16.target.precision) == ("fp32", "fp16")
    fp16.save(tmp_path / "m.latcast")
    for p in (fp16, type(fp16).load(tmp_path / "m.latcast")):
        np.testing.assert_allclose(p.predict(GRAPHS), fp32.predict(GRAPHS), rtol=1e-12)
        np.testing.assert_allclose(
            p.predict_interval(GRAPHS), fp32.predict_interval(GRAPHS), rtol=1e-12
        )
    told = "ncnn computes networks in fp32 by fp16 arithmetic on raspberry-pi-5"
    assert all(any(n.startswith(told) for n in p.card["notes"]) for p in (fp32, fp16))
    older = Question.of(
        devices()["raspberry-pi-4"], joint.domains, runtime="ncnn", precision="fp16"
    )
    assert older.facts.precision == "fp16"
    assert not any("fp16 arithmetic" in n for n in older.notes)


def _measured(p: Predictor, graphs: Sequence[Graph], factor: float = 1.7) -> Dataset:
    names = tuple(g.name for g in graphs)
    return Dataset(tuple(graphs), factor * p.predict(graphs), p.target, names=names, families=names)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["raspberry-pi-4", "rtx-4090"])
@pytest.mark.parametrize("rows", [0, 3])
def test_predictors_keep_the_contract(joint: Joint, tmp_path: Path, device: str, rows: int) -> None:
    p: Predictor = _predictor(joint, device)
    test = _measured(p, GRAPHS)
    if rows:
        p = p.adapt(test[:rows])
        assert p.card["rows"] == rows
    check_fitted(p, test, tmp_path)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_an_npu_without_a_stated_peak_is_known_by_what_was_measured_on_it(
    joint: Joint, precision: str
) -> None:
    question = Question.of(
        devices()["snapdragon-8-gen-3"], joint.domains, runtime="qnn", precision=precision
    )
    place = joint.model.learnt.features.place(question.measured)
    near = joint._known.nearest(question.measured, place)
    assert near is not None
    assert near[1] == 1.0
    assert any("middling NPU" in note for note in question.notes)


@pytest.mark.slow
def test_measurements_are_learnt_from_one_network_on(joint: Joint, tmp_path: Path) -> None:
    before = _predictor(joint, UNMEASURED)
    data = _measured(before, GRAPHS)
    errors = []
    for rows in (1, 3, 6):
        after = before.adapt(data[:rows])
        errors.append(np.abs(np.log(after.predict(GRAPHS) / data.values)).mean())
    assert np.log(1.7) > errors[0] > errors[2]
    assert errors[2] < 0.1
    # In two steps as in one, and after a file between them.
    first = before.adapt(data[:2])
    first.save(tmp_path / "first.latcast")
    steps = [p.adapt(data[2:]) for p in (first, JointPredictor.load(tmp_path / "first.latcast"))]
    for p in steps:
        np.testing.assert_allclose(p.predict(GRAPHS), after.predict(GRAPHS), rtol=1e-4)
    elsewhere = before.adapt(replace(data, target=Target("elsewhere", "ncnn")))
    assert elsewhere.target.device == "elsewhere"


@pytest.mark.slow
@pytest.mark.parametrize("device", ["raspberry-pi-4", "rtx-4090", "snapdragon-8-gen-2", "tesla-t4"])
def test_milliseconds_do_not_fall_as_the_batch_grows(joint: Joint, device: str) -> None:
    ms = [
        _predictor(joint, device, batch=batch).predict(_graphs(batch)) for batch in (1, 2, 3, 7, 32)
    ]
    assert (np.diff(ms, axis=0) >= 0).all()


@pytest.mark.parametrize(
    ("device", "runtime"),
    [
        ("raspberry-pi-4", "ncnn"),
        ("tesla-p100", "ncnn-vulkan"),
        ("jetson-orin-nano", "pytorch"),
        ("rtx-3090", "pytorch"),
    ],
)
@pytest.mark.parametrize(("family", "like"), [("resnet", "resnet-18"), ("vit", "deit-tiny")])
def test_milliseconds_do_not_fall_as_resolution_and_sequence_grow(
    joint: Joint, device: str, runtime: str, family: str, like: str
) -> None:
    """Not even where a kernel leaves most of a GPU idle, and more of it is used at a larger one."""
    source = families.family(family)
    sizes = source.parameters["resolution"]
    graphs = [
        Variant(family, source.check({**source.published[like], "resolution": size})).graph()
        for size in sizes
    ]
    ms = _predictor(joint, device, runtime=runtime).predict(graphs)
    assert (np.diff(ms) >= 0).all()


@pytest.mark.parametrize("runtime", ["ncnn", "ncnn-vulkan", "pytorch"])
def test_more_cores_are_not_slower(joint: Joint, runtime: str) -> None:
    """At equal clock and bandwidth, of a device on which nothing was measured."""
    if runtime == "ncnn":
        made = [replace(UNMEASURED, cores=n) for n in (1, 2, 3, 4, 6, 8, 16, 33)]
    else:
        made = [
            replace(CARD, cores=n, peak_fp32_flops=3e9 * n)
            for n in (100, 128, 130, 200, 1000, 1024, 3000, 5000, 20_000)
        ]
    ms = [_predictor(joint, d, runtime=runtime).predict(GRAPHS) for d in made]
    assert (np.diff(ms, axis=0) <= 1e-9).all()


def test_more_threads_are_not_slower(joint: Joint) -> None:
    ms = [_predictor(joint, UNMEASURED, threads=n).predict(GRAPHS) for n in range(1, 9)]
    assert (np.diff(ms, axis=0) <= 1e-9).all()


def test_nothing_lies_beyond_the_bound(joint: Joint) -> None:
    """A device of which a tenth of its speed is stated."""
    slow = replace(CARD, peak_fp32_flops=1e10, bandwidth_gb_s=2.0)
    p = _predictor(joint, slow)
    networks = Networks.of(GRAPHS, Target("card", "eager"))
    bound = p._limits((networks, None))
    lower, _ = p.predict_interval(GRAPHS, 0.9)
    for values in (p.predict(GRAPHS), lower, p.upper_bound(GRAPHS, 0.01)):
        assert (values >= bound).all()
    assert (p.probability_below(GRAPHS, 0.99 * bound) == 0).all()
    assert p.explain(GRAPHS[0]).lower_ms >= bound[0]
    assert (bound > 0).all()


@pytest.mark.parametrize(
    ("device", "figure", "values", "falls"),
    [
        ("rtx-4090", "cores", (4096, 8192, 16_384), True),
        ("rtx-4090", "clock_ghz", (1.0, 2.0), True),
        ("rk3588", "cores", (2, 4, 8), True),
        ("rk3588", "clock_ghz", (1.2, 2.4), True),
        ("a100-40gb", "bandwidth_gb_s", (100.0, 1000.0), True),
        ("a100-40gb", "memory_gb", (20.0, 40.0), False),
    ],
)
def test_a_figure_varies(
    device: str, figure: str, values: tuple[float, ...], *, falls: bool
) -> None:
    found = [
        resolve_one(device, role="networks", vary=(figure, value)).predictor for value in values
    ]
    ms = np.array([p.predict(GRAPHS) for p in found])
    assert (np.diff(ms, axis=0) < 0).all() if falls else np.ptp(ms, axis=0).max() < 1e-9


@pytest.mark.parametrize(
    ("device", "figure", "value", "message"),
    [
        ("rtx-4090", "bandwith_gb_s", 100.0, "did you mean 'bandwidth_gb_s'"),
        ("rtx-4090", "bandwidth_gb_s", 1e9, "memory bandwidth in GB/s"),
        ("rk3588", "peak_fp32_flops", 1e12, "vary cores or clock_ghz"),
        ("rk3588", "cores", 2.5, "a whole number of cores"),
        ("one.latcast", "cores", 2, "must be a device"),
    ],
)
def test_figures_that_cannot_be(device: str, figure: str, value: float, message: str) -> None:
    with pytest.raises(UnresolvedError, match=message):
        resolve(device, role="networks", vary=(figure, value))


@pytest.mark.parametrize(
    ("device", "asked", "target", "basis", "note"),
    [
        ("rk3588", {}, "rk3588/ncnn/b1", "measurements", "forecast is for ncnn"),
        ("rk3588", {"threads": 2, "precision": "int8"}, "rk3588/ncnn/b1/int8/t2", None, "rk3588"),
        ("jetson-nano", {"runtime": "ncnn"}, "jetson-nano/ncnn/b1", None, "by Vulkan"),
        ("rtx-4090", {"batch": 8}, "rtx-4090/pytorch/b8", "specification", "by its specification"),
        ("a100-40gb/pytorch/b2", {}, "a100-40gb/pytorch/b2", None, "on a100-40gb by pytorch"),
        ("snapdragon-8-gen-2", {"runtime": "ncnn-vulkan"}, "snapdragon-8-gen-2/ncnn-vulkan/b1",
         None, "runs on the gpu of snapdragon-8-gen-2"),
        ("apple-m2", {"precision": "bf16"}, "apple-m2/ncnn/b1/bf16", "specification", "apple-m2"),
        ("snapdragon-8-gen-2-hexagon", {}, "snapdragon-8-gen-2-hexagon/qnn/b1/int8",
         "measurements", "forecast is for int8"),
        ("snapdragon-8-gen-2", {"runtime": "litert"}, "snapdragon-8-gen-2/litert/b1", None, ""),
        ("tesla-v100", {"runtime": "tensorrt", "precision": "int8"},
         "tesla-v100/tensorrt/b1/int8", "measurements", "the forecast knows"),
        ("tesla-p40", {"batch": 7}, "tesla-p40/pytorch/b7", None, "pytorch"),
    ],
)  # fmt: skip
def test_any_device_answers_for_exactly_what_is_asked(
    device: str, asked: dict[str, object], target: str, basis: str | None, note: str
) -> None:
    found = resolve_one(device, TargetQuery(**asked), role="networks")  # type: ignore[arg-type]
    assert str(found.predictor.target) == target
    assert basis in (None, found.basis)
    assert any(note in text for text in found.notes)
    assert np.isfinite(found.predictor.predict(_graphs(found.predictor.target.batch, 3))).all()


def test_a_device_that_is_nowhere_is_like_another() -> None:
    query = TargetQuery()
    with pytest.raises(UnresolvedError, match="no-such-board"):
        resolve("no-such-board", query, role="networks")
    for name, like, message in (("rk3588", "rk3588", "needs no similar"), ("a", "rk358", "rk3588")):
        with pytest.raises(UnresolvedError, match=message):
            resolve(name, query, role="networks", similar_to=like)
    found = resolve_one("no-such-board", query, role="networks", similar_to="rk3588")
    assert found.predictor.target == Target("no-such-board", "ncnn")
    assert any("taken to be like rk3588" in text for text in found.notes)
    assert any("measurements on rk3588 by ncnn in" in text for text in found.notes)
    own = resolve_one("rk3588", query, role="networks").predictor
    lower, upper = (p.predict_interval(GRAPHS, 0.9) for p in (found.predictor, own))
    assert (found.predictor.predict(GRAPHS) > 0).all()
    assert (np.log(lower[1] / lower[0]) > np.log(upper[1] / upper[0])).all()
