from __future__ import annotations

import gzip
import itertools
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.data import LatencyDataset, split
from latcast.devices import Target
from latcast.models import MLP, PREDICTORS, LookupTable, tuning
from latcast.models._tunable import Choice, Real, Whole
from latcast.models.training import fit_and_score, parts
from latcast.models.tuning import PRESETS, TuningPlan, TuningResult, tune
from latcast.models.tuning._study import Objective, Study, options_of, params_of
from latcast.models.tuning._workers import Job, open_storage

pytest.importorskip("optuna", reason="tuning needs Optuna")

DATA = Path(__file__).parents[1] / "data" / "files"

plan_of = TuningPlan.make
TABLE = plan_of("lookup-table")
GRID = plan_of(preset="paper-grid", epochs=3)


def values(result: TuningResult) -> list[tuple[int, str, dict[str, Any], float | None]]:
    return [(t.number, t.state, t.options, t.mae_ms) for t in result.trials]


def no_trials(self: Objective, options: Any, report: Any) -> float:
    pytest.fail("no trial is left to run")


def interrupted_at(number: int, score: Any = Objective.mae_ms) -> Any:
    """An ``Objective.mae_ms`` that ctrl-C ends in its n-th call."""
    calls = itertools.count(1)

    def interrupted(self: Objective, options: Any, report: Any) -> Any:
        if next(calls) == number:
            raise KeyboardInterrupt
        return score(self, options, report)

    return interrupted


# -- what a predictor says of its options ---------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k, p in PREDICTORS.items() if p.tunable])
def test_defaults_and_bounds_are_options(kind: str) -> None:
    predictor = PREDICTORS[kind]
    defaults = predictor().options()
    for name, spec in predictor.tunable.items():
        assert defaults[name] in spec
        ends = spec.values if isinstance(spec, Choice) else (spec.low, spec.high)
        for value in ends:
            made = predictor(**{name: value}).options()[name]
            assert made == (list(value) if isinstance(value, tuple) else value)
            assert value in spec


def test_bounds_are_kept() -> None:
    assert 0.5 in Real(0.5, 2)
    assert 2.1 not in Real(0.5, 2)
    assert True not in Real(0.5, 2)
    assert 64 in Whole(0, 128, step=32)
    assert 65 not in Whole(0, 128, step=32)
    assert [1, 2] in Choice(((1, 2), (3,)))
    for wrong in (
        lambda: Real(2, 1), lambda: Real(0, 1, log=True), lambda: Whole(0, 10, step=3),
        lambda: Choice(()), lambda: Choice((1, 1)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="got"):
            wrong()


scalars = st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)


@given(st.lists(st.lists(scalars, max_size=3).map(tuple) | scalars, min_size=1, unique_by=repr))
def test_choices_come_back_from_their_encoding(chosen: list[Any]) -> None:
    distinct = tuple({value: value for value in chosen})
    plan = TuningPlan("mlp", None, {}, {"hidden": Choice(distinct)}, 0.15, 0)
    for value in distinct:
        kept = params_of(plan, {"hidden": value})
        assert isinstance(kept["hidden"], str)
        assert options_of(plan, kept)["hidden"] in plan.tunable["hidden"]


# -- plans ----------------------------------------------------------------------------------------


def test_the_paper_s_grid_has_36_points() -> None:
    points = PRESETS["paper-grid"].points()
    as_tuples = {(p["learning_rate"], p["weight_decay"], p["momentum"]) for p in points}
    assert len(points) == len(as_tuples) == 36
    assert as_tuples == set(
        itertools.product((1e-4, 1e-3, 1e-2), (1e-4, 1e-3, 1e-2), (0.4, 0.6, 0.8, 0.9))
    )
    for point in points:
        options = plan_of(preset="paper-grid").create(point).options()
        assert options == MLP("paper", **point).options()
        assert options["epochs"] == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predictor": "rooflin"}, "did you mean 'roofline'"),
        ({"preset": "paper-gird"}, "did you mean 'paper-grid'"),
        ({"predictor": "roofline", "preset": "paper-grid"}, "is for the predictor mlp; got roofl"),
        ({"predictor": "flops"}, "flops has no options to tune; those that have: roofline"),
        ({"epochs": 3}, "roofline does not learn in epochs; those that do: mlp"),
        ({"predictor": "mlp", "epochs": 0}, "epochs must be at least 1; got 0"),
        ({"test": 0.5}, "below 0.5, as validation takes as much again; got 0.5"),
    ],
)
def test_plans_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(**arguments)


# -- a search -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_winner_is_what_it_says(synthetic: LatencyDataset) -> None:
    result = tune(synthetic, TABLE, trials=6)
    assert result.counts() == {"done": 6, "pruned": 0, "failed": 0, "interrupted": 0}
    assert result.trials[0] == result.default
    assert result.default_options == {"penalty": 1e-3}
    assert result.best.mae_ms == min(t.mae_ms for t in result.trials)
    penalty = result.best.options["penalty"]

    train, test = split(synthetic, 0.85, 0)
    fitted, validation = split(train, 0.7 / 0.85, 1)
    assert abs(len(validation) - len(test)) < 5
    p = LookupTable(penalty).fit(fitted, calibration=validation)
    error = np.abs(p.predict(validation.archs) - validation.latency_ms).mean()
    assert result.best.mae_ms == pytest.approx(error)

    again = LookupTable(penalty)
    assert result.metrics == fit_and_score(again, synthetic)
    assert result.default_metrics == fit_and_score(LookupTable(), synthetic)
    assert result.metrics != result.default_metrics
    assert result.predictor.options() == {"penalty": penalty}
    np.testing.assert_array_equal(
        result.predictor.predict(test.archs), again.predict(test.archs)
    )  # fmt: skip
    card = result.predictor.fitted.card
    assert card["tuning"]["validation_mae_ms"] == result.best.mae_ms
    assert card["tuning"]["trials"]["done"] == 6
    assert card["metrics"] == result.metrics


def test_no_trial_sees_the_test_part(synthetic: LatencyDataset) -> None:
    (test,) = parts(synthetic).test
    spoilt = np.where(
        np.isin(synthetic.order, test.order), 1.2 * synthetic.latency_ms, synthetic.latency_ms
    )
    other = LatencyDataset(synthetic.archs, spoilt, synthetic.target)
    first, second = (tune(d, TABLE, trials=4) for d in (synthetic, other))
    assert values(first) == values(second)
    assert second.metrics["mae_ms"] > 5 * first.metrics["mae_ms"]


def test_the_seed_decides(synthetic: LatencyDataset) -> None:
    few = synthetic[:500]
    first, again = (values(tune(few, TABLE, trials=12)) for _ in range(2))
    assert first == again
    other = values(tune(few, plan_of("lookup-table", seed=1), trials=3))
    assert other[0][2] == first[0][2]  # the defaults
    assert other[1][2] != first[1][2]


def test_options_that_were_tried_are_not_tried_again(
    synthetic: LatencyDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PREDICTORS["lookup-table"], "tunable", {"penalty": Choice((1e-3, 1e-2))})
    runs = []

    def counted(self: Objective, options: Any, report: Any) -> float:
        runs.append(options)
        return options["penalty"]

    monkeypatch.setattr(Objective, "mae_ms", counted)
    result = tune(synthetic[:300], plan_of("lookup-table"), trials=15)
    assert result.counts()["done"] == 15
    assert sorted(o["penalty"] for o in runs) == [1e-3, 1e-2]


@pytest.mark.slow
def test_what_fails_is_told_and_not_tried_again(
    synthetic: LatencyDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: LookupTable, *_: Any) -> None:
        raise ValueError("it fits nobody")

    with monkeypatch.context() as patch:
        patch.setattr(LookupTable, "_fit", fails)
        with pytest.raises(ValueError, match=r"'failed': 2.*the last one failed: it fits nobody"):
            tune(synthetic[:300], TABLE, trials=2, storage=tmp_path / "s.db")
    result = tune(synthetic[:300], TABLE, trials=3, storage=tmp_path / "s.db")
    assert [t.state for t in result.trials] == ["failed", "failed", "done"]
    assert result.trials[0].reason == "it fits nobody"
    assert result.default is None


def test_defaults_that_cannot_be_fitted_have_no_scores(
    synthetic: LatencyDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = LookupTable._fit

    def picky(self: LookupTable, *arguments: Any) -> None:
        if self._penalty == 1e-3:
            raise ValueError("not with the defaults")
        fit(self, *arguments)

    monkeypatch.setattr(LookupTable, "_fit", picky)
    result = tune(synthetic[:300], TABLE, trials=2)
    assert [t.state for t in result.trials] == ["failed", "done"]
    assert result.default_metrics == {}
    assert result.metrics["mae_ms"] > 0


def test_time_is_kept(synthetic: LatencyDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="positive number of seconds; got -1"):
        tune(synthetic, TABLE, timeout_s=-1)
    with pytest.raises(ValueError, match="at least 1 trial; got 0"):
        tune(synthetic, TABLE, trials=0)
    with pytest.raises(ValueError, match="at least 1 worker; got 0"):
        tune(synthetic, TABLE, workers=0)
    with pytest.raises(ValueError, match=r"at least one trial must end well; .*more time"):
        tune(synthetic[:300], TABLE, timeout_s=1e-9)


# -- studies that go on ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_goes_on(
    synthetic: LatencyDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, storage = synthetic[:300], tmp_path / "folder" / "s.db"
    first = tune(data, TABLE, trials=3, storage=storage)
    more = tune(data, TABLE, trials=6, storage=storage)
    assert more.trials[:3] == first.trials
    penalties = [t.options["penalty"] for t in more.trials]
    assert len(set(penalties)) == 6  # what had been drawn is not drawn again
    # One file keeps several studies.
    other = tune(data, plan_of("lookup-table", seed=2), trials=1, storage=storage, study="2")
    assert len(other.trials) == 1
    monkeypatch.setattr(Objective, "mae_ms", no_trials)
    assert tune(data, TABLE, trials=6, storage=storage).trials == more.trials
    assert tune(data, TABLE, trials=2, storage=storage).best == more.best


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 2, 4])
def test_an_interrupted_trial_is_tried_again(
    at: int, synthetic: LatencyDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, storage = synthetic[:300], tmp_path / "s.db"
    with monkeypatch.context() as patch:
        patch.setattr(Objective, "mae_ms", interrupted_at(at))
        with pytest.raises(KeyboardInterrupt):
            tune(data, TABLE, trials=5, storage=storage)
    result = tune(data, TABLE, trials=5, storage=storage)
    assert result.counts() == {"done": 5, "pruned": 0, "failed": 0, "interrupted": 1}
    states = [t.state for t in result.trials]
    assert states.index("interrupted") == at - 1
    assert result.trials[at].options == result.trials[at - 1].options
    monkeypatch.setattr(Objective, "mae_ms", no_trials)
    tune(data, TABLE, trials=5, storage=storage)


@pytest.mark.slow
def test_every_point_of_a_grid_is_tried_once(
    synthetic: LatencyDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scored(self: Objective, options: Any, report: Any) -> float:
        if options["momentum"] == 0.4:
            raise ValueError("it diverged")
        return options["learning_rate"] / options["momentum"]

    monkeypatch.setattr(tuning._tune, "fit_and_score_parts", _fit_without_torch)
    for at in (5, 1, 20):
        monkeypatch.setattr(Objective, "mae_ms", interrupted_at(at, scored))
        with pytest.raises(KeyboardInterrupt):
            tune(synthetic[:300], GRID, storage=tmp_path / "s.db")
    monkeypatch.setattr(Objective, "mae_ms", scored)
    result = tune(synthetic[:300], GRID, storage=tmp_path / "s.db")
    assert result.counts() == {"done": 27, "pruned": 0, "failed": 9, "interrupted": 3}
    tried = [tuple(t.options.values()) for t in result.trials if t.state != "interrupted"]
    assert len(tried) == len(set(tried)) == 36
    assert result.best.options["momentum"] == 0.9
    assert result.predictor.options()["recipe"] == "paper"
    with pytest.raises(ValueError, match="needs the fixed options it began with"):
        tune(synthetic[:300], plan_of(preset="paper-grid"), storage=tmp_path / "s.db")


def _fit_without_torch(predictor: MLP, of: Any, *, seed: int) -> dict[str, float]:
    from latcast.models._fitted import Fitted

    predictor._fitted = Fitted(of.train[0].archs.space, of.train[0].target)
    return {"mae_ms": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "change", "message"),
    [
        (plan_of("roofline"), None, "options to tune it began with"),
        (plan_of("lookup-table", seed=1), None, "seed it began with, 0; got 1"),
        (
            plan_of("lookup-table", test=0.2),
            None,
            "test share it began with, 0.15; got 0.2",
        ),
        (plan_of(preset="paper-grid"), None, "fixed options it began with"),
        (plan_of("lookup-table", prune=False), None, "pruning it began with, yes; got no"),
        (TABLE, "latency", "data it began with, 300 rows, .*; got 300 rows"),
        (TABLE, "rows", "data it began with, 300 rows, .*; got 299 rows"),
        (TABLE, "target", "target it began with, imaginary/.*; got other/simulator"),
    ],
)
def test_a_study_of_something_else_is_refused(
    plan: TuningPlan, change: str | None, message: str, synthetic: LatencyDataset, tmp_path: Path
) -> None:
    data, storage = synthetic[:300], tmp_path / "s.db"
    first = tune(data, TABLE, trials=1, storage=storage, study="one")
    other = {
        None: data,
        "latency": LatencyDataset(data.archs, data.latency_ms * 1.001, data.target),
        "rows": data[:299],
        "target": LatencyDataset(data.archs, data.latency_ms, Target("other", "simulator")),
    }[change]
    with pytest.raises(ValueError, match=f"{message}.*: name another study or storage"):
        tune(other, plan, trials=2, storage=storage, study="one")
    assert tune(data, TABLE, trials=1, storage=storage, study="one").trials == first.trials


def test_a_study_of_optuna_s_user_is_left_alone(synthetic: LatencyDataset, tmp_path: Path) -> None:
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 's.db'}")
    mine = optuna.create_study(storage=storage, study_name="lookup-table")
    mine.tell(mine.ask(), 1.0)
    storage.engine.dispose()
    with pytest.raises(ValueError, match="'lookup-table' in this storage is not one of latcast's"):
        tune(synthetic[:300], TABLE, trials=2, storage=tmp_path / "s.db")


# -- storages that cannot be used -----------------------------------------------------------------


@pytest.fixture(scope="module")
def study(synthetic: LatencyDataset, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A storage with a study of two trials."""
    path = tmp_path_factory.mktemp("study") / "s.db"
    tune(synthetic[:300], TABLE, trials=2, storage=path)
    return path.read_bytes()


@pytest.fixture
def kept(study: bytes, tmp_path: Path) -> Path:
    (tmp_path / "s.db").write_bytes(study)
    return tmp_path / "s.db"


DAMAGE = {
    "text": lambda path, content: path.write_bytes(b"trials,ms\n" * 500),
    "half": lambda path, content: path.write_bytes(content[: len(content) // 2]),
    "page": lambda path, content: path.write_bytes(content[:4096].ljust(len(content), b"\xff")),
    "folder": lambda path, content: path.mkdir(),
    "other": lambda path, content: execute(path, "CREATE TABLE accounts (number INTEGER)"),
}


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_storage_is_refused(damage: str, kept: Path, synthetic: LatencyDataset) -> None:
    content = kept.read_bytes()
    kept.unlink()
    DAMAGE[damage](kept, content)
    before = None if damage == "folder" else kept.read_bytes()
    with pytest.raises(ValueError, match=r"s\.db must (be a whole SQLite|hold studies)") as raised:
        tune(synthetic[:300], TABLE, trials=3, storage=kept)
    assert "name another storage" in str(raised.value)
    assert before is None or kept.read_bytes() == before


def test_storages_of_another_optuna_and_that_cannot_be_written(
    kept: Path, synthetic: LatencyDataset
) -> None:
    execute(kept, "UPDATE alembic_version SET version_num = 'v99'")
    with pytest.raises(ValueError, match="must be a study of the Optuna that is installed"):
        tune(synthetic[:300], TABLE, trials=3, storage=kept)
    with pytest.raises(OSError, match=r"/proc/nowhere/s\.db must be in a folder that can be writt"):
        tune(synthetic[:300], TABLE, trials=1, storage="/proc/nowhere/s.db")


@pytest.mark.parametrize(("package", "extra"), [("optuna", "tune"), ("ray", "ray")])
def test_missing_packages_name_the_line_to_type(
    package: str, extra: str, synthetic: LatencyDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'latcast\[{extra}\]'"):
        tune(synthetic[:300], TABLE, trials=1, ray="local")


# -- predictors that learn in epochs --------------------------------------------------------------


def test_after_every_epoch_there_is_a_prediction(synthetic: LatencyDataset) -> None:
    pytest.importorskip("torch")
    data, predicted = synthetic[:100], []
    p = MLP(hidden=(16,), epochs=4)
    p.after_epoch = lambda epoch: predicted.append((epoch, p.predict(data.archs)))
    p.fit(data)
    assert [epoch for epoch, _ in predicted] == [1, 2, 3, 4]
    assert len({tuple(ms) for _, ms in predicted}) == 4
    plain = MLP(hidden=(16,), epochs=4).fit(data)
    np.testing.assert_array_equal(predicted[-1][1], plain.predict(data.archs))
    np.testing.assert_array_equal(p.predict(data.archs), plain.predict(data.archs))


@pytest.mark.slow
def test_hopeless_trials_are_pruned(synthetic: LatencyDataset) -> None:
    pytest.importorskip("torch")
    plan = plan_of("mlp", epochs=8)
    result = tune(synthetic[:200], plan, trials=8)
    pruned = [t for t in result.trials if t.state == "pruned"]
    done = [t for t in result.trials if t.state == "done"]
    assert pruned
    assert done
    assert len(pruned) + len(done) == 8
    assert all(t.epochs is not None and t.epochs < 8 for t in pruned)
    assert all(t.epochs == 8 for t in done)
    assert result.predictor.options()["epochs"] == 8
    assert values(tune(synthetic[:200], plan, trials=8)) == values(result)
    patient = tune(synthetic[:200], plan_of("mlp", epochs=8, prune=False), trials=8)
    assert patient.counts()["done"] == 8
    first = [t.state for t in result.trials].index("pruned")
    assert patient.trials[first].options == result.trials[first].options


def test_a_fit_that_diverges_is_a_failed_trial(synthetic: LatencyDataset) -> None:
    pytest.importorskip("torch")
    objective = Objective(GRID, synthetic[:100], synthetic[100:150])
    options = {"learning_rate": 1e20, "weight_decay": 1e-4, "momentum": 0.9}
    with pytest.raises(ValueError, match="the fit diverged: no finite validation error in epoch 1"):
        objective.mae_ms(options, lambda epoch, ms: False)


# -- workers that share a storage -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.worker
@pytest.mark.parametrize("ray", [None, "local"])
def test_two_workers_share_a_storage(
    ray: str | None, synthetic: LatencyDataset, tmp_path: Path
) -> None:
    if ray is not None:
        pytest.importorskip("ray", reason="needs Ray")
    data, told = synthetic[:300], list[tuple[int, int]]()
    shared = tune(data, TABLE, trials=8, storage=tmp_path / "s.db", workers=2, ray=ray,
                  progress=lambda done, total: told.append((done, total)))  # fmt: skip
    assert shared.counts() == {"done": 8, "pruned": 0, "failed": 0, "interrupted": 0}
    assert told == [(n, 8) for n in range(9)]
    assert len({t.options["penalty"] for t in shared.trials}) == 8  # each draws its own
    alone = tune(data, TABLE, trials=1)
    assert shared.default is not None
    assert shared.default.mae_ms == alone.trials[0].mae_ms
    again = tune(data, TABLE, trials=9, storage=tmp_path / "s.db")
    assert again.trials[:8] == shared.trials


@pytest.mark.slow
@pytest.mark.worker
def test_workers_prune_and_fail_as_one_process_does(synthetic: LatencyDataset) -> None:
    pytest.importorskip("torch")
    result = tune(synthetic[:200], GRID, trials=4, workers=2)
    counts = result.counts()
    assert counts["done"] + counts["pruned"] + counts["failed"] == 4
    assert counts["done"] >= 1


def test_one_worker_gets_a_trial_that_two_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second asks between the first one's look whether the trial waits and its taking it."""
    import optuna

    path, taken = str(tmp_path / "s.db"), []
    with open_storage(path) as one, open_storage(path) as other:
        study = optuna.create_study(storage=one)
        study.enqueue_trial({})
        (trial,) = study.get_trials()
        running = optuna.trial.TrialState.RUNNING
        ask = threading.Thread(
            target=lambda: taken.append(other.set_trial_state_values(trial._trial_id, running))
        )

        def asked_meanwhile(*_: Any) -> None:
            ask.start()
            ask.join(0.5)

        monkeypatch.setattr(one, "check_trial_is_updatable", asked_meanwhile)
        taken.append(one.set_trial_state_values(trial._trial_id, running))
        ask.join()
    assert sorted(taken) == [False, True]


def test_a_worker_without_the_storage_says_what_it_needs(
    synthetic: LatencyDataset, tmp_path: Path
) -> None:
    job = Job(str(tmp_path / "elsewhere.db"), "s", {}, Objective(TABLE, synthetic, synthetic))
    with pytest.raises(OSError, match=r"must reach the study's storage; .* has no .*elsewhere.db"):
        job.run(0, 0)


@pytest.mark.slow
def test_a_trial_whose_worker_died_is_tried_again(
    synthetic: LatencyDataset, tmp_path: Path
) -> None:
    """As kill -9 and a power cut leave it: it runs, but tells no longer that it lives."""
    data, path = synthetic[:300], tmp_path / "s.db"
    first = tune(data, TABLE, trials=1, storage=path)
    with open_storage(str(path)) as storage:
        study = Study(storage, "lookup-table", TABLE, TABLE.fingerprint(data))
        with pytest.warns(UserWarning, match="Heartbeat of storage"):
            trial = study._study.ask()
        penalty = trial.suggest_float("penalty", TABLE.tunable["penalty"].low,
                                      TABLE.tunable["penalty"].high, log=True)  # fmt: skip
        storage.record_heartbeat(trial._trial_id)
    alive = tune(data, TABLE, trials=2, storage=path)
    assert alive.counts() == {"done": 2, "pruned": 0, "failed": 0, "interrupted": 0}
    execute(path, "UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    result = tune(data, TABLE, trials=3, storage=path)
    assert result.counts() == {"done": 3, "pruned": 0, "failed": 0, "interrupted": 1}
    assert result.trials[0] == first.trials[0]
    assert [t.options["penalty"] for t in result.trials].count(penalty) == 2


def test_a_study_of_an_older_latcast_goes_on(synthetic: LatencyDataset, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress((DATA / "study-0.1.0.db.gz").read_bytes()))
    result = tune(synthetic[:300], TABLE, trials=4, storage=path)
    assert result.counts() == {"done": 4, "pruned": 0, "failed": 0, "interrupted": 0}
    now = tune(synthetic[:300], TABLE, trials=3)
    assert [t.options for t in result.trials[:3]] == [t.options for t in now.trials]
    np.testing.assert_allclose(
        [t.mae_ms for t in result.trials[:3]], [t.mae_ms for t in now.trials], rtol=1e-9
    )


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere", "host:port"])
def test_where_no_ray_cluster_is(address: str, synthetic: LatencyDataset) -> None:
    pytest.importorskip("ray", reason="needs Ray")
    with pytest.raises(OSError, match=f"there must be a Ray cluster at {address}; got: "):
        tune(synthetic[:300], TABLE, trials=1, ray=address)
