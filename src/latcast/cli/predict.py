"""``latcast predict``: how long architectures take on devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from ._common import (
    GRAPH_SUFFIXES,
    find_space,
    is_graph_file,
    parse_shapes,
    print_table,
    resolving,
)
from ._console import FAILED, OUTPUT, Console, UsageError, command, print_json, write_text
from ._graph_tables import print_network
from ._options import (
    INPUT,
    TARGET,
    BaseModelName,
    DeviceNames,
    Devices,
    GraphShapes,
    check_share,
    check_usable,
)

if TYPE_CHECKING:
    from latcast.models.forecast import Forecast

Record = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """Which target of a device is meant."""

    panel: ClassVar[str] = TARGET

    device: DeviceNames
    model: BaseModelName = None
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Of the target; what is given holds exactly."),
    ] = None
    precision: Annotated[
        str | None, typer.Option("--precision", help="Likewise, such as fp16.")
    ] = None
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="Likewise, such as onnxruntime.")
    ] = None
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Likewise, of the CPU.")
    ] = None


@dataclass(frozen=True)
class Shown:
    """What is shown, and where."""

    panel: ClassVar[str] = OUTPUT

    layers: Annotated[
        int, typer.Option("--layers", min=0, help="Kernels of a model's file to list.")
    ] = 10
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page on a model's file, too.")
    ] = None


@command
def predict(
    console: Console,
    network: Annotated[
        Path,
        typer.Argument(
            help="A model's file (.onnx, .pt2), or JSON: one architecture, or a list of them."
        ),
    ],
    target: Target,
    shown: Shown,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            help="Space of the architectures; the model's own, or ofa-mobilenet-v3 by default.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    shape: GraphShapes = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where an operator is not supported.")
    ] = False,
    coverage: Annotated[float, typer.Option("--coverage", help="Of the intervals.")] = 0.9,
    devices: Devices = None,
) -> None:
    """Predict latency, and where the milliseconds go.

    What --batch, --precision, --runtime and --threads ask for is what the answer is for: by the
    device's own model, by another shipped model of it, or, for architectures, by its
    specification, with a wide interval. A device with several models that fit has a row for each.

    Example: latcast predict arch.json --device samsung-note10 --device tesla-p40
    """
    check_share(coverage, "--coverage")
    is_graph = is_graph_file(network)
    if is_graph:
        _check_options("architectures", {"--model": target.model, "--space": space})
    else:
        own = {"--shape": shape, "--strict": strict, "--html": shown.html}
        _check_options("models' files", own)
    _check_files(network, shown.html)
    found = _forecast(
        network, target.device, runtime=target.runtime, batch=target.batch,
        precision=target.precision, threads=target.threads,
        space=find_space(space) if space else None, base=target.model, coverage=coverage,
        shapes=parse_shapes(shape), strict=strict,
    )  # fmt: skip
    _tell(console, found)
    if shown.html is not None:
        _write_page(console, shown.html, found.answered)
    if console.json:
        print_json(found.record)
    elif is_graph:
        print_network(found.answered, shown.layers)
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


def _tell(console: Console, found: Forecast) -> None:
    """Notes and errors of all rows, and notes of the record, on stderr."""
    for row in found.rows:
        for text in row.get("notes", ()):
            console.note(f"note: {text}")
        if "error" in row:
            typer.echo(f"error: {row['device']}: {row['error']}", err=True)
    if isinstance(found.record, dict):
        for text in found.record["notes"]:
            console.note(f"note: {text}")


def _write_page(console: Console, path: Path, record: Record) -> None:
    from latcast.report.network_page import network_page

    write_text(path, network_page(record))
    console.note(f"wrote {path}")


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
