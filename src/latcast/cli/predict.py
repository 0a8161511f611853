"""``latcast predict``: how long architectures take on devices."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from latcast.predict import Predictor
    from latcast.spaces import Archs, SearchSpace


@fails_cleanly
def command(
    arch: Annotated[Path, typer.Argument(help="JSON: one architecture, or a list of them.")],
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
        int, typer.Option("--batch", min=1, help="Of a device by its specification.")
    ] = 1,
    precision: Annotated[
        str, typer.Option("--precision", help="Of a device by its specification.")
    ] = "fp32",
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", help="Of a device by its specification; the base's by default."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            help="Space of the architectures; the model's own, or ofa-mobilenet-v3 by default.",
        ),
    ] = None,
    coverage: Annotated[float, typer.Option("--coverage", help="Of the intervals.")] = 0.9,
    devices: Devices = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict latency, and where the milliseconds go.

    A device without a model of its own is predicted from its specification, with a wide interval;
    so is any device when --model, --batch, --precision or --runtime asks for it.

    Example: latcast predict arch.json --device samsung-note10 --device tesla-p40
    """
    if not 0 < coverage < 1:
        raise UsageError(f"--coverage must be between 0 and 1, such as 0.9; got {coverage}")
    asked = find_space(space) if space else None
    wish = Wish(model, batch, precision, runtime, asked)
    predictors = {name: wish.predictor(name, quiet=quiet) for name in device}
    for name, p in predictors.items():
        if asked is not None and asked.block_space != p.space.name:
            raise UsageError(f"{name} is for {p.space.name}; it knows nothing of {asked.name}")
    items = read_architectures(arch)
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
