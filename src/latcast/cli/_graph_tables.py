"""Tables of the forecast of a network."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Any

import typer

from ._common import print_table

NAME_WIDTH, OPERATORS_WIDTH = 22, 18
_BOUNDS = ("compute", "bandwidth", "launch")

Record = dict[str, Any]


def print_network(record: Record, listed: int) -> None:
    """Everything that a record says.

    Args:
        record: of :func:`latcast.report.network_record`.
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
                f"{d['latency_ms']:.3f}",
                f"{d['lower_ms']:.3f} – {d['upper_ms']:.3f}",
                *([f"{d['per_sample_ms']:.3f}"] if samples else []),
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
    print_table(columns, rows, title=record["network"]["name"])
    typer.echo(
        "waits for: compute / bandwidth / launch; unseen: share of the ms outside of what the "
        "model has seen\n"
    )


def _print_costs(network: Record) -> None:
    typer.echo(
        f"{network['layers']} layers in {network['kernels']} kernels, "
        f"{count(network['macs'])} MACs, {count(network['params'])} parameters; moved: "
        f"{count(network['param_bytes'])}B of weights, "
        f"{count(network['activation_bytes'])}B of activations\n"
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
            f"{k['ms']:.3f}",
            f"{100 * k['share']:.1f}",
            count(k["macs"]),
            count(k["moved_bytes"]),
            f"{k['gflop_s']:.1f}" if k["macs"] else "–",
            k["bound"] + (" ?" if k["doubt"] else ""),
        ]
        for k in kernels
    ]
    return columns, rows


def _of_several(kernels: list[Record], devices: list[Record]) -> tuple[list[str], list[list[str]]]:
    columns = ["kernel", "operators", "MACs", "bytes"]
    columns += [f"{_label(n)} ms" for n in range(len(devices))]
    times = [{k["name"]: k for k in d["kernels"]} for d in devices]
    rows = [
        [
            *_names(kernel),
            count(kernel["macs"]),
            count(kernel["moved_bytes"]),
            *(_time(own.get(kernel["name"])) for own in times),
        ]
        for kernel in kernels
    ]
    return columns, rows


def _time(kernel: Record | None) -> str:
    if kernel is None:
        return "–"
    return f"{kernel['ms']:.3f}" + (" ?" if kernel["doubt"] else "")


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


def doubt_text(doubt: Record) -> str:
    """Such as ``conv x 3 (12 % of the ms): output channels 4096, where the model has seen …``."""
    who = f"{doubt['kind']} x {doubt['kernels']} ({100 * doubt['share']:.1f} % of the ms)"
    if not doubt["values"]:
        return f"{who}: {doubt['seen']}"
    least, most = doubt["values"][0], doubt["values"][-1]
    values = f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"
    return f"{who}: {doubt['subject']} {values}, where {doubt['seen']}"


def count(value: float) -> str:
    """A count with three digits and a prefix, powers of 1,000: ``4.09 G``."""
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5 or prefix == "T":
            break
        value /= 1000
    digits = f"{value:.3g}" if prefix else f"{value:.0f}"
    return f"{digits} {prefix}"


def end_of(text: str, width: int) -> str:
    """The last characters of a text, which tell nodes of one file apart."""
    clean = _printable(text)
    return clean if len(clean) <= width else "…" + clean[1 - width :]


def start_of(text: str, width: int) -> str:
    """The first characters of a text."""
    clean = _printable(text)
    return clean if len(clean) <= width else clean[: width - 1] + "…"


def _printable(text: str) -> str:
    """Names in files may hold anything, such as what moves a terminal's cursor."""
    return "".join(c if c.isprintable() else "�" for c in text)
