"""Learning curves as pictures: a score against the number of samples, from a bench's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._files import write_file
from latcast._imports import require
from latcast._names import unknown_name

from .protocol import STANDARD_DEVIATIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The line of what others published: drawn as points, for it need not be complete.
PUBLISHED = "published"

LABELS = {
    "mae_ms": "test MAE, ms",
    "rmse_ms": "test RMSE, ms",
    "mape": "test error, %",
    "spearman": "Spearman rank correlation",
    "kendall": "Kendall rank correlation",
    "samples": "measurements",
}
# Scores that are at most 1: their axis is not logarithmic.
RANKS = ("spearman", "kendall")

# Okabe and Ito's palette, which the colour-blind can tell apart; lines differ by marker also.
COLOURS = ("#0072B2", "#D55E00", "#999999", "#009E73", "#E69F00", "#56B4E9", "#CC79A7")
MARKERS = "osvDP^X"
# Ending -> metadata that leave out the day.
UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
# Ending of a mean over seeds, in the records of some benches.
MEAN = "_mean"
PANEL_INCHES = (3.9, 3.4)
MAX_ACROSS = 4
LEGEND_ROW_INCHES = 0.25
# Of a panel's width.
LEGEND_COLUMNS = 3
# Ratio of the ends of an axis up to which there are labels within the decades.
MAX_LABELLED = 100.0
# Of neighbouring labels on the logarithmic axis of samples, so that they do not touch.
MIN_RATIO = 1.45


def draw(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    *,
    panel: str,
    line: str,
    score: str = "mae_ms",
    samples: str = "samples",
) -> None:
    """Write a picture (SVG, PNG or PDF, by the file's ending).

    Args:
        rows: records of a bench. Where one has the score's standard deviation, it is drawn as a
            band. Records without a positive number of samples, or without the score, are left out;
            and panels with one number of samples, beside others with more.
        path: of the picture.
        panel: key by whose values there is a panel each.
        line: key by whose values there is a line each; ``"published"`` is drawn as points.
        score: key of what is drawn upwards.
        samples: key of what is drawn to the right.

    Raises:
        ValueError: there is no such key, or nothing to draw.
        ModuleNotFoundError: matplotlib is not installed.
    """
    known = list(dict.fromkeys(key for row in rows for key in row))
    for key in (panel, line, score, samples):
        if rows and key not in known:
            raise ValueError(unknown_name("key of the records", key, known))
    drawn = [r for r in rows if (r.get(samples) or 0) > 0 and r.get(score) is not None]
    if not drawn:
        raise ValueError("a picture needs a record with a positive number of samples; got none")
    pyplot = require("matplotlib.pyplot", "plot", "drawing")
    panels = _curved(drawn, panel, samples)
    lines = list(dict.fromkeys(str(r[line]) for r in drawn))
    across = min(len(panels), MAX_ACROSS)
    down = -(-len(panels) // across)
    columns = min(len(lines), LEGEND_COLUMNS * across)
    legend = LEGEND_ROW_INCHES * (1 + -(-len(lines) // columns))
    width, height = PANEL_INCHES[0] * across, PANEL_INCHES[1] * down + legend
    # Text stays text, and the same records give the same file.
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "latcast", "font.size": 9}):
        figure, axes = pyplot.subplots(down, across, figsize=(width, height), squeeze=False)
        try:
            for axis in axes.flat[len(panels) :]:
                axis.set_visible(False)
            for name, axis in zip(panels, axes.flat, strict=False):
                within = [r for r in drawn if str(r[panel]) == name]
                _panel(axis, within, lines, line, score, samples)
                axis.set_title(name, fontsize=9)
            for axis in axes[:, 0]:
                axis.set_ylabel(LABELS.get(score.removesuffix(MEAN), score))
            figure.tight_layout(rect=(0, legend / height, 1, 1))
            labelled = [axis.get_legend_handles_labels() for axis in axes.flat]
            entries = {text: h for hs, texts in labelled for h, text in zip(hs, texts, strict=True)}
            figure.legend(
                entries.values(), entries.keys(), loc="lower center", ncols=columns, frameon=False
            )
            drawn_file = BytesIO()
            figure.savefig(
                drawn_file,
                format=path.suffix.removeprefix("."),
                dpi=120,
                metadata=UNDATED.get(path.suffix),
            )
            write_file(path, drawn_file.getvalue())
        finally:
            pyplot.close(figure)


def _curved(rows: Sequence[Mapping[str, Any]], panel: str, samples: str) -> list[str]:
    """Panels with more than one number of samples; all of them where there is no such."""
    numbers: dict[str, set[float]] = {}
    for row in rows:
        numbers.setdefault(str(row[panel]), set()).add(float(row[samples]))
    return [name for name, found in numbers.items() if len(found) > 1] or list(numbers)


def _panel(
    axis: Axes,
    rows: Sequence[Mapping[str, Any]],
    lines: Sequence[str],
    line: str,
    score: str,
    samples: str,
) -> None:
    others = [name for name in lines if name != PUBLISHED]
    for name in lines:
        own = sorted((r for r in rows if str(r[line]) == name), key=lambda r: float(r[samples]))
        if not own:
            continue
        x, y = [float(r[samples]) for r in own], [float(r[score]) for r in own]
        if name == PUBLISHED:
            axis.plot(x, y, "k*", markersize=9, label=name, zorder=4)
            continue
        n = others.index(name)
        colour, marker = COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)]
        axis.plot(x, y, color=colour, marker=marker, markersize=4, label=name, zorder=3)
        away = [float(r.get(_deviation(score)) or 0.0) for r in own]
        # Below a mean there is no room on a logarithmic axis for more than the mean itself.
        lower = [max(m - d, 0.05 * m) for m, d in zip(y, away, strict=True)]
        upper = [m + d for m, d in zip(y, away, strict=True)]
        axis.fill_between(x, lower, upper, color=colour, alpha=0.18, linewidth=0)
    _axes(axis, sorted({float(r[samples]) for r in rows}), score, samples)


def _axes(axis: Axes, ticks: Sequence[float], score: str, samples: str) -> None:
    axis.set_xscale("log")
    apart: list[float] = []
    for tick in ticks:
        if not apart or tick > MIN_RATIO * apart[-1]:
            apart.append(tick)
    axis.set_xticks(apart, [_short(t) for t in apart])
    axis.minorticks_off()
    if score.removesuffix(MEAN) not in RANKS:
        _scale_errors(axis)
    axis.set_xlabel(LABELS.get(samples, samples))
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _short(number: float) -> str:
    return f"{number:g}" if number < 1_000 else f"{number / 1_000:g}k"


def _scale_errors(axis: Axes) -> None:
    """A logarithmic axis whose labels are plain numbers, within the decades if there are few."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    lowest, highest = axis.get_ylim()
    if highest / lowest > MAX_LABELLED:
        axis.yaxis.set_minor_formatter(NullFormatter())
        return
    axis.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 4, 5, 7)))
    axis.yaxis.set_minor_formatter("{x:g}")


def _deviation(score: str) -> str:
    return STANDARD_DEVIATIONS.get(score, f"{score.removesuffix(MEAN)}_std")
