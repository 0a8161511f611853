"""``latcast lookup-table``: tables of block latencies, measured or converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from ._console import (
    REQUIRED,
    Command,
    Console,
    Group,
    UsageError,
    argument,
    command,
    option,
    usage,
)
from ._measuring import run_campaign
from ._options import (
    MEASURING,
    TARGET,
    HostName,
    HostText,
    ModelOut,
    Resume,
    check_suffix,
    check_usable,
    find_host,
    find_space,
    parse_integers,
)

if TYPE_CHECKING:
    from latcast.devices import Target as RealTarget
    from latcast.measure import Host
    from latcast.spaces import SearchSpace

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Lookup tables: build one on this machine, or convert one.",
)

SpaceOfTable = Annotated[str, option("Search space.", None, "--space")]
_DEFAULTS = {
    "space": "ofa-mobilenet-v3",
    "runtime": "onnxruntime",
    "threads": 1,
    "batch": 1,
    "precision": "fp32",
    "networks": 100,
    "runs": 3,
    "seed": 0,
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Options of the target that the table belongs to."""

    panel: ClassVar[str] = TARGET

    runtime: str | None = option("See latcast measure; onnxruntime by default.")
    threads: int | None = option("CPU threads; 1 by default.", min=0)
    batch: int | None = option("Samples a forward pass; 1 by default.", min=1)
    precision: str | None = option("fp32 (default), int8 or bf16.")
    name: HostName = None


@dataclass(frozen=True, kw_only=True)
class How:
    """How to measure."""

    panel: ClassVar[str] = MEASURING

    resolutions: str | None = option(
        "Between commas, such as 160,192,224; 224 by default where a space has several."
    )
    host: HostText = None
    networks: int | None = option("Whole networks to compare with; 100 by default.", min=30)
    runs: int | None = option("Runs of every block and network; 3 by default.", min=2)
    way: str | None = option("isolated, profile or networks; the best by default.")
    resume: Resume = False


@app.command("build", cls=Command)
@command
def build(
    console: Console,
    *,
    out: ModelOut,
    target: Target,
    how: How,
    space: str | None = option("Search space; ofa-mobilenet-v3 by default."),
    seed: int | None = option("Seed of everything chance decides; 0 by default.", min=0),
) -> None:
    """Time every block of a space, and compare the sums with whole networks.

    Tables are made in three ways: blocks timed by themselves, the runtime's own profile of whole
    networks, and a fit to whole networks. The one that is closest to networks it has not seen is
    written, calibrated on 20 networks.

    Example: latcast lookup-table build --resolutions 224 --out cpu-table.latcast
    """
    from latcast import measure
    from latcast.models import measured_table

    check_suffix(out, "--out", ".latcast")
    if how.way not in {None, *measured_table.WAYS}:
        raise UsageError(f"--way must be isolated, profile or networks; got {how.way!r}")
    given = {"space": space, "seed": seed, **vars(target), **vars(how)}
    given = {name: given[name] for name in given if given[name] is not None and name != "resume"}
    began = measured_table.began_with(out) if how.resume else {}
    asked: dict[str, Any] = _DEFAULTS | began | given
    the_space = find_space(asked["space"])
    if the_space.block_space != the_space.name:
        raise UsageError(
            f"a table is built for {the_space.block_space}, which {the_space.name} is part of"
        )
    with find_host(asked.get("host")) as board:
        the_target = _target(asked, board)
        with usage():
            plan = measured_table.TablePlan(
                the_space, the_target, _resolutions(the_space, asked.get("resolutions")),
                asked["networks"], asked["seed"],
                measure.Protocol(**board.protocol, runs=asked["runs"]), board.text,
                _kept(given, began, resumed=how.resume),
            )  # fmt: skip
            plan.plans()
        try:
            model, found = measured_table.build_table(
                plan, out, way=asked.get("way"), resume=how.resume,
                run=lambda c: run_campaign(console, c, on=board),
            )  # fmt: skip
        except (FileExistsError, measure.AnotherCampaignError) as error:
            raise UsageError(str(error)) from error
    model.save(out)
    console.show(found)
    console.note(f"wrote {out} (the way marked *)")


@app.command("convert", cls=Command)
@command
def convert(
    console: Console,
    *,
    source: Path = argument("Once-For-All's YAML: a file, or a folder.", metavar="TABLE"),
    out: ModelOut,
    target: str = option("DEVICE/lookup-table/b1.", REQUIRED),
    space: SpaceOfTable = "ofa-mobilenet-v3",
) -> None:
    """Make a model of one of Once-For-All's lookup tables.

    Example: latcast lookup-table convert 224_lookup_table.yaml --target note10/lookup-table/b1
    --out note10.latcast
    """
    from latcast.devices import Target
    from latcast.models.lookup_table import LookupTable
    from latcast.models.measured_table import ConvertedTable

    check_suffix(out, "--out", ".latcast")
    the_space = find_space(space)
    with usage():
        the_target = Target.parse(target)
    if not source.is_dir():
        check_usable(source)
    model = LookupTable.from_ofa(source, the_space, the_target)
    model.save(out)
    console.show(ConvertedTable(str(out), target, list(model.fitted.seen["r"])))
    console.note(f"wrote {out}")


def _target(asked: Mapping[str, Any], board: Host) -> RealTarget:
    """The target on a host, which can have it."""
    from latcast.devices import Target
    from latcast.measure.runtimes import registered_name

    device, runtime = asked.get("name") or board.facts()["name"], registered_name(asked["runtime"])
    settings = {name: asked[name] for name in ("batch", "precision", "threads")}
    with usage():
        target = Target(device, runtime, **settings)
        board.check(target)
    return target


def _kept(given: Mapping[str, Any], began: Mapping[str, Any], *, resumed: bool) -> dict[str, Any]:
    """Options that records keep: those they began with, or those given but for the host.

    What is compared with a record when it is gone on with is what the options come to.
    """
    options = began if resumed and began else given
    return {name: value for name, value in options.items() if name != "host"}


def _resolutions(space: SearchSpace, text: str | None) -> list[int] | None:
    if text is None:
        return [224] if any(g.name == "r" for g in space.genes) else None
    return parse_integers(text)
