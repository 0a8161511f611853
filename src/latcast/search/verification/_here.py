"""A verified search on this machine: raw records are kept, resumed, or removed when it is done."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast import models
from latcast.devices import Device, devices
from latcast.models import zoo
from latcast.models.by_device import DEFAULT_SPACE
from latcast.models.zoo import SUFFIX
from latcast.spaces import SearchSpace

from ._measuring import Campaigns
from ._record import VerificationRecord
from ._search_and_verify import Told, search_and_verify
from ._verification import VerifiedResult

if TYPE_CHECKING:
    from latcast.models import BaseModel, Predictor

    from ._scope import Latency


@dataclass(frozen=True)
class Check:
    """The networks to measure, and the host and runtime to measure them with.

    Attributes:
        verify: networks to measure in every round.
        rounds: how many at most.
        suggested: networks to measure before the first search, if the model is not one of this
            machine's.
        runtime, threads, batch, precision: of the target.
        name: of the machine; from its CPU by default.
        host: to measure on, as :attr:`latcast.measure.Plan.host`; this machine by default.
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
    host: str = ""

    def campaigns(self, record: Path, seed: int) -> Campaigns:
        """How networks are measured, the raw records kept beside ``record``."""
        from latcast.measure import Protocol, host

        own = host(self.host).protocol
        return Campaigns(
            record,
            self.runtime,
            self.threads,
            self.batch,
            self.precision,
            self.name,
            Protocol(**own) if self.runs is None else Protocol(**own, runs=self.runs),
            seed,
            resume=self.resume,
            host=self.host,
        )


def search_and_verify_here(
    latency: Latency,
    check: Check,
    *,
    space: SearchSpace | None = None,
    base: str | None = None,
    specification: Device | None = None,
    name: str | None = None,
    seed: int = 0,
    on_start: Callable[[Campaigns], None] = lambda _: None,
    on_round: Told | None = None,
    on_kept: Callable[[Path], None] = lambda _: None,
    **options: Any,
) -> tuple[VerifiedResult, VerificationRecord]:
    """Search, measure what was found on this machine, adapt to it, and search again.

    That is :func:`search_and_verify` with :class:`Campaigns`, and ``latcast search --verify``.

    Args:
        latency: a model or base model, or what :func:`first_model` takes.
        check: how to measure.
        space: that of the model by default.
        base: base model for a device of the catalogue; the shipped one of the space by default.
        specification: of this machine, for a base model; the catalogue's by default.
        name: what the record calls the model.
        seed: of everything chance decides.
        on_start: called before anything is measured.
        on_round: called after every round.
        on_kept: called with the ``measured`` to resume, where raw records are left behind since
            the work was broken off.
        options: others of :func:`search_and_verify`.

    Returns:
        What was found, and the record of it that the command prints.

    Raises:
        ValueError: as :func:`search_and_verify`, or there is nothing that could be resumed.
        FileExistsError: the measurements are there already, and are not to be resumed.
        FileNotFoundError: there are none to resume.
    """
    model: Predictor | BaseModel
    if isinstance(latency, str):
        name = name or latency
        model, specification = first_model(latency, space, base)
    else:
        model = latency
    record, folder = _record_of(check)
    try:
        with check.campaigns(record, seed) as measuring:
            on_start(measuring)
            result = search_and_verify(
                space or model.space,
                latency=model,
                measuring=measuring,
                verify=check.verify,
                rounds=check.rounds,
                suggested=check.suggested,
                specification=specification,
                seed=seed,
                on_round=on_round,
                **options,
            )
        if check.measured is not None and result.measured is not None:
            result.measured.save(check.measured)
    except BaseException:
        # An hour of measuring must survive ctrl-C and a full disk, in a temporary folder, too.
        _tell_kept(record, on_kept)
        raise
    if result.stopped is not None:
        _tell_kept(record, on_kept)
    elif folder is not None:
        shutil.rmtree(folder)
    return result, VerificationRecord.of(result, name or str(measuring.target), seed)


def first_model(
    name: str, space: SearchSpace | None = None, base: str | None = None
) -> tuple[Predictor | BaseModel, Device | None]:
    """A model, or a base model and the specification of a device.

    Args:
        name: of a model or base model, its file, or a device of the catalogue, whose
            specification is then taken for this machine's.
        space: of the networks.
        base: base model for a device; by default the shipped one of the space, or where there is
            none the joint model.

    Raises:
        UnresolvedError: there is no such model or device.
        ValueError: a file is damaged.
        FileNotFoundError: there is no such file.
    """
    known = (*zoo.names(), *zoo.names("base"))
    if name.endswith(SUFFIX) or name in known or name not in devices():
        return models.load(name, space=space), None
    own = base or (space.block_space if space else DEFAULT_SPACE)
    if base is None and own not in zoo.names("base"):
        return models.load(name, space=space), None
    return models.load_base(own), devices()[name]


def _record_of(check: Check) -> tuple[Path, Path | None]:
    """Return the folder of raw records, and the temporary folder of unnamed ones."""
    if check.measured is None:
        if check.resume:
            raise ValueError("to resume is to go on with the measurements of `measured`: name it")
        folder = Path(tempfile.mkdtemp(prefix="latcast-"))
        return folder / "measured.parquet", folder
    if check.measured.exists() and not check.resume:
        raise FileExistsError(f"{check.measured} exists already: resume it, or name another")
    return check.measured, None


def _tell_kept(record: Path, on_kept: Callable[[Path], None]) -> None:
    if any(record.parent.glob(f"{record.stem}.*.campaign")):
        on_kept(record)
