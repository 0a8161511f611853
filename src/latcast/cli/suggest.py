"""``latcast suggest``: which architectures to measure, or which networks for one forecast."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ._console import Console, UsageError, argument, command, option, usage
from ._options import (
    DataHints,
    Devices,
    Seed,
    SimilarTo,
    TargetOptions,
    check_network,
    find_space,
    resolving,
)

if TYPE_CHECKING:
    from latcast.spaces import Archs, SearchSpace

SAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Forecast(TargetOptions):
    """The forecast of a network that is to become surer."""

    network: str | None = option(
        "Network whose forecast is to become surer.", None, "--for", metavar="NETWORK"
    )
    device: str | None = option("What it is forecast for.")
    among: list[str] | None = option("Choose among these networks only; repeatable.")
    similar_to: SimilarTo = None


@dataclass(frozen=True, kw_only=True)
class Adapting(DataHints):
    """The model that will be adapted to the architectures, and what is measured already."""

    space: str | None = option("Search space; that of the model by default.")
    model: str | None = option("What will be adapted: a name or a .latcast file.")
    measured: Path | None = option("Dataset of what is measured already.")


@command
def suggest(
    console: Console,
    *,
    forecast: Forecast,
    adapting: Adapting,
    samples: int | None = option("How many to suggest; of --for at most.", min=1, max=1_000),
    networks: list[str] | None = argument("", None, hidden=True),
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
        if adapting.space or adapting.model or adapting.measured:
            raise UsageError("--for is of one network's forecast: leave out those of a space")
        _for_network(console, forecast, samples or SAMPLES)
        return
    if forecast.device is not None:
        raise UsageError("--device needs the network whose forecast is to become surer: --for")
    if samples is None:
        raise UsageError("how many architectures to suggest must be given: --samples")
    _for_space(console, samples, adapting, seed)


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
            similar_to=asked.similar_to, **asked.given(),
        )  # fmt: skip
    console.show(found)


def _for_space(console: Console, samples: int, asked: Adapting, seed: int) -> None:
    from latcast.models import load
    from latcast.models.adaptation import suggest as chosen

    with resolving():
        base = None if asked.model is None else load(asked.model)
    if asked.space is not None:
        the_space = find_space(asked.space)
    elif base is not None:
        the_space = base.space
    else:
        raise UsageError("suggesting needs a search space: give --space or --model")
    known = None if asked.measured is None else _known(asked.measured, the_space, asked)
    with usage():
        archs = chosen(the_space, samples, base=base, measured=known, seed=seed)
    if not console.json:
        console.note(
            f"{samples} of {the_space.name}; measure them, then adapt a model to them: latcast "
            "measure --archs, latcast adapt"
        )
    console.print_archs(archs)


def _known(path: Path, space: SearchSpace, hints: DataHints) -> Archs:
    archs = replace(hints, space=space.name).read(path, archs=True).archs
    if archs.space.name != space.name:
        raise ValueError(f"--measured must be of {space.name}; got {archs.space.name}")
    return archs
