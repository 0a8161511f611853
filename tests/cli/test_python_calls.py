"""Whatever the command line can do, Python does in one call, and both give the same record."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx
import polars as pl
import pytest

import latcast as lc
from latcast.data import Dataset
from latcast.models.inputs import as_archs
from latcast.report.record import Record

from .test_every_command import COMMANDS

# Command -> the call that does it; groups of one purpose stand together.
CALLS = {
    "accuracy evaluate": "models.accuracy.records.AccuracyEvaluation.of",
    "accuracy predict": "models.accuracy.records.AccuracyPrediction.of",
    "accuracy train": "models.accuracy.records.train_and_score",
    "adapt": "adapt",
    "audit": "audit",
    "bench devices": "bench.devices.run",
    "bench families": "bench.families.run",
    "bench gpu": "bench.gpu.run",
    "bench paper": "bench.paper.run",
    "bench search": "bench.search.run",
    "bench transfer": "bench.transfer.run",
    "check": "check",
    "choose": "choose",
    "compare": "compare",
    "data fetch": "data.fetch.fetch",
    "data list": "data.fetch.DataSources.of_all",
    "devices": "list_devices",
    "evaluate": "evaluate",
    "export": "export",
    "host check": "measure.hosts.preparing.check",
    "host prepare": "measure.hosts.preparing.prepare",
    "host remove": "measure.hosts.preparing.remove",
    "inspect": "inspect",
    "lookup-table build": "models.measured_table.build_table",
    "lookup-table convert": "predictors.LookupTable.from_ofa",
    "measure": "measure.measure_networks",
    "models": "list_models",
    "predict": "forecast",
    "search": "search",
    "spaces": "list_spaces",
    "suggest": "suggest",
    "train": "train",
    "tune": "tune",
    "which": "which",
}
# What makes no record: it serves them, or joins what commands have written.
NO_RESULT = {"serve", "explore", "report"}


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - NO_RESULT))
def test_every_command_has_its_call(name: str) -> None:
    found: Any = lc
    path = CALLS[name].split(".")
    for n, part in enumerate(path):
        if not hasattr(found, part):
            import_module(f"latcast.{'.'.join(path[: n + 1])}")
        found = getattr(found, part)
    assert callable(found)
    assert found.__doc__


SPACE = lc.space("ofa-mobilenet-v3")
ARCHS = SPACE.sample(2, seed=3, restrict={"r": [224]})
DEVICE = "epyc-genoa-2c-onnxruntime-b1-t1"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (
            ("train", "data.parquet", "--predictor", "flops", "--out", "flops.latcast"),
            lambda: lc.train("data.parquet", "flops", out="flops.latcast"),
        ),
        (
            ("evaluate", "flops.latcast", "few.parquet"),
            lambda: lc.evaluate("flops.latcast", "few.parquet"),
        ),
        (
            ("adapt", "samsung-note10", "few.parquet", "--samples", 9, "--out", "a.latcast"),
            lambda: lc.adapt("samsung-note10", Path("few.parquet"), samples=9, out="a.latcast"),
        ),
        (("audit", "few.parquet"), lambda: lc.audit("few.parquet")),
        (("compare", "a.latcast", "few.parquet"), lambda: lc.compare("a.latcast", "few.parquet")),
        (("inspect", "net.onnx", "--batch", 2), lambda: lc.inspect("net.onnx", batch=2)),
        (
            ("predict", "archs.json", "--device", "tesla-p40"),
            lambda: lc.forecast("archs.json", "tesla-p40"),
        ),
        (
            ("predict", "net.onnx", "--device", DEVICE, "--sweep", "batch=1,2"),
            lambda: lc.sweep("net.onnx", DEVICE, "batch", [1, 2]),
        ),
        (
            ("predict", "net.onnx", "--device", "pixel-7", "--vary", "bandwidth_gb_s=20,40"),
            lambda: lc.vary("net.onnx", "pixel-7", "bandwidth_gb_s", [20, 40]),
        ),
        (
            ("which", "net.onnx", "--max-latency", 90, "--device", "pixel-7"),
            lambda: lc.which("net.onnx", 90, devices=["pixel-7"]),
        ),
        (
            ("suggest", "--device", "pixel-7", "--samples", 2),
            lambda: lc.suggest_on("pixel-7", samples=2),
        ),
        (("devices", "--kind", "phone"), lambda: lc.list_devices("phone")),
        (("models",), lc.list_models),
        (("models", "tesla-p40"), lambda: lc.model_card("tesla-p40")),
        (("spaces",), lc.list_spaces),
    ],
    ids=lambda x: " ".join(map(str, x[:2])) if isinstance(x, tuple) else "",
)
def test_one_call_gives_the_record_that_is_printed(
    arguments: tuple[object, ...],
    call: Callable[[], Record],
    files: Path,
    latcast: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(files)
    printed = latcast.json(*arguments)
    found = call()
    assert isinstance(found, Record)
    assert json.loads(found.to_json()) == printed


def test_records_of_how_a_model_was_made_have_it_at_hand(
    synthetic: Dataset, tmp_path: Path
) -> None:
    trained = lc.train(synthetic[:300], "flops", out=tmp_path / "m.latcast")
    again = lc.load(tmp_path / "m.latcast")
    assert (trained.fitted_model.predict(ARCHS) == again.predict(ARCHS)).all()
    assert "fitted_model" not in trained.to_dict()
    adapted = lc.adapt(trained.fitted_model, synthetic[300:320])
    assert adapted.base == "imaginary/simulator/b2"
    assert lc.evaluate(adapted.fitted_model, synthetic[320:400]).rows == 80
    with pytest.raises(ValueError, match=r"must end in \.latcast"):
        lc.train(synthetic[:300], "flops", out=tmp_path / "m.txt")
    with pytest.raises(ValueError, match="did you mean 'bayes'"):
        lc.adapt("tesla-p40", synthetic[300:320], method="baies")


# --- inputs as people have them ---------------------------------------------------------------


def forms_of_archs() -> dict[str, Any]:
    genes = {g.name: ARCHS.genes[:, n].tolist() for n, g in enumerate(SPACE.genes)}
    dicts = pl.DataFrame({"arch": ARCHS.to_dicts()})
    return {
        "a list of dicts": ARCHS.to_dicts(),
        "a frame of dicts": dicts,
        "a frame of genes": pl.DataFrame(genes),
        "a frame of JSON": pl.DataFrame({"arch": [json.dumps(d) for d in ARCHS.to_dicts()]}),
        "an Arrow stream": dicts.lazy().collect(),
        "a batch": ARCHS,
    }


@pytest.mark.parametrize("form", forms_of_archs())
def test_architectures_in_every_form(form: str) -> None:
    given = forms_of_archs()[form]
    assert as_archs(given, SPACE) == ARCHS
    found = lc.forecast(given, "tesla-p40")
    assert found.to_dict() == lc.forecast(ARCHS, "tesla-p40").to_dict()


@pytest.mark.slow
def test_pandas_frames_and_single_architectures(synthetic: Dataset) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    dicts = synthetic.archs[:40].to_dicts()
    frame = pandas.DataFrame({"arch": dicts, "latency_ms": synthetic.latency_ms[:40]})
    read = lc.read(frame, space=SPACE, target=synthetic.target)
    assert read.archs == synthetic.archs[:40]
    assert (read.latency_ms == synthetic.latency_ms[:40]).all()
    assert lc.read(read) is read
    both = [
        lc.adapt("samsung-note10", data, space=SPACE, target=read.target) for data in (frame, read)
    ]
    assert both[0].to_json() == both[1].to_json()
    cell = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    assert len(as_archs(cell, lc.space("nasbench201"))) == 1
    chosen = lc.suggest(SPACE.name, 3, base="samsung-note10", measured=frame)
    assert chosen == lc.suggest(SPACE, 3, base=lc.load("samsung-note10"), measured=read.archs)


def test_networks_in_every_form(files: Path) -> None:
    path = files / "net.onnx"
    forms = [str(path), path, path.read_bytes(), onnx.load(path), lc.read_graph(path)]
    want, *others = [lc.forecast(form, DEVICE).devices[0].latency_ms for form in forms]
    assert others == [want] * 4
    assert lc.inspect(forms[-1]).total == lc.inspect(path).total
    assert lc.which(forms[2], 90, devices=["pixel-7"]).network == "bytes"


def test_a_module_is_a_network_with_the_shapes_of_its_arguments() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    found = lc.forecast(module, DEVICE, shapes={"input": (1, 3, 32, 32)})
    assert found.network.name == "Sequential"
    assert found.network.macs == 8 * 27 * 900
    with pytest.raises(ValueError, match="shapes of its arguments"):
        lc.forecast(module, DEVICE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lc.forecast(42, "tesla-p40"), "must be a file .* got int"),  # type: ignore[arg-type]
        (lambda: lc.forecast([], "tesla-p40"), "got list of none"),
        (lambda: lc.which({1}, 9), "must be a file .* got set"),  # type: ignore[arg-type]
        (lambda: lc.read(42, space=SPACE), "must be a file, a frame .* got int"),  # type: ignore[arg-type]
        (lambda: lc.forecast(pl.DataFrame({"x": [1]}), "tesla-p40"), "must have a column 'arch'"),
        (lambda: lc.read(pl.DataFrame({"arch": []})), "must have rows"),
        (lambda: lc.sweep(b"", DEVICE, "batch", [1]), "got bytes: its sides are fixed"),
    ],
)
def test_errors_say_what_is_taken(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_measuring_is_one_call(
    instant_campaigns: None, lock_of_its_own: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latcast.measure._record.run", lc.measure.run)
    archs = SPACE.sample(4, seed=0, restrict={"r": [128]})
    out = tmp_path / "here.parquet"
    found = lc.measure.measure_networks(archs, "here/onnxruntime/b1/t1", out, runs=2)
    assert lc.read(out).archs == archs
    assert (found.dataset, found.target) == (str(out), "here/onnxruntime/b1/t1")
    again = lc.measure.measure_networks(
        archs, lc.Target.parse("here/onnxruntime/b1/t1"), out, runs=2, resume=True
    )
    assert again.dataset == found.dataset
    with pytest.raises(ValueError, match=r"must end in \.parquet"):
        lc.measure.measure_networks(archs, "here/onnxruntime/b1/t1", tmp_path / "x.csv")
