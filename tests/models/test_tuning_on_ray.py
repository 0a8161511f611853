"""How trials are sent to Ray and what becomes of them, with a Ray that runs in this process."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from latcast.data import LatencyDataset
from latcast.models import PREDICTORS
from latcast.models._tunable import Choice
from latcast.models.tuning import Plan, tune
from latcast.models.tuning._ray import run_trials
from latcast.models.tuning._storage import open_storage
from latcast.models.tuning._study import Study
from latcast.models.tuning._trial import Outcome, Trials

pytest.importorskip("optuna", reason="tuning needs Optuna")


class Later:
    """A reference to what a task will have returned: it runs when it is first asked for."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call, self._values = call, list[Any]()

    def value(self) -> Any:
        if not self._values:
            self._values.append(self._call())
        return self._values[0]


class Remote:
    """A function, a class or an actor's method: ``remote`` calls it."""

    def __init__(self, what: Any) -> None:
        self._what = what

    def remote(self, *arguments: Any) -> Any:
        given = [a.value() if isinstance(a, Later) else a for a in arguments]
        if isinstance(self._what, type):
            actor = self._what(*given)
            methods = [name for name in dir(actor) if not name.startswith("_")]
            return SimpleNamespace(**{n: Remote(getattr(actor, n)) for n in methods})
        return Later(lambda: self._what(*given))


def _wait(references: list[Later], *, timeout: float) -> tuple[list[Later], list[Later]]:
    if not references:
        raise ValueError("wait() needs at least one reference")  # as Ray has it
    references[0].value()
    return references[:1], references[1:]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """One CPU."""
    module = SimpleNamespace(
        is_initialized=lambda: True,
        cluster_resources=lambda: {"CPU": 1.0},
        remote=lambda **_: Remote,
        put=lambda value: Later(lambda: value),
        get=Later.value,
        wait=_wait,
        cancel=lambda reference, force: None,
        exceptions=SimpleNamespace(RayTaskError=TimeoutError, RayError=ConnectionError),
    )
    monkeypatch.setitem(sys.modules, "ray", module)  # type: ignore[arg-type]
    return module


@pytest.fixture
def two_options(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(PREDICTORS["lookup-table"], "tunable", {"penalty": Choice((1e-3, 1e-2))})
    return Plan.make("lookup-table")


@pytest.mark.usefixtures("ray")
def test_options_that_were_tried_are_not_sent_again(
    synthetic: LatencyDataset, two_options: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, told = [], []

    def counted(self: Trials, options: Any, report: Any) -> Outcome:
        sent.append(options["penalty"])
        return Outcome("done", options["penalty"], 0.1)

    monkeypatch.setattr(Trials, "run", counted)
    result = tune(synthetic[:300], two_options, trials=15, ray="local",
                  progress=lambda done, total: told.append((done, total)))  # fmt: skip
    assert result.counts()["done"] == 15
    assert sorted(sent) == [1e-3, 1e-2]
    assert told == [(n, 15) for n in range(16)]


@pytest.mark.usefixtures("ray")
def test_a_report_that_comes_too_late_is_passed_over(
    synthetic: LatencyDataset, two_options: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = []

    def reporting(self: Trials, options: Any, report: Any) -> Outcome:
        reports.append(report)
        report(1, 3.0)
        reports[0](2, 2.0)  # of the first trial, which has been settled when the second runs
        return Outcome("done", options["penalty"], 0.1)

    monkeypatch.setattr(Trials, "run", reporting)
    result = tune(synthetic[:300], two_options, trials=15, ray="local")
    assert len(reports) == 2
    assert result.counts()["done"] == 15
    assert result.trials[0].epochs == 2


@pytest.mark.usefixtures("ray")
def test_time_that_is_up_before_a_trial_is_sent_ends_it(
    synthetic: LatencyDataset, two_options: Plan
) -> None:
    data = synthetic[:300]
    late = itertools.chain([False], itertools.repeat(True))
    with open_storage(None) as storage:
        study = Study(storage, "s", two_options, two_options.fingerprint(data))
        trials = Trials(two_options, data[:200], data[200:])
        run_trials(study, trials, 3, "local", late=lambda: next(late), ended=lambda: None)
        assert study.records() == []
