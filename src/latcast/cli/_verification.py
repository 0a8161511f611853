"""``latcast search --verify``: check what a search finds on this machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ._common import (
    INTERRUPTED,
    UsageError,
    note,
    print_json,
    resolving,
    usage,
)
from ._fronts import write_archs, write_front
from ._verification_tables import print_result, result_record, summary
from .measure import campaign_bar

if TYPE_CHECKING:
    from latcast.devices import Device
    from latcast.models import BaseModel, Predictor
    from latcast.search.verification import Campaigns, VerifiedResult
    from latcast.spaces import SearchSpace


@dataclass(frozen=True)
class Check:
    """What the user asks for besides the search.

    Attributes:
        verify: networks to measure in every round.
        rounds: how many at most.
        suggested: networks to measure before the first search, if the model is not one of this
            machine's.
        runtime, threads, batch, precision: of the target.
        host: name of this machine; from its CPU by default.
        visits: to every network; those of ``latcast measure`` by default.
        measured: dataset to write; the raw records are kept beside it. By default records are
            kept only if measuring is broken off.
        resume: go on with the records of an earlier run.
    """

    verify: int
    rounds: int = 2
    suggested: int = 10
    runtime: str = "onnxruntime"
    threads: int = 1
    batch: int = 1
    precision: str = "fp32"
    host: str | None = None
    visits: int | None = None
    measured: Path | None = None
    resume: bool = False


def verified_search(
    name: str,
    space: SearchSpace | None,
    check: Check,
    *,
    base: str | None = None,
    max_latency_ms: Sequence[Sequence[float]] | Sequence[float] | None,
    seed: int,
    out: Path | None,
    front: Path | None = None,
    json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Search, measure, adapt, and print what was found.

    Args:
        name: of a model or base model, its file, or a device of the catalogue, whose
            specification is then taken for this machine's.
        space: that of the model by default.
        check: how to measure.
        base: base model for a device of the catalogue; the shipped one of the space by default.
        max_latency_ms: budgets; None to check the whole front.
        seed: of everything chance decides.
        out: file for the architectures, as JSON.
        front: file for the last search's front, .csv or .json.
        json: print JSON instead of tables.
        quiet: no progress, no notes.
        options: others of :func:`latcast.search.verification.search_and_verify`.
    """
    model, specification = _model(name, space, base)
    the_space = space or model.space
    with _record(check, quiet=quiet) as record:
        result = _run(
            the_space, model, specification, check, record, quiet=quiet,
            max_latency_ms=max_latency_ms, seed=seed, **options,
        )  # fmt: skip
        if check.measured is not None and result.measured is not None:
            result.measured.save(check.measured)
        if out is not None:
            write_archs(out, result.archs)
        if front is not None:
            write_front(front, result.search, [name])
        if json:
            print_json({"model": name, "seed": seed, **result_record(result)})
        else:
            print_result(result, quiet=quiet)
        if result.stopped is not None:
            raise typer.Exit(INTERRUPTED)


def _run(
    space: SearchSpace,
    model: Predictor | BaseModel,
    specification: Device | None,
    check: Check,
    record: Path,
    *,
    quiet: bool,
    **options: Any,
) -> VerifiedResult:
    from latcast.measure import CampaignRunningError, WorkerDiedError
    from latcast.search import InfeasibleError
    from latcast.search.verification import MeasuringError, search_and_verify

    measuring = _campaigns(check, record, options["seed"])
    note(
        f"measuring on {measuring.target}; raw records: {record.with_suffix('')}.*.campaign",
        quiet=quiet,
    )
    try:
        with usage(InfeasibleError, MeasuringError), campaign_bar(quiet=quiet) as tell:
            measuring.on_progress = tell
            return search_and_verify(
                space,
                latency=model,
                measuring=measuring,
                verify=check.verify,
                rounds=check.rounds,
                suggested=check.suggested,
                specification=specification,
                on_round=lambda found: note(summary(found), quiet=quiet),
                **options,
            )
    except CampaignRunningError as error:
        raise UsageError(str(error)) from error
    except WorkerDiedError as error:
        raise ValueError(f"measuring cannot start: {error}") from error


def _campaigns(check: Check, record: Path, seed: int) -> Campaigns:
    from latcast.measure import Protocol
    from latcast.search.verification import Campaigns

    try:
        with usage():
            return Campaigns(
                record,
                check.runtime,
                check.threads,
                check.batch,
                check.precision,
                check.host,
                Protocol() if check.visits is None else Protocol(visits=check.visits),
                seed,
                resume=check.resume,
            )
    except FileExistsError as error:
        raise UsageError(f"{error} (--resume, or another --measured)") from error
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error


def _model(
    name: str, space: SearchSpace | None, base: str | None
) -> tuple[Predictor | BaseModel, Device | None]:
    """A model, or a base model and the specification of a device."""
    from latcast.devices import devices
    from latcast.models import load, load_base, zoo
    from latcast.models.resolve import DEFAULT_SPACE

    known = (*zoo.names(), *zoo.names("base"))
    with resolving():
        if name.endswith(".latcast") or name in known or name not in devices():
            return load(name, space=space), None
        found = load_base(base or (space.block_space if space else DEFAULT_SPACE))
    return found, devices()[name]


@contextmanager
def _record(check: Check, *, quiet: bool) -> Iterator[Path]:
    """Where raw records are kept; without a name of the user's, until the work is done."""
    if check.measured is not None:
        if check.measured.suffix != ".parquet":
            raise UsageError(f"--measured must end in .parquet; got {check.measured}")
        if check.measured.exists() and not check.resume:
            raise UsageError(f"{check.measured} exists already: name another --measured")
        record, folder = check.measured, None
    elif check.resume:
        raise UsageError("--resume goes on with the measurements of --measured: name it")
    else:
        folder = Path(tempfile.mkdtemp(prefix="latcast-"))
        record = folder / "measured.parquet"
    try:
        yield record
    except BaseException:
        if any(record.parent.glob(f"{record.stem}.*.campaign")):
            note(f"what was measured is kept: go on with --measured {record} --resume", quiet=quiet)
        raise
    else:
        if folder is not None:
            shutil.rmtree(folder)
