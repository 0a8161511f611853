"""``latcast predict``: how long architectures take on devices."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import typer

from ._console import FAILED, OUTPUT, Console, UsageError, argument, command, option
from ._options import (
    INPUT,
    BaseModelName,
    DeviceNames,
    Devices,
    FileInputs,
    Server,
    SimilarTo,
    TargetOptions,
    at,
    check_network,
    check_share,
    check_suffix,
    check_usable,
    find_space,
    is_graph_file,
    read_options,
    resolving,
)

if TYPE_CHECKING:
    from latcast.models.forecast_archs import ArchsForecast
    from latcast.models.forecast_quantity import QuantityForecast
    from latcast.models.forecast_records import NetworkForecast
    from latcast.models.sweep import NetworkSweep


@dataclass(frozen=True, kw_only=True)
class Target(TargetOptions):
    """Options of the devices, and of which of their targets a forecast is made for."""

    device: DeviceNames
    model: BaseModelName = None
    precision: str | None = option("Precision of the target, exactly; fp32,int8 has a row each.")
    similar_to: SimilarTo = None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Options of the output."""

    panel: ClassVar[str] = OUTPUT

    layers: int = option("Kernels of a model's file to list.", 10, min=0)


@dataclass(frozen=True, kw_only=True)
class Exports:
    """Files of a forecast of a model's file, for other tools."""

    panel: ClassVar[str] = "For other tools (of a model's file)"

    node_data: Path | None = option("Write node data of Google's Model Explorer (.json).")
    trace: Path | None = option("Write a trace for Perfetto or Chrome, a track a device (.json).")
    profile: Path | None = option(
        "Show beside it in the trace: ONNX Runtime's profile (.json), or a dataset (.parquet)."
    )
    annotate: Path | None = option(
        "Write a copy of an ONNX file whose metadata, which Netron shows, tell the forecast."
    )

    def given(self) -> dict[str, Path | None]:
        """Options and what they name."""
        return {f"--{f.name.replace('_', '-')}": getattr(self, f.name) for f in fields(self)}

    def check(self, network: Path) -> None:
        """Make sure that the files can be written, and say what is asked for.

        Raises:
            UsageError: they cannot be, or another kind of network is named.
        """
        from latcast._files import check_writable

        if self.profile is not None:
            if self.trace is None:
                raise UsageError("--profile is shown in a trace: give --trace FILE, too")
            check_usable(self.profile)
        for name in ("node_data", "trace"):
            check_suffix(getattr(self, name), f"--{name.replace('_', '-')}", ".json")
        if self.annotate is not None:
            check_suffix(self.annotate, "--annotate", ".onnx")
            if network.suffix.lower() != ".onnx" or self.annotate.resolve() == network.resolve():
                raise UsageError(f"--annotate copies an ONNX file; got {network}")
        for path in (self.node_data, self.trace, self.annotate):
            if path is not None:
                check_writable(path)

    def write(self, console: Console, found: NetworkForecast) -> None:
        """Write what is asked for."""
        from latcast._files import write_file

        written: list[Path] = []
        if (path := self.node_data) is not None:
            for column, data in found.to_node_data().items():
                # The first column has the name that the user gave.
                written.append(path if column == "ms" else path.with_suffix(f".{column}.json"))
                write_file(written[-1], json.dumps(data, indent=2))
        if self.trace is not None:
            write_file(self.trace, json.dumps(found.to_trace(self.profile)))
            written.append(self.trace)
        if self.annotate is not None:
            found.annotate(self.annotate)
            written.append(self.annotate)
        if written:
            console.note(f"wrote {', '.join(map(str, written))}")


@dataclass(frozen=True, kw_only=True)
class Question:
    """Options of the forecast of the network."""

    panel: ClassVar[str] = INPUT

    sweep: str | None = option(
        "The curve over batch, sequence, resolution, or an open side by its symbol.",
        metavar="SIDE=1,2,4",
    )
    vary: str | None = option(
        "The curve over a figure of the device, such as bandwidth_gb_s.", metavar="FIGURE=400,800"
    )
    space: str | None = option(
        "Space of the architectures; the model's own, or ofa-mobilenet-v3 by default."
    )
    strict: bool = option("Fail where an operator is not supported.", False)
    coverage: float = option("Of the intervals.", 0.9)


@command
def predict(
    console: Console,
    *,
    network: Path = argument(
        "A model's file, - for standard input, or timm:NAME; or JSON: one architecture, "
        "or a list of them."
    ),
    target: Target,
    inputs: FileInputs,
    question: Question,
    shown: Shown,
    exports: Exports,
    devices: Devices = None,
    server: Server = None,
) -> None:
    """Predict latency, and where the milliseconds go.

    What --batch, --precision, --runtime and --threads ask for is what the answer is for: by the
    device's own model, by another shipped model of it, or by its specification and what was
    measured on its chip. A device with several models that fit has a row for each.

    Example: latcast predict arch.json --device samsung-note10 --device tesla-p40
    """
    from latcast.models.forecast import forecast
    from latcast.models.forecast_records import NetworkForecast
    from latcast.models.sweep import sweep as swept
    from latcast.models.sweep import vary as varied

    _check_asked(network, target, inputs, question, exports)
    asked = read_options(inputs)
    options: dict[str, Any] = {
        **target.given(), "coverage": question.coverage, "strict": question.strict,
        "shapes": asked.shapes, "batch_axis": asked.batch_axis, "trip_count": asked.trip_count,
    }  # fmt: skip
    if "," in (target.precision or ""):
        options["precision"] = str(target.precision).split(",")
    found: ArchsForecast | NetworkForecast | NetworkSweep | QuantityForecast
    with resolving(), console.progress("forecasting"):
        if question.sweep is not None:
            side, given = _name_and_values(question.sweep, "--sweep", "batch=1,8,64", _WHOLE)
            sides = [int(value) for value in given]
            found = at(server, swept, devices)(network, target.device, side, sides, **options)
        elif question.vary is not None:
            like = "bandwidth_gb_s=400,800"
            figure, given = _name_and_values(question.vary, "--vary", like, _DECIMAL)
            values = [float(value) for value in given]
            found = at(server, varied, devices)(network, target.device, figure, values, **options)
        else:
            space = find_space(question.space) if question.space else None
            options |= {"space": space, "base": target.model, "similar_to": target.similar_to}
            found = at(server, forecast, devices)(network, target.device, **options)
    if isinstance(found, NetworkForecast):
        exports.write(console, found)
    else:
        _check_options("forecasts of latency", exports.given())
    _show(console, found, shown)
    if found.errors:
        raise typer.Exit(FAILED)


# Numbers of options, as regular expressions.
_WHOLE = "[0-9]{1,9}"
_DECIMAL = r"[0-9]{1,20}(?:\.[0-9]{1,9})?(?:e[0-9]{1,2})?"


def _check_asked(
    network: Path, target: Target, inputs: FileInputs, question: Question, exports: Exports
) -> None:
    """Make sure that options fit what is asked about, and that files can be read and written."""
    check_share(question.coverage, "--coverage")
    if is_graph_file(network):
        _check_options("architectures", {"--model": target.model, "--space": question.space})
    else:
        own = {
            "--shape": inputs.shape,
            "--batch-axis": inputs.batch_axis,
            "--trip-count": inputs.trip_count,
            "--sweep": question.sweep,
            "--vary": question.vary,
            "--strict": question.strict,
            **exports.given(),
        }
        _check_options("models' files", own)
    if question.sweep is not None or question.vary is not None:
        _check_options("one forecast", exports.given())
        _check_options("one forecast", {"--similar-to": target.similar_to})
    if question.sweep is not None:
        _check_options("one forecast", {"--vary": question.vary})
    check_network(network, also=".json")
    exports.check(network)


def _name_and_values(text: str, option: str, like: str, number: str) -> tuple[str, list[str]]:
    """What a curve is over, a side of the network or a figure of devices, and its values.

    Raises:
        UsageError: the text is not of that form.
    """
    name, _, values = text.rpartition("=")
    if not name or not re.fullmatch(f"{number}(,{number})*", values):
        raise UsageError(f"{option} must be like {like}; got {text!r}")
    return name, values.split(",")


def _show(
    console: Console,
    found: ArchsForecast | NetworkForecast | NetworkSweep | QuantityForecast,
    shown: Shown,
) -> None:
    """Tables, the page that is asked for, and why some devices have no answer."""
    from latcast.models.forecast_records import NetworkForecast

    if isinstance(found, NetworkForecast):
        console.show(found, found.tables(shown.layers))
    else:
        console.show(found)
    for error in found.errors:
        console.tell_error(error)


def _check_options(what: str, options: Mapping[str, object]) -> None:
    """Make sure that no option is given that is for something else."""
    for name, value in options.items():
        if value:
            raise UsageError(f"{name} is for {what}; leave it out")
