"""The golden records: what each is of. ``record.py`` writes them, ``test_golden.py`` compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import _access as access
from compare import RELATIVE
from inputs import SHARED, TARGET, Kit, inputs, onnx_file, words_of

ONNX = ("mobile", "fire", "tokens", "odd")
MORE_THAN_ONE = ("mobile", "fire", "odd")
SPACE = "ofa-mobilenet-v3"


@dataclass(frozen=True)
class Case:
    """One record.

    Attributes:
        make: it, of JSON's types.
        file: in which it is kept, with others.
        relative: tolerance of its numbers.
        fragile: whether a last digit decides what is found, as in a search of which every step
            follows from the one before: it is compared only where arithmetic rounds as it did.
        marks: of its test.
        needs: a package without which it is skipped.
    """

    make: Callable[[Kit], Any]
    file: str
    relative: float = RELATIVE
    fragile: bool = False
    marks: tuple[str, ...] = ()
    needs: str | None = None


CASES: dict[str, Case] = {}

Make = Callable[[Kit], Any]


def case(name: str, file: str, **options: Any) -> Callable[[Make], Make]:
    """Make a function a record called ``name``."""

    def register(make: Make) -> Make:
        CASES[name] = Case(make, file, **options)
        return make

    return register


# --- the command line -------------------------------------------------------------------------


@case("predict-onnx", "cli")
def predict_onnx(kit: Kit) -> Any:
    return kit.run(
        "predict", kit.onnx("mobile"), "--device", "samsung-note10", "--device", "arc-a770",
        "--device", "epyc-genoa-2c", "--runtime", "openvino", "--precision", "fp32",
    ), kit.run(
        "predict", kit.onnx("mobile"), "--device", "samsung-note10", "--device", "rtx-2080-ti",
        "--device", "epyc-genoa-2c-onnxruntime-b1-t1",
    )  # fmt: skip


@case("predict-onnx-odd", "cli")
def predict_odd(kit: Kit) -> Any:
    odd = kit.onnx("odd")
    return (
        kit.run("predict", odd, "--device", "tesla-p40", "--device", "help-pixel3"),
        kit.run("predict", odd, "--device", "help-v100-32", "--coverage", 0.8),
        kit.run("predict", odd, "--device", "tesla-p40", "--strict", code=1),
    )


@case("page", "cli")
def page(kit: Kit) -> Any:
    html = kit.folder / "page.html"
    told = kit.run("predict", kit.onnx("odd"), "--device", "samsung-note10", "--device",
                   "help-v100-32", "--html", html)  # fmt: skip
    return {"notes": told["notes"], "words": words_of(html.read_text(encoding="utf-8"))}


@case("inspect", "cli")
def inspect(kit: Kit) -> Any:
    return [kit.run("inspect", kit.onnx(name)) for name in ("mobile", "odd", "tokens")]


@case("exported-program", "cli")
def exported_program(kit: Kit) -> Any:
    program = kit.old("small.pt2")
    return (
        kit.run("inspect", program),
        kit.run("predict", program, "--device", "samsung-note10", "--device", "help-pixel2"),
    )


@case("predict-archs", "cli", marks=("slow",))
def predict_archs(kit: Kit) -> Any:
    archs = kit.archs(SPACE, 3)
    return (
        kit.run("predict", archs, "--device", "samsung-note10", "--device", "rtx-2080-ti",
                "--device", "help-v100-32"),
        kit.run("predict", archs, "--device", "raspberry-pi-4", "--device", "apple-m2"),
        kit.run("predict", archs, "--device", "tesla-v100", "--batch", 32, "--precision", "fp16"),
        kit.run("predict", kit.archs("nasbench201", 2), "--device", "tesla-t4",
                "--space", "nasbench201"),
    )  # fmt: skip


@case("predict-target", "cli", marks=("slow",))
def predict_target(kit: Kit) -> Any:
    archs = kit.archs(SPACE, 1)
    return [
        kit.run("predict", archs, "--device", "tesla-p40", *options)
        for options in ((), ("--batch", 1), ("--batch", 64), ("--precision", "fp16"))
    ]


@case("refusals", "cli")
def refusals(kit: Kit) -> Any:
    archs = kit.archs(SPACE, 1)
    return (
        kit.run("predict", archs, "--device", "samsung-note1", code=2),
        kit.run("predict", archs, "--device", "nasbench201", code=2),
        kit.run("predict", kit.onnx("odd"), "--device", "epyc-genoa-2c"),
        kit.run("predict", archs, "--device", "tesla-p40", "--coverage", 2, code=2),
        kit.run("search", "--device", "samsung-note10", "--max-latency", 1, code=1),
        kit.run("train", kit.csv(SPACE), "--out", "x.latcast", code=1),
        kit.run("models", "rtx", code=2),
        kit.run("spaces", "ofa", code=2),
        kit.run("devices", "samsung", code=2),
    )


@case("adapt", "cli", marks=("slow",))
def adapt(kit: Kit) -> Any:
    few = kit.csv(SPACE, 0, 10, device="imaginary", runtime="simulator", batch="1")
    own, of_base = kit.folder / "own.latcast", kit.folder / "of-base.latcast"
    archs = kit.archs(SPACE, 2)
    return (
        kit.run("adapt", "rtx-2080-ti", few, "--space", SPACE, "--out", own),
        kit.run("predict", archs, "--device", own),
        kit.run("adapt", SPACE, few, "--space", SPACE, "--out", of_base),
        kit.run("predict", archs, "--device", of_base),
        kit.run("adapt", "samsung-note10", kit.csv(SPACE), "--space", SPACE, "--target", TARGET,
                "--samples", 10, "--seed", 3, "--out", own),
        kit.run("models", own),
    )  # fmt: skip


# Deviations of draws from few measurements lose digits with another BLAS.
@case("adapt-networks", "cli", relative=1e-7)
def adapt_networks(kit: Kit) -> Any:
    out = kit.folder / "own.latcast"
    return (
        kit.run("adapt", "epyc-genoa-2c-ncnn-b1-t1", kit.networks(), "--samples", 10,
                "--out", out),
        kit.run("predict", kit.onnx("fire"), "--device", out),
    )  # fmt: skip


SMALL = ("--evaluations", 3_000, "--seed", 1)


def _thinned(found: dict[str, Any]) -> dict[str, Any]:
    """A search's answer with a part of its front."""
    front = found["output"]["front"]
    found["output"]["front"] = front[:: 1 + len(front) // 20]
    return {**found, "front": len(front)}


@case("search-budgets", "cli", fragile=True)
def search_budgets(kit: Kit) -> Any:
    budgets = [x for ms in (15, 20, 25, 30, 35) for x in ("--max-latency", ms)]
    return _thinned(kit.run("search", "--device", "samsung-note10", *budgets, *SMALL))


@case("search-devices", "cli", fragile=True)
def search_devices(kit: Kit) -> Any:
    return _thinned(kit.run(
        "search", "--device", "samsung-note10", "--device", "rtx-2080-ti", "--device", "apple-m2",
        "--max-latency", "25,20,40", "--max-latency", "30,24,60", "--confidence", 0.9,
        "--max-macs", "450M", *SMALL,
    ))  # fmt: skip


# A part of the space of which all networks are evaluated: nothing is left to rounding but the
# accuracies, which are sums of 32-bit products.
@case("search-exact", "cli", relative=1e-6)
def search_exact(kit: Kit) -> Any:
    budgets = [x for ms in (18, 20, 22, 24, 26) for x in ("--max-latency", f"{ms},{ms + 4}")]
    return _thinned(kit.run(
        "search", "--space", "compofa-fixed-kernel", "--resolution", 192, "--method",
        "exhaustive", "--device", "samsung-note10", "--device", "tesla-p40", *budgets,
        "--confidence", 0.9,
    ))  # fmt: skip


@case("search-limits", "cli", relative=1e-6)
def search_limits(kit: Kit) -> Any:
    return _thinned(kit.run(
        "search", "--space", "compofa-fixed-kernel", "--resolution", 160, "--method",
        "exhaustive", "--device", "rtx-2080-ti", "--max-latency", 20, "--max-params", "7M",
        "--max-activation", "5MB", "--max-macs", "300M",
    ))  # fmt: skip


@case("search-methods", "cli", fragile=True)
def search_methods(kit: Kit) -> Any:
    few = ("--device", "tesla-p40", "--resolution", 160, "--max-latency", 14)
    return [
        _thinned(kit.run("search", *few, "--method", method, "--evaluations", 800, "--seed", 2))
        for method in ("memetic", "evolution", "nsga2", "random")
    ]


@case("search-cells", "cli")
def search_cells(kit: Kit) -> Any:
    table = kit.accuracies("nasbench201")
    own = kit.folder / "cells.latcast"
    kit.run("train", kit.csv("nasbench201"), "--space", "nasbench201", "--target", TARGET,
            "--predictor", "flops", "--out", own)  # fmt: skip
    return _thinned(
        kit.run("search", "--device", own, "--accuracy", table, "--space", "nasbench201")
    )


@case("audit", "cli")
def audit(kit: Kit) -> Any:
    from_table = kit.csv(SPACE)
    lines = from_table.read_text(encoding="utf-8").splitlines()
    copied = kit.write("copied.csv", "\n".join([*lines, *lines[1:30]]) + "\n")
    options = ("--space", SPACE, "--target", TARGET)
    return (
        kit.run("audit", from_table, *options),
        kit.run("audit", copied, *options),
        kit.run("audit", kit.networks()),
    )


def _train(kit: Kit, kind: str) -> Any:
    out = kit.folder / f"{kind}.latcast"
    # A table needs rows of every block: of cells there are few.
    space = "nasbench201" if kind == "lookup-table" else SPACE
    options = ("--space", space, "--target", TARGET)
    return (
        kit.run("train", kit.csv(space, 0, 110), *options, "--predictor", kind, "--out", out),
        kit.run("evaluate", out, kit.csv(space, 110, None), *options),
        kit.run("predict", kit.archs(space, 2), "--device", out, "--coverage", 0.5),
    )


for _kind in ("roofline", "bayes", "lookup-table", "flops"):
    # A table is fitted iteratively, to 1e-8: with another BLAS it ends elsewhere within that, and
    # intervals of draws lose digits.
    _relative = {"lookup-table": 1e-6, "bayes": 1e-7}.get(_kind, RELATIVE)
    case(f"train-{_kind}", "train", relative=_relative)(partial(_train, kind=_kind))


@case("train-mlp", "train", relative=1e-4, fragile=True, needs="torch", marks=("slow",))
def train_mlp(kit: Kit) -> Any:
    return _train(kit, "mlp")


@case("train-layers", "train", marks=("slow",))
def train_layers(kit: Kit) -> Any:
    out = kit.folder / "layers.latcast"
    return (
        kit.run("train", kit.networks(), "--no-families", "--out", out),
        kit.run("evaluate", out, kit.networks()),
        kit.run("predict", kit.onnx("mobile"), "--device", out),
    )


@case("train-base", "train")
def train_base(kit: Kit) -> Any:
    files = [
        kit.csv(SPACE, n, n + 80, device=device, runtime="simulator", batch="1")
        for n, device in ((0, "tesla-v100"), (40, "rtx-2080-ti"), (80, "raspberry-pi-4"))
    ]
    out = kit.folder / "base.latcast"
    return (
        kit.run("train", *files, "--space", SPACE, "--out", out),
        kit.run("predict", kit.archs(SPACE, 2), "--device", "tesla-p40", "--model", out),
    )


@case("suggest", "cli")
def suggest(kit: Kit) -> Any:
    return (
        kit.run("suggest", "--space", SPACE, "--samples", 6),
        kit.run("suggest", "--model", "tesla-p40", "--samples", 4, "--seed", 2),
        kit.run("suggest", "--model", SPACE, "--samples", 3, "--measured", kit.csv(SPACE, 0, 8),
                "--target", TARGET),
    )  # fmt: skip


# Its hyperparameters are where an optimizer stopped: with another BLAS that is 1e-6 off.
@case("accuracy", "cli", relative=5e-6)
def accuracy(kit: Kit) -> Any:
    table, out = kit.accuracies("nasbench201"), kit.folder / "accuracy.latcast"
    return (
        kit.run("accuracy", "predict", SPACE, kit.archs(SPACE, 5)),
        kit.run("accuracy", "train", table, "--space", "nasbench201", "--out", out),
        kit.run("accuracy", "evaluate", out, table, "--space", "nasbench201"),
        kit.run("accuracy", "predict", out, kit.archs("nasbench201", 3)),
    )


@case("lookup-table", "cli")
def lookup_table(kit: Kit) -> Any:
    out = kit.folder / "table.latcast"
    archs = [a for a in inputs()["tables"][SPACE]["archs"] if a["r"] in ([160], 160)][:3]
    return (
        kit.run("lookup-table", "convert", kit.lookup_table(), "--target",
                "imaginary/lookup-table/b1", "--out", out),
        kit.run("predict", kit.write("some.json", _json(archs)), "--device", out),
        kit.run("models", out),
    )  # fmt: skip


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


@case("models", "lists")
def models(kit: Kit) -> Any:
    return kit.run("models"), kit.run("models", "rtx-2080-ti"), kit.run("models", SPACE)


@case("spaces", "lists")
def spaces(kit: Kit) -> Any:
    names = access.space_names()
    one = [kit.run("spaces", name) for name in names]
    return kit.run("spaces"), one, [kit.run("spaces", n, "--sample", 2, "--seed", 5) for n in names]


@case("devices", "lists")
def devices(kit: Kit) -> Any:
    return kit.run("devices"), kit.run("devices", "pixel-3"), kit.run("devices", "--kind", "phone")


@case("tune", "train", needs="optuna", marks=("slow",))
def tune(kit: Kit) -> Any:
    return kit.run(
        "tune", kit.csv("nasbench201"), "--space", "nasbench201", "--target", TARGET,
        "--predictor", "lookup-table", "--trials", 3, "--storage", kit.folder / "tune.db",
    )  # fmt: skip


# --- shipped models ---------------------------------------------------------------------------


def _shipped(kit: Kit, name: str, kind: str) -> Any:
    path, archs = access.shipped_path(name), inputs()["archs"]
    if kind == "latency":
        return access.latency_predictions(path, archs)
    if kind == "base":
        return access.base_predictions(path, archs)
    if kind == "accuracy":
        return access.accuracy_predictions(path, archs)
    alone = "-b1" in name or name.endswith("-1.layers.latcast") or "note10" in name
    names = ONNX if alone else MORE_THAN_ONE
    return access.layer_predictions(path, archs, {n: onnx_file(n) for n in names})


for _name, _kind in access.shipped().items():
    case(f"zoo-{_name}", "zoo")(partial(_shipped, name=_name, kind=_kind))


# --- files of older versions --------------------------------------------------------------------


def _old(kit: Kit, name: str, space: str) -> Any:
    path = kit.old(f"{name}.latcast")
    return (
        kit.run("models", path),
        kit.run("predict", kit.archs(space), "--device", path, "--coverage", 0.8),
    )


for _name, _space in {
    "adapted": "nasbench201", "bayes": "nasbench201", "flops": SPACE,
    "lookup-table": "nasbench201", "mlp": SPACE,
}.items():  # fmt: skip
    # Weights of an MLP have 32 bits, and so have their products.
    # Single precision: what blocks add is a small difference, by other CPUs 5e-6 off.
    _relative = 1e-5 if _name == "mlp" else RELATIVE
    case(f"old-{_name}", "old", relative=_relative)(partial(_old, name=_name, space=_space))


# Its kernels are sums of 32-bit products.
@case("old-accuracy", "old", relative=1e-6)
def old_accuracy(kit: Kit) -> Any:
    model = kit.old("accuracy.latcast")
    return kit.run("accuracy", "predict", model, kit.archs("nasbench201"))


@case("old-datasets", "old")
def old_datasets(kit: Kit) -> Any:
    archs = kit.old("archs.parquet")
    return (
        access.dataset_record(archs),
        access.dataset_record(kit.networks()),
        kit.run("evaluate", kit.old("bayes.latcast"), archs),
        kit.run("evaluate", kit.old("lookup-table.latcast"), archs),
    )


# --- campaigns --------------------------------------------------------------------------------


@case("campaign-archs", "campaigns")
def campaign_archs(kit: Kit) -> Any:
    archs = inputs()["tables"][SPACE]["archs"][:12]
    return access.architecture_campaign(kit.folder / "a.campaign", SPACE, archs)


@case("campaign-order", "campaigns", marks=("worker",))
def campaign_order(kit: Kit) -> Any:
    archs = inputs()["tables"][SPACE]["archs"][:7]
    return access.order_of_runs(kit.folder / "o.campaign", SPACE, archs)


@case("campaign-graphs", "campaigns")
def campaign_graphs(kit: Kit) -> Any:
    members = [m for m in inputs()["members"] if m.startswith(("squeezenet", "mobilenet-v3"))]
    return access.graph_campaign(kit.folder / "g.campaign", members)


# --- networks ---------------------------------------------------------------------------------


@case("graphs-onnx", "graphs")
def graphs_onnx(kit: Kit) -> Any:
    return {
        f"{name} {batch} {runtime}": access.graph_record(onnx_file(name), batch, runtime)
        for name in ONNX
        for batch, runtime in ((1, "onnxruntime"), (1, "openvino"), (32, "onnxruntime"))
        if batch == 1 or name in MORE_THAN_ONE
    }


def _totals(record: dict[str, Any]) -> dict[str, Any]:
    """A graph's record in short: kernels by label, and sums of facts."""
    labels: dict[str, int] = {}
    for label in record.pop("labels"):
        labels[label] = labels.get(label, 0) + 1
    facts = {name: sum(values) for name, values in record.pop("facts").items()}
    kernels = record.pop("kernels")
    del record["operators"]
    return {**record, "kernels": len(kernels), "labels": labels, "facts": facts}


@case("graphs-spaces", "graphs", marks=("slow",))
def graphs_spaces(kit: Kit) -> Any:
    return {
        name: {
            "costs": access.costs_of_archs(name, archs),
            "graph": [
                _totals(access.graph_record(access.arch_onnx(name, archs[0]), 1, runtime))
                for runtime in ("onnxruntime", "openvino")
            ],
        }
        for name, archs in inputs()["archs"].items()
    }


@case("graphs-families", "graphs")
def graphs_families(kit: Kit) -> Any:
    members = inputs()["members"][: len(access.family_names())]
    return {m: _totals(access.graph_record(access.member_onnx(m), 1, "onnxruntime"))
            for m in members}  # fmt: skip


# --- benches ----------------------------------------------------------------------------------


# Deviations of few numbers that are nearly the same lose digits.
@case("bench-transfer", "bench", relative=1e-7, needs="torch", marks=("slow",))
def bench_transfer(kit: Kit) -> Any:
    return kit.run(
        "bench", "transfer", "--data", kit.help_data(), "--space", "nasbench201", "--train",
        "2080ti_1,2080ti_32,titan_rtx_1", "--test", "v100_32,gold_6226", "--samples", 0,
        "--samples", 8, "--selection", "both", "--seeds", 2,
    )  # fmt: skip


@case("bench-gpu", "bench", relative=1e-7, needs="torch", marks=("slow",))
def bench_gpu(kit: Kit) -> Any:
    return kit.run(
        "bench", "gpu", "--data", kit.help_data(), "--space", "nasbench201", "--gpu",
        "rtx-2080-ti", "--samples", 0, "--samples", 5, "--seeds", 2, "--base-samples", 60,
        "--method", "base-model",
    )  # fmt: skip


@case("bench-search", "bench", fragile=True, needs="torch", marks=("slow",))
def bench_search(kit: Kit) -> Any:
    return kit.run("bench", "search", "--help-data", kit.help_search(), "--seeds", 1)


@case("bench-families", "bench", marks=("slow",))
def bench_families(kit: Kit) -> Any:
    return kit.run(
        "bench", "families", kit.networks(), "--family", "vgg", "--samples", 4, "--seeds", 1
    )


@case("bench-paper", "bench", marks=("data",))
def bench_paper(kit: Kit) -> Any:
    return kit.run(
        "bench", "paper", "--data", SHARED / "ofanas", "--predictor", "roofline", "--dataset",
        "note10_lookuptable_ofa",
    )  # fmt: skip
