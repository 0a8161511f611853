"""``latcast search``: the most accurate network within a latency budget."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._common import (
    Debug,
    Json,
    Quiet,
    Seed,
    UsageError,
    fails_cleanly,
    find_space,
    load_model,
    note,
    note_table,
    print_json,
    print_table,
    progress_bar,
    usage,
)

if TYPE_CHECKING:
    from latcast.search import SearchResult


@fails_cleanly
def command(
    device: Annotated[
        str, typer.Option("--device", help="Name of a shipped model, or a .latcast file.")
    ],
    max_latency: Annotated[
        list[float], typer.Option("--max-latency", help="Budget in ms; repeatable.")
    ],
    space: Annotated[
        str | None, typer.Option("--space", help="Search space; the model's own by default.")
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", help="Keep budgets with this probability, such as 0.9."),
    ] = None,
    resolution: Annotated[
        list[int] | None, typer.Option("--resolution", help="Search these only; repeatable.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="auto, exhaustive or evolution.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the architectures here, as JSON.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find the most accurate network within a budget.

    Example: latcast search --device samsung-note10 --max-latency 20 --confidence 0.9
    """
    from latcast.search import METHODS, InfeasibleError
    from latcast.search import search as run

    if method not in METHODS:
        raise UsageError(f"--method must be one of {', '.join(METHODS)}; got {method!r}")
    if confidence is not None and not 0 < confidence < 1:
        raise UsageError(f"--confidence must be between 0 and 1, such as 0.9; got {confidence}")
    for budget in max_latency:
        if not 0 < budget < float("inf"):
            raise UsageError(f"--max-latency must be a positive number of ms; got {budget}")
    predictor = load_model(device)
    the_space = find_space(space) if space else predictor.space
    title = f"searching {the_space.name}"
    with usage(InfeasibleError), progress_bar(title, quiet=quiet) as progress:
        result = run(
            the_space,
            latency=predictor,
            max_latency_ms=max_latency,
            confidence=confidence,
            restrict={"r": resolution} if resolution else None,
            method=method,
            seed=seed,
            progress=progress,
        )
    records = _records(result)
    if out is not None:
        from latcast._files import atomic_path

        with atomic_path(out) as path:
            path.write_text(jsonlib.dumps([r["arch"] for r in records]) + "\n", encoding="utf-8")
    if json:
        print_json(
            {
                "device": device,
                "target": str(predictor.target),
                "space": the_space.name,
                "method": result.method,
                "confidence": confidence,
                "seed": seed,
                "evaluations": result.evaluations,
                "seconds": result.seconds,
                "found": records,
            }
        )
        return
    _print(device, str(predictor.target), result, records)
    note(
        f"{result.evaluations:,} networks evaluated in {result.seconds:.1f} s"
        + (
            " (all there are: the result is exact)"
            if result.method == "exhaustive"
            else f": the best found, by evolution with seed {seed}"
        ),
        quiet=quiet,
    )
    note_table(predictor, device, quiet=quiet)


def _records(result: SearchResult) -> list[dict[str, Any]]:
    costs = result.archs.space.costs(result.archs).to_dicts()
    dicts = result.archs.to_dicts()
    return [
        {
            "max_latency_ms": float(result.max_latency_ms[n]),
            "accuracy": float(result.accuracy[n]),
            "latency_ms": float(result.latency_ms[n]),
            "lower_ms": _number(result.lower_ms, n),
            "upper_ms": _number(result.upper_ms, n),
            "coverage": result.coverage,
            "kept_probability": _number(result.kept, n),
            "costs": costs[n],
            "arch": dicts[n],
        }
        for n in range(len(result))
    ]


def _number(values: Any, n: int) -> float | None:
    return None if values is None else float(values[n])


def _print(device: str, target: str, result: SearchResult, records: list[dict[str, Any]]) -> None:
    rows = []
    has_depths = all({"r", "d"} <= set(r["arch"]) for r in records)
    for r in records:
        bounds = "–" if r["lower_ms"] is None else f"{r['lower_ms']:.2f} – {r['upper_ms']:.2f}"
        kept = r["kept_probability"]
        rows.append(
            [
                f"{r['max_latency_ms']:g}",
                f"{100 * r['accuracy']:.2f}",
                f"{r['latency_ms']:.2f}",
                bounds,
                "–" if kept is None else f"{100 * kept:.0f}",
                *_described(r["arch"], has_depths),
                f"{r['costs']['macs'] / 1e6:.0f}",
            ]
        )
    print_table(
        [
            "budget ms",
            "top-1 %",
            "ms",
            f"{result.coverage * 100:g} % interval",
            "kept %",
            *(["pixels", "depths"] if has_depths else ["architecture"]),
            "MMACs",
        ],
        rows,
        title=f"most accurate of {result.archs.space.name} on {device} ({target})",
    )


def _described(arch: dict[str, Any], has_depths: bool) -> list[str]:
    """Resolution and depths of an OFA network; of another the first of its dict's forms."""
    if has_depths:
        return [str(arch["r"][0]), "-".join(map(str, arch["d"]))]
    form = next(iter(arch.values()))
    return [form if isinstance(form, str) else " ".join(map(str, form))]
