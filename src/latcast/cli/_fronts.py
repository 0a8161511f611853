"""What a search found, as records, tables and files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._common import print_table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from latcast.search import SearchResult
    from latcast.spaces import Archs

MAX_ROWS = 20
"""Of the table of a front; files and JSON hold all of it."""


def records(result: SearchResult) -> list[dict[str, Any]]:
    """One record per network of a result; numbers per target are lists where there are several."""
    costs = result.archs.space.costs(result.archs).to_dicts()
    dicts = result.archs.to_dicts()
    return [
        {
            "max_latency_ms": _number(result.max_latency_ms, n),
            "accuracy": float(result.accuracy[n]),
            "accuracy_std": _number(result.accuracy_std, n),
            "latency_ms": _number(result.latency_ms, n),
            "lower_ms": _number(result.lower_ms, n),
            "upper_ms": _number(result.upper_ms, n),
            "coverage": result.coverage,
            "kept_probability": _number(result.kept, n),
            "costs": costs[n],
            "arch": dicts[n],
        }
        for n in range(len(result))
    ]


def front_records(result: SearchResult) -> list[dict[str, Any]]:
    """One record per network of the front."""
    front = result.front
    costs = front.archs.space.costs(front.archs).to_dicts()
    return [
        {
            "accuracy": float(front.accuracy[n]),
            "accuracy_std": _number(front.accuracy_std, n),
            "latency_ms": _number(front.latency_ms, n),
            "counted_ms": _number(front.counted_ms, n),
            "costs": costs[n],
            "arch": arch,
        }
        for n, arch in enumerate(front.archs.to_dicts())
    ]


def write_archs(path: Path, archs: Archs) -> None:
    """Write architectures in the field's own form, as other commands read them."""
    _write(path, json.dumps(archs.to_dicts()) + "\n")


def write_front(path: Path, result: SearchResult, names: list[str]) -> None:
    """Write the front as JSON records or as CSV, one row per network."""
    found = front_records(result)
    if path.suffix == ".json":
        _write(path, json.dumps(found) + "\n")
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    latency, counted = ("latency_ms", "counted_ms")
    header = ["accuracy", *_columns(latency, names), *_columns(counted, names)]
    writer.writerow([*header, *found[0]["costs"], "arch"])
    for record in found:
        ms = [*_as_list(record[latency]), *_as_list(record[counted])]
        writer.writerow(
            [record["accuracy"], *ms, *record["costs"].values(), json.dumps(record["arch"])]
        )
    _write(path, text.getvalue())


def print_found(result: SearchResult, names: list[str]) -> None:
    """The most accurate network within every budget, as a table."""
    _print(result, records(result), names, has_budgets=True)


def print_front(result: SearchResult, names: list[str]) -> None:
    """The front as a table; of a long one some networks that are equally far apart in ms."""
    import numpy as np

    found = records(result)
    rows = range(len(found))
    if len(found) > MAX_ROWS:
        # Of networks in order of ms (or accuracy) those nearest to equally spaced values.
        ms = np.asarray(result.latency_ms).reshape(len(found), -1)[:, 0]
        wanted = np.linspace(ms.min(), ms.max(), MAX_ROWS)
        rows = np.unique(np.abs(ms[:, None] - wanted).argmin(axis=0)).tolist()
    _print(result, [found[n] for n in rows], names, has_budgets=False)


def _print(
    result: SearchResult, found: list[dict[str, Any]], names: list[str], *, has_budgets: bool
) -> None:
    has_depths = all({"r", "d"} <= set(r["arch"]) for r in found)
    has_interval = len(names) == 1  # of several targets a table would be too wide
    columns = [
        *(["budget ms"] if has_budgets else []),
        "top-1 %",
        "ms",
        *([f"{result.coverage * 100:g} % interval"] if has_interval else []),
        *(["kept %"] if has_budgets else []),
        *(["pixels", "depths"] if has_depths else ["architecture"]),
        "MMACs",
    ]
    rows = [
        [
            *([_joined(r["max_latency_ms"], "g")] if has_budgets else []),
            _accuracy(r),
            _joined(r["latency_ms"], ".2f"),
            *([_interval(r)] if has_interval else []),
            *([_joined(r["kept_probability"], ".0%").replace("%", "")] if has_budgets else []),
            *_described(r["arch"], has_depths),
            f"{r['costs']['macs'] / 1e6:.0f}",
        ]
        for r in found
    ]
    devices = " / ".join(
        f"{name} ({p.target})" for name, p in zip(names, result.predictors, strict=True)
    )
    some = "" if len(found) == len(result) else f"{len(found)} of the {len(result)} networks of "
    title = "most accurate" if has_budgets else f"{some}the front"
    print_table(columns, rows, title=f"{title} of {result.archs.space.name} on {devices}")


def _joined(values: Any, form: str) -> str:
    """Numbers of every target, a dash where they are not known."""
    return "–" if values is None else " / ".join(f"{v:{form}}" for v in _as_list(values))


def _accuracy(record: dict[str, Any]) -> str:
    std = record["accuracy_std"]
    return f"{100 * record['accuracy']:.2f}" + ("" if std is None else f" ± {100 * std:.2f}")


def _interval(record: dict[str, Any]) -> str:
    if record["lower_ms"] is None:
        return "–"
    return f"{record['lower_ms']:.2f} – {record['upper_ms']:.2f}"


def _described(arch: dict[str, Any], has_depths: bool) -> list[str]:
    """Resolution and depths of an OFA network; of another the first of its dict's forms."""
    if has_depths:
        return [str(arch["r"][0]), "-".join(map(str, arch["d"]))]
    form = next(iter(arch.values()))
    return [form if isinstance(form, str) else " ".join(map(str, form))]


def _number(values: npt.NDArray[np.float64] | None, n: int) -> Any:
    """A number, a list of numbers per target, or None."""
    return None if values is None else values[n].tolist()


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _columns(name: str, devices: list[str]) -> list[str]:
    return [name] if len(devices) == 1 else [f"{name} {device}" for device in devices]


def _write(path: Path, text: str) -> None:
    from latcast._files import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
