"""Trials as tasks of a Ray cluster; the study stays with the process that started them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from latcast._optional import require

from ._plan import Options
from ._study import Study
from ._trial import Outcome, Trials

POLL_SECONDS = 0.2
CONNECT_SECONDS = 10.0


class Board:
    """An actor between trials and the study: errors go in, which trials to give up comes out."""

    def __init__(self) -> None:
        self._reports: list[tuple[int, int, float]] = []
        self._hopeless: set[int] = set()

    def report(self, number: int, epoch: int, mae_ms: float) -> bool:
        """From a trial: an epoch's validation error; tells whether to give up."""
        self._reports.append((number, epoch, mae_ms))
        return number in self._hopeless

    def take(self) -> list[tuple[int, int, float]]:
        """What has been reported since it was last asked: trial, epoch, ms."""
        taken, self._reports = self._reports, []
        return taken

    def give_up(self, number: int) -> None:
        """From the study: the trial shall end after its next report."""
        self._hopeless.add(number)


def run_trials(
    study: Study,
    trials: Trials,
    left: int,
    address: str,
    *,
    late: Callable[[], bool],
    ended: Callable[[], None],
) -> None:
    """Run ``left`` trials, as many at once as the cluster has CPUs.

    Args:
        study: is asked and told here only, so one process writes to its storage.
        trials: are sent to the cluster once.
        left: how many.
        address: ``local`` starts a cluster on this machine, ``auto`` looks for one that runs
            here, ``HOST:PORT`` or ``ray://HOST:PORT`` names one. latcast must be installed there.
        late: whether no more trials may begin.
        ended: called after every trial.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        OSError: there is no cluster at the address.
    """
    ray = require("ray", "ray", "tuning on a Ray cluster")
    with _cluster(ray, address):
        slots = max(1, int(ray.cluster_resources().get("CPU", 1)))
        board = ray.remote(num_cpus=0)(Board).remote()
        task = ray.remote(num_cpus=1, max_retries=0)(_run)
        shared = ray.put(trials)
        running: dict[Any, Any] = {}
        try:
            while running or (left and not late()):
                while left and len(running) < slots and not late():
                    trial, options = study.ask()
                    left -= 1
                    if (outcome := study.known(trial)) is not None:
                        study.tell(trial, outcome)
                        ended()
                        continue
                    running[task.remote(shared, trial.number, options, board)] = trial
                if not running:
                    break
                ready, _ = ray.wait(list(running), timeout=POLL_SECONDS)
                _pass_on(ray, board, running.values())
                for reference in ready:
                    _settle(ray, study, running.pop(reference), reference)
                    ended()
        except BaseException:
            for reference, trial in running.items():
                ray.cancel(reference, force=True)
                study.interrupt(trial)
            raise


def _run(trials: Trials, number: int, options: Options, board: Any) -> Outcome:
    """In a process of the cluster."""
    import ray

    def report(epoch: int, mae_ms: float) -> bool:
        return bool(ray.get(board.report.remote(number, epoch, mae_ms)))

    return trials.run(options, report)


def _pass_on(ray: Any, board: Any, running: Iterable[Any]) -> None:
    """Tell Optuna of epochs; a report that comes after its trial was settled is too late."""
    by_number = {trial.number: trial for trial in running}
    for number, epoch, mae_ms in ray.get(board.take.remote()):
        if (trial := by_number.get(number)) is None:
            continue
        trial.report(mae_ms, epoch)
        if trial.should_prune():
            board.give_up.remote(number)


def _settle(ray: Any, study: Study, trial: Any, reference: Any) -> None:
    """Tell the study; a process that died leaves an interrupted trial, which is tried again."""
    try:
        study.tell(trial, ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError:
        study.interrupt(trial)


@contextmanager
def _cluster(ray: Any, address: str) -> Iterator[None]:
    """Join a cluster, unless this process is in one already."""
    if ray.is_initialized():
        yield
        return
    # Nothing is sent to Ray's makers from a cluster that we start.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = {"include_dashboard": False} if address == "local" else {}
    try:
        _check_reachable(address)
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, **local)
    except (OSError, RuntimeError, ValueError) as error:
        raise OSError(
            f"there must be a Ray cluster at {address}; got: {error}: 'local' starts one here"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself would try for minutes, at an address where nothing listens.

    Raises:
        OSError: nothing listens there.
        ValueError: it is no address.
    """
    if address in {"local", "auto"}:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("an address is local, auto, HOST:PORT or ray://HOST:PORT")
    socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
