"""Tables of the forecast of a network."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Any

import typer

from latcast.report._beside import ms_beside
from latcast.report.text import bytes_text, count_text, doubt_text, end_of, ms_text, start_of

from ._common import print_table

NAME_WIDTH, OPERATORS_WIDTH = 22, 18
_BOUNDS = ("compute", "bandwidth", "launch")

Record = dict[str, Any]


def print_network(record: Record, listed: int) -> None:
    """Everything that a record says.

    Args:
        record: of :func:`latcast.models.forecast`.
        listed: kernels to show, the most expensive first.
    """
    _print_devices(record)
    _print_costs(record["network"])
    if listed:
        _print_kernels(record, listed)
    _print_uncosted(record)
    _print_doubts(record)


def _label(n: int) -> str:
    """Short name of the n-th device, for the columns of tables."""
    return ascii_uppercase[n] if n < len(ascii_uppercase) else str(n + 1)


def _print_devices(record: Record) -> None:
    several = len(record["devices"]) > 1
    samples = any(d["batch"] > 1 for d in record["devices"])
    rows = []
    for n, d in enumerate(record["devices"]):
        waits = [f"{100 * d['share_by_bound'][b]:.0f}" for b in _BOUNDS]
        rows.append(
            [
                *([_label(n)] if several else []),
                d["target"],
                ms_text(d["latency_ms"]),
                f"{ms_text(d['lower_ms'])} – {ms_text(d['upper_ms'])}",
                *([ms_text(d["per_sample_ms"])] if samples else []),
                " / ".join(waits),
                f"{100 * d['doubtful_share']:.0f} %",
            ]
        )
    columns = [
        *([""] if several else []),
        "target",
        "ms",
        f"{100 * record['coverage']:g} % interval",
        *(["ms a sample"] if samples else []),
        "waits for %",
        "unseen",
    ]
    print_table(columns, rows, title=start_of(record["network"]["name"], 90))
    typer.echo(
        "waits for: compute / bandwidth / launch; unseen: share of the ms outside of what the "
        "model has seen\n"
    )


def _print_costs(network: Record) -> None:
    typer.echo(
        f"{network['layers']} layers in {network['kernels']} kernels, "
        f"{count_text(network['macs'])} MACs, {count_text(network['params'])} parameters\n"
        f"moved: {bytes_text(network['param_bytes'])} of weights, "
        f"{bytes_text(network['activation_bytes'])} of activations\n"
    )


def _print_kernels(record: Record, listed: int) -> None:
    devices = record["devices"]
    kernels = sorted(devices[0]["kernels"], key=lambda k: -k["ms"])[:listed]
    if len(devices) == 1:
        columns, rows = _of_one(kernels)
    else:
        columns, rows = _of_several(kernels, devices)
    shown = sum(k["share"] for k in kernels)
    title = f"the {len(kernels)} most expensive kernels, {100 * shown:.0f} % of the ms"
    print_table(columns, rows, title=title + (" of A" if len(devices) > 1 else ""))


def _of_one(kernels: list[Record]) -> tuple[list[str], list[list[str]]]:
    columns = ["kernel", "operators", "ms", "%", "MACs", "bytes", "GFLOP/s", "waits for"]
    rows = [
        [
            *_names(k),
            ms_text(k["ms"]),
            f"{100 * k['share']:.1f}",
            count_text(k["macs"]),
            count_text(k["moved_bytes"]),
            f"{k['gflop_s']:.1f}" if k["macs"] else "–",
            k["bound"] + (" ?" if k["doubt"] else ""),
        ]
        for k in kernels
    ]
    return columns, rows


def _of_several(kernels: list[Record], devices: list[Record]) -> tuple[list[str], list[list[str]]]:
    columns = ["kernel", "operators", "MACs", "bytes"]
    columns += [f"{_label(n)} ms" for n in range(len(devices))]
    times = [ms_beside(devices[0]["kernels"], d["kernels"]) for d in devices]
    doubted = [
        {layer for k in d["kernels"] if k["doubt"] for layer in k["layers"]} for d in devices
    ]
    rows = [
        [
            *_names(kernel),
            count_text(kernel["macs"]),
            count_text(kernel["moved_bytes"]),
            *(
                _time(own.get(kernel["name"]), doubt=kernel["name"] in doubts)
                for own, doubts in zip(times, doubted, strict=True)
            ),
        ]
        for kernel in kernels
    ]
    return columns, rows


def _time(ms: float | None, *, doubt: bool) -> str:
    """Milliseconds; a dash where the device's runtime fuses the kernel into another."""
    return ("–" if ms is None else ms_text(ms)) + (" ?" if doubt else "")


def _names(kernel: Record) -> tuple[str, str]:
    return end_of(kernel["name"], NAME_WIDTH), start_of(kernel["operators"], OPERATORS_WIDTH)


def _print_uncosted(record: Record) -> None:
    uncosted = record["uncosted"]
    if not uncosted["layers"]:
        typer.echo("every operator has a known cost")
        return
    rows = []
    for item in uncosted["operators"]:
        shares = [100 * d["uncosted_share"].get(item["operator"], 0.0) for d in record["devices"]]
        rows.append(
            [
                start_of(item["operator"], 40),
                str(item["layers"]),
                f"the {item['unknown']}",
                " / ".join(f"{s:.1f}" for s in shares),
            ]
        )
    print_table(
        ["operator", "layers", "what is not known", "estimated % of the ms"],
        rows,
        title=f"not covered: {uncosted['layers']} layers, {100 * uncosted['share']:.1f} % of all",
    )


def _print_doubts(record: Record) -> None:
    several = len(record["devices"]) > 1
    for n, device in enumerate(record["devices"]):
        if not device["doubts"]:
            continue
        of = f" ({_label(n)})" if several else ""
        typer.echo(f"? outside of what the model has seen{of}:")
        for doubt in device["doubts"]:
            typer.echo(f"  {doubt_text(doubt)}")
