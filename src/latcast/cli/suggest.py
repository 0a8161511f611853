"""``latcast suggest``: which architectures to measure, or which networks for one forecast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ._console import Console, UsageError, command, usage
from ._options import (
    INPUT,
    TARGET,
    Devices,
    InputFormat,
    Seed,
    SimilarTo,
    TargetName,
    check_network,
    find_space,
    read_data,
    resolving,
)

if TYPE_CHECKING:
    from latcast.spaces import Archs, SearchSpace

SAMPLES = 5


@dataclass(frozen=True)
class Forecast:
    """The forecast of a network that is to become surer."""

    panel: ClassVar[str] = TARGET

    network: Annotated[
        str | None,
        typer.Option("--for", metavar="NETWORK", help="Network whose forecast is to become surer."),
    ] = None
    device: Annotated[str | None, typer.Option("--device", help="What it is forecast for.")] = None
    among: Annotated[
        list[str] | None,
        typer.Option("--among", help="Choose among these networks only; repeatable."),
    ] = None
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="Of the target; what is given holds exactly.")
    ] = None
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Likewise.")] = None
    precision: Annotated[str | None, typer.Option("--precision", help="Likewise.")] = None
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Likewise, of the CPU.")
    ] = None
    similar_to: SimilarTo = None


@command
def suggest(
    console: Console,
    forecast: Forecast,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, max=1_000, help="How many to suggest; of --for at most."),
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", help="Search space; that of the model by default.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="What will be adapted: a name or a .latcast file."),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            "--measured", help="Dataset of what is measured already.", rich_help_panel=INPUT
        ),
    ] = None,
    networks: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    target: TargetName = None,
    input_format: InputFormat = None,
    devices: Devices = None,
    seed: Seed = 0,
) -> None:
    """Suggest architectures whose measurements tell most about all others, as JSON.

    Needs no latency. The output is what `latcast measure --archs` and `latcast predict` read. With
    --for, the networks whose measurement on --device narrows the forecast of that one most.

    Example: latcast suggest --device pixel-7 --for model.onnx
    """
    if networks:
        raise UsageError(
            f"architectures of a search space are suggested, which --space or --model names; got "
            f"{networks[0]}: latcast predict forecasts a network, and --for suggests what to "
            "measure for its forecast"
        )
    if forecast.network is not None:
        if space or model or measured:
            raise UsageError("--for is of one network's forecast: leave out those of a space")
        _for_network(console, forecast, samples or SAMPLES)
        return
    if forecast.device is not None:
        raise UsageError("--device needs the network whose forecast is to become surer: --for")
    if samples is None:
        raise UsageError("how many architectures to suggest must be given: --samples")
    _for_space(console, samples, space, model, measured, target, input_format, seed)


def _for_network(console: Console, asked: Forecast, samples: int) -> None:
    from latcast.models.suggestions import suggest_for

    assert asked.network is not None
    if asked.device is None:
        raise UsageError("--for needs the device whose forecast is to become surer: --device")
    for name in (asked.network, *(asked.among or ())):
        check_network(Path(name))
    with resolving():
        found = suggest_for(
            asked.network, asked.device, samples=samples, among=asked.among,
            runtime=asked.runtime, batch=asked.batch, precision=asked.precision,
            threads=asked.threads, similar_to=asked.similar_to,
        )  # fmt: skip
    console.show(found)


def _for_space(
    console: Console,
    samples: int,
    space: str | None,
    model: str | None,
    measured: Path | None,
    target: str | None,
    input_format: str | None,
    seed: int,
) -> None:
    from latcast.models import load
    from latcast.models.adaptation import suggest as chosen

    with resolving():
        base = None if model is None else load(model)
    if space is not None:
        the_space = find_space(space)
    elif base is not None:
        the_space = base.space
    else:
        raise UsageError("suggesting needs a search space: give --space or --model")
    known = None if measured is None else _known(measured, the_space, target, input_format)
    with usage():
        archs = chosen(the_space, samples, base=base, measured=known, seed=seed)
    if not console.json:
        console.note(
            f"{samples} of {the_space.name}; measure them, then adapt a model to them: latcast "
            "measure --archs, latcast adapt"
        )
    console.print_archs(archs)


def _known(path: Path, space: SearchSpace, target: str | None, format_: str | None) -> Archs:
    archs = read_data(path, space.name, target, format_).archs
    if archs.space.name != space.name:
        raise ValueError(f"--measured must be of {space.name}; got {archs.space.name}")
    return archs
