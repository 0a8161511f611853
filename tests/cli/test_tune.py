"""``latcast tune``, as its users call it."""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from latcast.data import LatencyDataset
from latcast.models.tuning._study import Objective

pytest.importorskip("optuna", reason="tuning needs Optuna")

TABLE = ("--predictor", "lookup-table")


@pytest.fixture
def dataset(synthetic: LatencyDataset, tmp_path: Path) -> Path:
    path = tmp_path / "measured.parquet"
    synthetic[:400].save(path)
    return path


@pytest.mark.slow
def test_tune(latcast: Any, dataset: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.latcast"
    run = latcast("tune", dataset, *TABLE, "--trials", 4, "--out", model)
    assert "penalty" in run.stdout
    assert "test: MAE, ms" in run.stdout
    assert "trials: 4 done, 0 pruned, 0 failed, 0 interrupted" in run.stdout
    assert f"wrote {model}" in run.stderr
    run = latcast("tune", dataset, *TABLE, "--trials", 4, "--out", model, "--json")
    assert f"wrote {model}" in run.stderr
    result = json.loads(run.stdout)
    assert result["storage"] == str(dataset) + ".tune.db"
    assert Path(result["storage"]).exists()
    assert len(result["trials"]) == 4
    best = result["best"]
    assert best["validation_mae_ms"] <= result["default"]["validation_mae_ms"]
    card = latcast.json("models", model)["card"]
    assert card["metrics"] == best["metrics"]
    assert card["tuning"]["options"] == best["options"]
    assert card["tuning"]["default_metrics"] == result["default"]["metrics"]
    assert latcast("tune", dataset, *TABLE, "--trials", 4, "--quiet").stderr == ""


@pytest.mark.slow
def test_failed_trials_are_noted_beside_json(
    latcast: Any, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, calls = Objective.mae_ms, itertools.count()

    def fails_once(self: Objective, *arguments: Any) -> float:
        if next(calls) == 1:
            raise ValueError("it fits nobody")
        return score(self, *arguments)

    monkeypatch.setattr(Objective, "mae_ms", fails_once)
    run = latcast("tune", dataset, *TABLE, "--trials", 2, "--json")
    assert json.loads(run.stdout)["counts"]["failed"] == 1
    assert "note: 1 trial failed, the last with penalty" in run.stderr


@pytest.mark.slow
def test_the_default_predictor_is_tuned(latcast: Any, dataset: Path) -> None:
    result = latcast.json("tune", dataset, "--trials", 2)
    assert result["predictor"] == "roofline"
    assert set(result["best"]["options"]) == {"correction_units", "robust"}
    assert result["best"]["metrics"]["mape"] < 3


def test_tune_wrong_requests(latcast: Any, dataset: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("--predictor", "rooflin"), "did you mean 'roofline'"),
        (("--preset", "paper"), "no preset is called 'paper'"),
        (("--predictor", "roofline", "--preset", "paper-grid"), "is for the predictor mlp"),
        (("--epochs", 3), "does not learn in epochs"),
        (("--out", "m.pt"), "must end in .latcast"),
        (("--time-limit", 0), "--time-limit must be like"),
        (("--test", 0.7), "below 0.5"),
    ):
        assert message in latcast.error("tune", dataset, *arguments, code=2)
    assert "no such file" in latcast.error("tune", tmp_path / "absent.csv", code=2)
    assert not list(tmp_path.glob("*.db"))


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(
    latcast: Any, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "mae_ms", interrupted)
        run = latcast("tune", dataset, *TABLE, "--trials", 2, code=130)
    assert "tune.db keeps the trials that ended; run it again to go on" in run.stderr
    assert run.stderr.endswith("error: interrupted\n")
    result = latcast.json("tune", dataset, *TABLE, "--trials", 2)
    assert result["counts"] == {"done": 2, "pruned": 0, "failed": 0, "interrupted": 1}


@pytest.mark.slow
def test_kill_9_loses_nothing_that_had_ended(
    latcast: Any,
    dataset: Path,
    start: Callable[..., subprocess.Popen[str]],
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    storage = Path(f"{dataset}.tune.db")
    kept: dict[int, float] = {}
    for enough in (3, 6):
        process = start("-m", "latcast", "tune", dataset, *TABLE, "--trials", 5_000,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        wait_until(lambda n=enough: len(_ended(storage)) >= n)
        process.send_signal(signal.SIGKILL)
        process.wait()
        ended = _ended(storage)
        assert kept.items() <= ended.items()
        kept = ended
    result = latcast.json("tune", dataset, *TABLE, "--trials", len(kept) + 2)
    done = {t["number"]: t["mae_ms"] for t in result["trials"] if t["state"] == "done"}
    assert len(done) == len(kept) + 2
    assert kept.items() <= done.items()
    interrupted = [t for t in result["trials"] if t["state"] == "interrupted"]
    assert len(interrupted) <= 2
    tried = [t["options"] for t in result["trials"] if t["state"] == "done"]
    assert all(t["options"] in tried for t in interrupted if t["options"])


def _ended(storage: Path) -> dict[int, float]:
    """Trials that have ended: number -> ms, as SQLite has them."""
    query = (
        "SELECT number, value FROM trials JOIN trial_values USING (trial_id) "
        "WHERE state = 'COMPLETE'"
    )
    if not storage.exists():
        return {}
    try:
        with closing(sqlite3.connect(storage)) as connection:
            return dict(connection.execute(query).fetchall())
    except sqlite3.OperationalError:  # its tables are being made
        return {}
