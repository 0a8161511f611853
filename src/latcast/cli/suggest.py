"""``latcast suggest``: which architectures to measure, or which networks on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ._console import Console, UsageError, argument, command, option, usage
from ._options import (
    DataHints,
    Devices,
    FileInputs,
    HostText,
    Seed,
    Server,
    SimilarTo,
    TargetOptions,
    at,
    check_network,
    find_host,
    find_space,
    read_options,
    resolving,
)

if TYPE_CHECKING:
    from latcast.models.suggestions import Suggestions, Telling
    from latcast.spaces import Archs, SearchSpace

SAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Forecast(TargetOptions):
    """The forecasts that are to become surer: of one network, or of all on a device."""

    network: str | None = option(
        "Network whose forecast is to become surer.", None, "--for", metavar="NETWORK"
    )
    device: str | None = option("Device whose forecasts are to become surer.")
    among: list[str] | None = option("Choose among these networks only; repeatable.")
    similar_to: SimilarTo = None
    host: HostText = None


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
    inputs: FileInputs,
    adapting: Adapting,
    samples: int | None = option("How many to suggest; of --for at most.", min=1, max=1_000),
    networks: list[str] | None = argument("", None, hidden=True),
    devices: Devices = None,
    server: Server = None,
    seed: Seed = 0,
) -> None:
    """Suggest architectures whose measurements tell most about all others, as JSON.

    Needs no latency. The output is what `latcast measure --archs` and `latcast predict` read. With
    --device, or the machine of --host, networks of the corpus (or --among) that tell most of all
    others there, or with --for those that narrow the forecast of that one most.

    Example: latcast suggest --device pixel-7 --for model.onnx
    """
    if networks:
        raise UsageError(
            f"architectures of a search space are suggested, which --space or --model names; got "
            f"{networks[0]}: latcast predict forecasts a network, and --for suggests what to "
            "measure for its forecast"
        )
    if forecast.network is None and inputs != FileInputs():
        raise UsageError("--shape, --batch-axis and --trip-count are of the network of --for")
    on_device = (forecast.network, forecast.device, forecast.host)
    if any(given is not None for given in on_device):
        if adapting.space or adapting.model or adapting.measured:
            names = zip(("--for", "--device", "--host"), on_device, strict=True)
            what = next(name for name, given in names if given is not None)
            raise UsageError(f"{what} is of networks on a device: leave out those of a space")
        _check_on_device(forecast, adapting, server, seed)
        with _described(console, forecast, devices or []) as device:
            ask = partial(at, server, devices=devices)
            _on_device(console, forecast, inputs, device, samples or SAMPLES, ask)
        return
    if server is not None:
        raise UsageError("a service suggests networks for a --device: leave out --server")
    of_device = {**forecast.given(), "among": forecast.among, "similar_to": forecast.similar_to}
    _check_left_out(of_device, "of networks on a --device")
    if adapting.measured is None:
        _check_left_out(_hints(adapting), "of the dataset of --measured")
    if samples is None:
        raise UsageError("how many architectures to suggest must be given: --samples")
    _for_space(console, samples, adapting, seed)


def _check_on_device(asked: Forecast, adapting: Adapting, server: str | None, seed: int) -> None:
    """Make sure that nothing is asked for that suggesting networks on a device has no use for."""
    _check_left_out(_hints(adapting), "of a dataset of architectures (--measured)")
    if seed:
        raise UsageError("--seed is of architectures: networks on a device are not drawn")
    if asked.host is not None and server is not None:
        raise UsageError("--host is measured here: leave out --server")
    if asked.host is not None and asked.similar_to is not None:
        raise UsageError("--host describes the device itself: leave out --similar-to")


def _hints(adapting: Adapting) -> dict[str, Any]:
    """Options that describe a dataset's file, but for the space."""
    return {f.name: getattr(adapting, f.name) for f in fields(DataHints) if f.name != "space"}


def _check_left_out(options: dict[str, Any], what: str) -> None:
    """Make sure that none of these options is given, which are for something else."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"--{name.replace('_', '-')} is {what}; leave it out")


@contextmanager
def _described(console: Console, asked: Forecast, files: list[Path]) -> Iterator[str]:
    """The device that is asked for; the machine of --host is described, and known in the block."""
    from latcast.devices import catalogue_text, device_files

    if asked.host is None:
        if asked.device is None:
            raise UsageError("--for needs the device whose forecast is to become surer: --device")
        yield asked.device
        return
    if asked.device is not None:
        raise UsageError("--host describes the device that it is: leave out --device")
    with find_host(asked.host) as board, TemporaryDirectory(prefix="latcast-") as folder:
        console.note(f"measuring {board.title} for 2 s")
        found = board.detect()
        (own := Path(folder) / "host.toml").write_text(catalogue_text([found]), encoding="utf-8")
        with device_files([*files, own]):
            yield found.name


def _on_device(
    console: Console,
    asked: Forecast,
    inputs: FileInputs,
    device: str,
    samples: int,
    ask: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> None:
    from latcast.models.suggestions import suggest_for, suggest_on

    for name in (*([asked.network] if asked.network else []), *(asked.among or ())):
        check_network(Path(name))
    options: dict[str, Any] = {
        "samples": samples,
        "among": asked.among,
        "similar_to": asked.similar_to,
    }
    options |= asked.given()
    read = read_options(inputs)
    found: Suggestions | Telling
    with resolving(), console.progress("choosing among networks"):
        if asked.network is None:
            found = ask(suggest_on)(device, **options)
        else:
            # A service's description of it has no more than what is given.
            fixed = {
                "shapes": read.shapes or None, "batch_axis": read.batch_axis,
                "trip_count": read.trip_count,
            }  # fmt: skip
            options |= {name: value for name, value in fixed.items() if value is not None}
            found = ask(suggest_for)(asked.network, device, **options)
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
    with usage(), console.progress("choosing architectures"):
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
