"""``latcast lookup-table``: tables of block latencies, measured or converted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._common import (
    Debug,
    Json,
    Quiet,
    Seed,
    UsageError,
    check_model_name,
    check_usable,
    fails_cleanly,
    find_space,
    note,
    print_json,
    print_table,
    usage,
)
from .measure import parse_integers, run_campaign

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from latcast.devices import Target
    from latcast.measure import Comparison, Plan, Results
    from latcast.spaces import Archs, SearchSpace

    Floats = npt.NDArray[np.float64]

CALIBRATION = 20
_LEAST_NETWORKS = 30

app = typer.Typer(
    no_args_is_help=True, help="Lookup tables: build one on this machine, or convert one."
)


@app.command("build")
@fails_cleanly
def build(
    out: Annotated[Path, typer.Option("--out", help="Model file to write (.latcast).")],
    space: Annotated[str, typer.Option("--space", help="Search space.")] = "ofa-mobilenet-v3",
    resolutions: Annotated[
        str | None,
        typer.Option(
            "--resolutions",
            help="Between commas, such as 160,192,224; 224 by default where a space has several.",
        ),
    ] = None,
    runtime: Annotated[str, typer.Option("--runtime", help="See latcast measure.")] = "onnxruntime",
    threads: Annotated[int, typer.Option("--threads", min=0, help="CPU threads.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples a forward pass.")] = 1,
    precision: Annotated[str, typer.Option("--precision", help="fp32 or bf16.")] = "fp32",
    device: Annotated[
        str | None, typer.Option("--device", help="Name of this machine; from its CPU by default.")
    ] = None,
    networks: Annotated[
        int,
        typer.Option("--networks", min=_LEAST_NETWORKS, help="Whole networks to compare with."),
    ] = 100,
    visits: Annotated[int, typer.Option("--visits", min=2, help="To every block and network.")] = 3,
    way: Annotated[
        str | None,
        typer.Option("--way", help="isolated, profile or networks; the best by default."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after an interruption.")] = False,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Time every block of a space on this machine, and compare the sums with whole networks.

    Tables are made in three ways: blocks timed by themselves, the runtime's own profile of whole
    networks, and a fit to whole networks. The one that is closest to networks it has not seen is
    written, calibrated on 20 networks.

    Example: latcast lookup-table build --resolutions 224 --out cpu-table.latcast
    """
    from latcast.devices import Target, host_name
    from latcast.measure import Plan, Protocol, distinct_rows
    from latcast.measure.runtimes import runtime as find_runtime

    check_model_name(out)
    if way not in {None, "isolated", "profile", "networks"}:
        raise UsageError(f"--way must be isolated, profile or networks; got {way!r}")
    the_space = find_space(space)
    if the_space.block_space != the_space.name:
        raise UsageError(f"a table is built for {the_space.block_space}, which {space} is part of")
    with usage():
        kind = find_runtime(runtime)
        target = Target(device or host_name(), kind.name, batch, precision, threads)
        kind(threads=threads, batch=batch, precision=precision)
        sides = _resolutions(the_space, resolutions)
        restrict = None if sides is None else {"r": sides}
        archs = the_space.sample(networks, seed, restrict=restrict).unique()
        profiled = the_space.sample(networks, seed + 1, restrict=restrict).unique()
        rows = distinct_rows(the_space, sides)
    protocol = Protocol(visits=visits)
    whole = _measure(
        out.with_suffix(".networks.campaign"), Plan(target, archs, protocol, seed),
        resume=resume, quiet=quiet,
    )  # fmt: skip
    block_plan = Plan(target, the_space.sample(0), protocol, seed, blocks=tuple(rows))
    isolated = _measure_blocks(
        out.with_suffix(".blocks.campaign"), block_plan, resume=resume, quiet=quiet
    )
    tables = {"isolated": (isolated, 0.0)}
    profile = _profile(target, profiled, seed)
    if profile is None:
        note(f"note: {runtime} has no profiler that can be read; that way is left out", quiet=quiet)
    else:
        tables["profile"] = (profile, 0.0)
    comparisons, calibrated = _compare(the_space, whole, tables, seed)
    chosen = way or _best(comparisons, {w: v[rows] for w, (v, _) in calibrated.items()})
    if chosen not in calibrated:
        raise ValueError(f"{runtime} has no profiler that can be read: choose another --way")
    _write(out, the_space, target, calibrated[chosen], comparisons, chosen, whole)
    _report(out, whole, comparisons, chosen, json=json, quiet=quiet)


@app.command("convert")
@fails_cleanly
def convert(
    table: Annotated[Path, typer.Argument(help="Once-For-All's YAML: a file, or a folder.")],
    out: Annotated[Path, typer.Option("--out", help="Model file to write (.latcast).")],
    target: Annotated[str, typer.Option("--target", help="DEVICE/lookup-table/b1.")],
    space: Annotated[str, typer.Option("--space", help="Search space.")] = "ofa-mobilenet-v3",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a model of one of Once-For-All's lookup tables.

    Example: latcast lookup-table convert 224_lookup_table.yaml --target note10/lookup-table/b1
    --out note10.latcast
    """
    from latcast.devices import Target
    from latcast.models.lookup_table import LookupTable

    check_model_name(out)
    the_space = find_space(space)
    with usage():
        the_target = Target.parse(target)
    if not table.is_dir():
        check_usable(table)
    model = LookupTable.from_ofa(table, the_space, the_target)
    model.save(out)
    resolutions = model.fitted.seen["r"]
    if json:
        print_json({"model": str(out), "target": target, "resolutions": resolutions})
        return
    typer.echo(f"{target}: resolutions {', '.join(map(str, resolutions))}")
    note(f"wrote {out}", quiet=quiet)


def _resolutions(space: SearchSpace, text: str | None) -> list[int] | None:
    if text is None:
        return [224] if any(g.name == "r" for g in space.genes) else None
    return parse_integers(text)


def _measure(path: Path, plan: Plan, *, resume: bool, quiet: bool) -> Results:
    from latcast import measure

    with _campaign(path, plan, resume=resume) as campaign:
        run_campaign(campaign, quiet=quiet)
        return measure.results(campaign)


def _measure_blocks(path: Path, plan: Plan, *, resume: bool, quiet: bool) -> Floats:
    from latcast import measure

    with _campaign(path, plan, resume=resume) as campaign:
        run_campaign(campaign, quiet=quiet)
        for number, reason in campaign.failures().items():
            note(f"failed: block {plan.blocks[number]}: {reason}", quiet=quiet)
        return measure.isolated_table(campaign)


def _campaign(path: Path, plan: Plan, *, resume: bool) -> Any:
    from latcast import measure

    if not path.exists():
        return measure.start(path, plan)
    if not resume:
        raise UsageError(f"{path} holds a campaign already: go on with it (--resume), or remove it")
    campaign = measure.CampaignFile.open(path)
    began, asked = campaign.plan(), plan.record()
    for name, value in asked.items():
        if began.get(name) != value:
            campaign.close()
            raise UsageError(
                f"a campaign goes on as it began: {name} was {began.get(name)!r}, got {value!r}"
            )
    if campaign.items() != plan.items():
        campaign.close()
        raise UsageError(f"{path} is of other networks; use the options that it began with")
    return campaign


def _profile(target: Target, archs: Archs, seed: int) -> Floats | None:
    from latcast.measure import class_name, profiled_table
    from latcast.measure.runtimes import runtime

    return profiled_table(target, archs, class_name(runtime(target.runtime)), seed)


def _compare(
    space: SearchSpace,
    whole: Results,
    tables: dict[str, tuple[Floats, float]],
    seed: int,
) -> tuple[list[Comparison], dict[str, tuple[Floats, float]]]:
    """Every table against the third of the networks that none has seen.

    Returns:
        The comparisons, and the tables with their overheads after calibration.
    """
    import numpy as np

    from latcast.data.additive import fit_additive
    from latcast.measure import compare

    data = whole.dataset
    n = len(data)
    order = np.random.default_rng(seed).permutation(n)
    test, fitting = order[: n // 3], order[n // 3 :]
    fit = fit_additive(data.archs[fitting], data.latency_ms[fitting])
    # Blocks that all networks share are in the intercept.
    ways = {**tables, "networks": (fit.values_ms, fit.intercept)}
    kept = np.concatenate([fitting[:CALIBRATION], test])
    calibration = np.arange(len(kept)) < CALIBRATION
    comparisons, calibrated = [], {}
    for way, (values, overhead) in ways.items():
        sums = space.block_sums(data.archs[kept], values) + overhead
        comparison = compare(way, sums, data.latency_ms[kept], calibration)
        comparisons.append(comparison)
        calibrated[way] = (
            comparison.scale * values,
            comparison.scale * overhead + comparison.overhead_ms,
        )
    return comparisons, calibrated


def _best(comparisons: list[Comparison], tables: dict[str, Floats]) -> str:
    """The way that is closest after calibration, of those that know every block."""
    import numpy as np

    complete = [c for c in comparisons if np.isfinite(tables[c.way]).all()]
    return min(complete or comparisons, key=lambda c: c.calibrated_mape).way


def _write(
    out: Path,
    space: SearchSpace,
    target: Target,
    table: tuple[Floats, float],
    comparisons: list[Comparison],
    chosen: str,
    whole: Results,
) -> None:
    from latcast.models.lookup_table import LookupTable

    values, overhead = table
    card = {
        "data": dict(whole.dataset.provenance),
        "table": f"made by {chosen}, calibrated on {CALIBRATION} networks",
        "comparisons": [asdict(c) for c in comparisons],
    }
    model = LookupTable.from_blocks(space, target, values, overhead_ms=overhead, card=card)
    model.save(out)


def _report(
    out: Path,
    whole: Results,
    comparisons: list[Comparison],
    chosen: str,
    *,
    json: bool,
    quiet: bool,
) -> None:
    if json:
        print_json({
            "model": str(out),
            "target": str(whole.dataset.target),
            "chosen": chosen,
            "ways": [asdict(c) for c in comparisons],
            "warnings": list(whole.warnings),
        })  # fmt: skip
        return
    rows = [
        [
            c.way + (" *" if c.way == chosen else ""),
            f"{100 * c.bias:+.1f}",
            f"{100 * c.mape:.1f}",
            f"{100 * c.calibrated_mape:.1f}",
            f"{c.scale:.3f}",
            f"{c.overhead_ms:.3f}",
            str(c.networks),
        ]
        for c in comparisons
    ]
    columns = ["table", "bias, %", "MAPE, %", "calibrated MAPE, %", "scale", "overhead, ms", "on"]
    print_table(columns, rows, title=f"{whole.dataset.target}: sums against whole networks")
    for warning in whole.warnings:
        note(f"warning: {warning}", quiet=quiet)
    note(f"wrote {out} (the way marked *)", quiet=quiet)
