"""``latcast predict``: how long architectures take on devices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._by_specification import Wish
from ._common import (
    Debug,
    Devices,
    Json,
    Quiet,
    UsageError,
    fails_cleanly,
    find_space,
    note,
    note_table,
    print_json,
    print_table,
    read_architectures,
)
from ._graphs import GRAPH_SUFFIXES, GraphShapes, is_graph_file
from ._layer_models import Settings
from ._predict_graph import Request, run

if TYPE_CHECKING:
    from latcast.models import Predictor
    from latcast.spaces import Archs, SearchSpace


@fails_cleanly
def command(
    network: Annotated[
        Path,
        typer.Argument(
            help="A model's file (.onnx, .pt2), or JSON: one architecture, or a list of them."
        ),
    ],
    device: Annotated[
        list[str],
        typer.Option(
            "--device",
            help="A shipped model, a device of the catalogue, or a .latcast file; repeatable.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Base model for devices by their specification alone."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Of the target, where the device leaves a choice."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Likewise, such as fp16.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="Likewise, such as onnxruntime.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            help="Space of the architectures; the model's own, or ofa-mobilenet-v3 by default.",
        ),
    ] = None,
    shape: GraphShapes = None,
    layers: Annotated[
        int, typer.Option("--layers", min=0, help="Kernels of a model's file to list.")
    ] = 10,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where the cost of an operator is not known.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page on a model's file, too.")
    ] = None,
    coverage: Annotated[float, typer.Option("--coverage", help="Of the intervals.")] = 0.9,
    devices: Devices = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict latency, and where the milliseconds go.

    Of an architecture, a device without a model of its own is predicted from its specification,
    with a wide interval; so is any device when --model, --batch, --precision or --runtime asks for
    it. Of a model's file, these choose among the layer models of a device.

    Example: latcast predict arch.json --device samsung-note10 --device tesla-p40
    """
    if not 0 < coverage < 1:
        raise UsageError(f"--coverage must be between 0 and 1, such as 0.9; got {coverage}")
    if is_graph_file(network):
        _check_options("architectures", {"--model": model, "--space": space})
        settings = Settings(batch, precision, runtime)
        request = Request(
            network, device, settings, shape or [], coverage, layers, strict=strict, page=html
        )
        run(request, json=json, quiet=quiet)
        return
    if network.suffix.lower() != ".json":
        raise UsageError(
            f"what to predict must end in {', '.join(GRAPH_SUFFIXES)} (a model) or .json "
            f"(architectures); got {network}"
        )
    _check_options("models' files", {"--shape": shape, "--strict": strict, "--html": html})
    wish = Wish(
        model, batch or 1, precision or "fp32", runtime, find_space(space) if space else None
    )
    _predict_architectures(network, device, wish, coverage, json=json, quiet=quiet)


def _check_options(what: str, options: Mapping[str, object]) -> None:
    """Make sure that no option is given that is for something else."""
    for name, value in options.items():
        if value:
            raise UsageError(f"{name} is for {what}; leave it out")


def _predict_architectures(
    path: Path, device: list[str], wish: Wish, coverage: float, *, json: bool, quiet: bool
) -> None:
    asked = wish.space
    predictors = {name: wish.predictor(name, quiet=quiet) for name in device}
    for name, p in predictors.items():
        if asked is not None and asked.block_space != p.space.name:
            raise UsageError(f"{name} is for {p.space.name}; it knows nothing of {asked.name}")
    items = read_architectures(path)
    results = []
    for name, p in predictors.items():
        archs = _parse(items, asked or p.space)
        _note_doubts(name, p, archs, coverage, quiet=quiet)
        results.append(_result(name, p, archs, coverage))
    if json:
        print_json(results)
        return
    for result in results:
        _print(result)


def _parse(items: list[Any], space: SearchSpace) -> Archs:
    try:
        return space.parse(items)
    except ValueError as error:
        raise ValueError(f"{error} (read as {space.name}; --space names another)") from error


def _result(name: str, predictor: Predictor, archs: Archs, coverage: float) -> dict[str, Any]:
    predicted = predictor.predict(archs)
    explanation = predictor.explain(archs)
    lower, upper = (
        predictor.predict_interval(archs, coverage) if predictor.covers(coverage) else (None, None)
    )
    table = predictor.space.block_table
    costs = archs.space.costs(archs).to_dicts()
    networks = []
    for n in range(len(archs)):
        used = explanation.block_ids[n] < len(table)
        blocks = [
            {"block": table.blocks[i].name, "ms": ms}
            for i, ms in zip(
                explanation.block_ids[n][used].tolist(),
                explanation.blocks_ms[n][used].tolist(),
                strict=True,
            )
        ]
        networks.append(
            {
                "latency_ms": float(predicted[n]),
                "lower_ms": None if lower is None else float(lower[n]),
                "upper_ms": None if upper is None else float(upper[n]),
                "costs": costs[n],
                "blocks": blocks,
                "network_ms": float(explanation.network_ms[n]),
            }
        )
    return {
        "device": name,
        "target": str(predictor.target),
        "basis": "specification" if predictor.fitted.card.get("rows") == 0 else "measurements",
        "space": archs.space.name,
        "coverage": coverage,
        "architectures": networks,
    }


def _print(result: dict[str, Any]) -> None:
    interval = f"{result['coverage'] * 100:g} % interval"
    rows = []
    for n, a in enumerate(result["architectures"]):
        bounds = "–" if a["lower_ms"] is None else f"{a['lower_ms']:.3f} – {a['upper_ms']:.3f}"
        costs = a["costs"]
        rows.append(
            [
                str(n),
                f"{a['latency_ms']:.3f}",
                bounds,
                f"{costs['macs'] / 1e6:.1f}",
                f"{costs['params'] / 1e6:.2f}",
            ]
        )
    print_table(
        ["architecture", "latency ms", interval, "MACs (M)", "parameters (M)"],
        rows,
        title=f"{result['device']} ({result['target']}), {result['space']}",
    )
    if len(rows) > 1:
        return
    only = result["architectures"][0]
    parts = [(b["block"], b["ms"]) for b in only["blocks"]]
    parts.append(("whole network (no single block)", only["network_ms"]))
    shares = [[name, f"{ms:.3f}", f"{100 * ms / only['latency_ms']:.1f}"] for name, ms in parts]
    print_table(["block", "ms", "%"], shares, title="where the milliseconds go")


def _note_doubts(
    name: str, predictor: Predictor, archs: Archs, coverage: float, *, quiet: bool
) -> None:
    note_table(predictor, name, quiet=quiet)
    if not predictor.covers(coverage):
        note(f"note: {name} has too little calibration for {coverage:g} intervals", quiet=quiet)
    seen = predictor.fitted.seen.get("r", [])
    unseen = set(archs.space.expand(archs).genes[:, -1].tolist()) - set(seen)
    if seen and unseen:
        note(
            f"note: {name} was trained on resolutions {', '.join(map(str, seen))}; at "
            f"{', '.join(map(str, sorted(unseen)))} it extrapolates, and its interval is too "
            "narrow there",
            quiet=quiet,
        )
