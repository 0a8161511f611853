"""``latcast predict``: how long networks take on devices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._common import (
    FAILED,
    Debug,
    Devices,
    Json,
    Quiet,
    UsageError,
    check_usable,
    fails_cleanly,
    find_space,
    note,
    print_json,
    print_table,
    resolving,
)
from ._graph_tables import print_network
from ._graphs import GRAPH_SUFFIXES, GraphShapes, is_graph_file, parse_shapes

if TYPE_CHECKING:
    from latcast.models.forecast import Forecast

Record = dict[str, Any]


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
            help="A shipped model, a device, a target, or a .latcast file; repeatable.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Base model for devices by their specification alone."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Of the target; what is given holds exactly."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Likewise, such as fp16.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="Likewise, such as onnxruntime.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Likewise, of the CPU.")
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

    What --batch, --precision, --runtime and --threads ask for is what the answer is for: by the
    device's own model, by another shipped model of it, or, for architectures, by its
    specification, with a wide interval. A device with several models that fit has a row for each.

    Example: latcast predict arch.json --device samsung-note10 --device tesla-p40
    """
    if not 0 < coverage < 1:
        raise UsageError(f"--coverage must be between 0 and 1, such as 0.9; got {coverage}")
    is_graph = is_graph_file(network)
    if is_graph:
        _check_options("architectures", {"--model": model, "--space": space})
    else:
        _check_options("models' files", {"--shape": shape, "--strict": strict, "--html": html})
    _check_files(network, html)
    found = _forecast(
        network, device, runtime=runtime, batch=batch, precision=precision, threads=threads,
        space=find_space(space) if space else None, base=model, coverage=coverage,
        shapes=parse_shapes(shape), strict=strict,
    )  # fmt: skip
    _tell(found, quiet=quiet)
    if html is not None:
        _write_page(html, found.answered, quiet=quiet)
    if json:
        print_json(found.record)
    elif is_graph:
        print_network(found.answered, layers)
    else:
        for row in found.rows:
            if "error" not in row:
                _print(row)
    if found.errors:
        raise typer.Exit(FAILED)


def _check_options(what: str, options: Mapping[str, object]) -> None:
    """Make sure that no option is given that is for something else."""
    for name, value in options.items():
        if value:
            raise UsageError(f"{name} is for {what}; leave it out")


def _check_files(network: Path, page: Path | None) -> None:
    """Make sure that there is something to read, and that a page can be written."""
    from latcast._files import check_writable

    if not is_graph_file(network) and network.suffix.lower() != ".json":
        raise UsageError(
            f"what to predict must end in {', '.join(GRAPH_SUFFIXES)} (a model) or .json "
            f"(architectures); got {network}"
        )
    check_usable(network)
    if page is not None:
        check_writable(page)


def _forecast(network: Path, device: list[str], **options: Any) -> Forecast:
    from latcast.models.forecast import forecast

    with resolving():
        return forecast(network, device, **options)


def _tell(found: Forecast, *, quiet: bool) -> None:
    """Notes and errors of all rows, and notes of the record, on stderr."""
    for row in found.rows:
        for text in row.get("notes", ()):
            note(f"note: {text}", quiet=quiet)
        if "error" in row:
            typer.echo(f"error: {row['device']}: {row['error']}", err=True)
    if isinstance(found.record, dict):
        for text in found.record["notes"]:
            note(f"note: {text}", quiet=quiet)


def _write_page(path: Path, record: Record, *, quiet: bool) -> None:
    from latcast._files import atomic_path
    from latcast.report.network_page import network_page

    with atomic_path(path) as temporary:
        temporary.write_text(network_page(record), encoding="utf-8")
    note(f"wrote {path}", quiet=quiet)


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
