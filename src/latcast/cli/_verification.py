"""``latcast search --verify``: check what a search finds on this machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from ._console import INTERRUPTED, Console, UsageError, usage
from ._inputs import resolving
from ._options import check_suffix
from .measure import campaign_bar

if TYPE_CHECKING:
    from latcast.devices import Device
    from latcast.models import BaseModel, Predictor
    from latcast.search import SearchRecord
    from latcast.search.verification import Campaigns, VerifiedResult
    from latcast.spaces import SearchSpace


class Files(Protocol):
    """Where to write what is found."""

    def write(self, console: Console, archs: list[Any], found: SearchRecord) -> None:
        """Write the files that are asked for."""


@dataclass(frozen=True)
class Check:
    """What the user asks for besides the search.

    Attributes:
        verify: networks to measure in every round.
        rounds: how many at most.
        suggested: networks to measure before the first search, if the model is not one of this
            machine's.
        runtime, threads, batch, precision: of the target.
        name: of this machine; from its CPU by default.
        runs: of every network; those of ``latcast measure`` by default.
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
    name: str | None = None
    runs: int | None = None
    measured: Path | None = None
    resume: bool = False


def verified_search(
    console: Console,
    name: str,
    space: SearchSpace | None,
    check: Check,
    files: Files | None = None,
    *,
    base: str | None = None,
    seed: int,
    **options: Any,
) -> None:
    """Search, measure, adapt, and print what was found.

    Args:
        console: where to.
        name: of a model or base model, its file, or a device of the catalogue, whose
            specification is then taken for this machine's.
        space: that of the model by default.
        check: how to measure.
        files: for the architectures, and for the last search's front.
        base: base model for a device of the catalogue; the shipped one of the space by default.
        seed: of everything chance decides.
        options: others of :func:`latcast.search.verification.search_and_verify`.
    """
    from latcast.search.verification import VerificationRecord

    model, specification = _model(name, space, base)
    the_space = space or model.space
    with _record(console, check) as record:
        result = _run(console, the_space, model, specification, check, record, seed=seed, **options)
        if check.measured is not None and result.measured is not None:
            result.measured.save(check.measured)
        if files is not None:
            files.write(console, result.archs.to_dicts(), result.search.record([name], seed))
        console.show(VerificationRecord.of(result, name, seed))
        if result.stopped is not None:
            raise typer.Exit(INTERRUPTED)


def _run(
    console: Console,
    space: SearchSpace,
    model: Predictor | BaseModel,
    specification: Device | None,
    check: Check,
    record: Path,
    **options: Any,
) -> VerifiedResult:
    from latcast.measure import CampaignRunningError, WorkerDiedError
    from latcast.search import InfeasibleError
    from latcast.search.verification import MeasuringError, Round, search_and_verify

    measuring = _campaigns(check, record, options["seed"])
    console.note(
        f"measuring on {measuring.target}; raw records: {record.with_suffix('')}.*.campaign"
    )
    try:
        with usage(InfeasibleError, MeasuringError), campaign_bar(console) as tell:
            measuring.on_progress = tell
            return search_and_verify(
                space,
                latency=model,
                measuring=measuring,
                verify=check.verify,
                rounds=check.rounds,
                suggested=check.suggested,
                specification=specification,
                on_round=lambda found: console.note(Round.of(found).summary()),
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
                check.name,
                Protocol() if check.runs is None else Protocol(runs=check.runs),
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
def _record(console: Console, check: Check) -> Iterator[Path]:
    """Where raw records are kept; without a name of the user's, until the work is done."""
    if check.measured is not None:
        check_suffix(check.measured, "--measured", ".parquet")
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
            console.note(f"what was measured is kept: go on with --measured {record} --resume")
        raise
    else:
        if folder is not None:
            shutil.rmtree(folder)
