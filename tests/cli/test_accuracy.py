"""``latcast accuracy`` end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from latcast.cli import app
from latcast.models.accuracy import accuracy_model, load_accuracy
from latcast.spaces import space

OFA = space("ofa-mobilenet-v3")


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["accuracy", *(str(a) for a in arguments)])
    assert result.exit_code == code, result.stderr or repr(result.exception)
    if code:
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.strip().splitlines()) == 1
    return result


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Answers of the shipped model: 150 in percent, and 50 others as fractions."""
    folder = tmp_path_factory.mktemp("tables")
    archs = OFA.sample(200, 0, restrict={"r": [160, 192, 224]})
    accuracy = accuracy_model().predict(archs)
    paths = folder / "many.csv", folder / "others.csv"
    for path, rows, factor in zip(paths, (range(150), range(150, 200)), (100, 1), strict=True):
        genes = [",".join([*map(str, archs.genes[n]), str(factor * accuracy[n])]) for n in rows]
        names = ",".join([*(g.name for g in OFA.genes), "accuracy"])
        path.write_text("\n".join([names, *genes]) + "\n")
    return paths


@pytest.fixture(scope="module")
def model(tables: tuple[Path, Path]) -> Path:
    path = tables[0].with_name("mine.latcast")
    run("train", tables[0], "--space", OFA.name, "--out", path)
    return path


def test_train_evaluate_predict(tables: tuple[Path, Path], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.latcast"
    trained = json.loads(
        run("train", tables[0], "--space", OFA.name, "--out", out, "--quiet", "--json").stdout
    )
    assert trained["unit"] == "percent"
    assert trained["name"] == "again"
    assert trained["resolutions"] == [160, 192, 224]
    assert "128 rows to train, 22 to test" in trained["split"]
    assert trained["metrics"]["mae"] < 0.004
    assert trained["metrics"]["spearman"] > 0.9

    scored = json.loads(run("evaluate", out, tables[1], "--json").stdout)
    assert scored["rows"] == 50
    assert scored["metrics"]["mae"] < 0.004

    archs = OFA.sample(3, 9, restrict={"r": [192]})
    (tmp_path / "archs.json").write_text(json.dumps(archs.to_dicts()))
    asked = json.loads(run("predict", out, tmp_path / "archs.json", "--json").stdout)
    loaded = load_accuracy(out)
    uncertainty = loaded.uncertainty(archs)
    assert uncertainty is not None
    for n, record in enumerate(asked["predicted"]):
        assert record["accuracy"] == pytest.approx(loaded.predict(archs)[n], abs=1e-6)
        assert record["uncertainty"] == pytest.approx(uncertainty[n], abs=1e-6)
        assert OFA.parse([record["arch"]]) == archs[n]


def test_what_people_read(tables: tuple[Path, Path], model: Path, tmp_path: Path) -> None:
    text = run("evaluate", model, tables[1]).stdout
    assert "mine.latcast on others.csv, 50 rows" in " ".join(text.split())
    assert "MAE, % points" in text
    (tmp_path / "arch.json").write_text(json.dumps(OFA.sample(1, 0).to_dicts()[0]))
    assert "top-1 %" in run("predict", "ofa-mobilenet-v3", tmp_path / "arch.json").stdout
    table = run("predict", tables[1], tmp_path / "arch.json", "--space", OFA.name, code=1).stderr
    assert "lacks architecture 0" in table


def test_shipped_model_is_right_about_its_own_answers(tables: tuple[Path, Path]) -> None:
    scores = json.loads(run("evaluate", "ofa-mobilenet-v3", tables[0], "--json").stdout)["metrics"]
    assert scores["mae"] < 1e-6
    assert scores["spearman"] == pytest.approx(1)
    assert "coverage_90" not in scores


def test_what_cannot_be_scored_is_a_dash(tables: tuple[Path, Path], tmp_path: Path) -> None:
    names, *rows = tables[1].read_text().splitlines()
    constant = [f"{row.rpartition(',')[0]},0.5" for row in rows]
    (tmp_path / "constant.csv").write_text("\n".join([names, *constant]) + "\n")
    text = run("evaluate", "ofa-mobilenet-v3", tmp_path / "constant.csv").stdout
    assert "nan" not in text
    assert [line.split()[-1] for line in text.splitlines() if "correlation" in line] == ["–", "–"]


def test_a_table_with_capital_letters(tables: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "T.CSV").write_bytes(tables[1].read_bytes())
    arguments = ("evaluate", tmp_path / "T.CSV", tables[1], "--space", OFA.name, "--json")
    assert json.loads(run(*arguments).stdout)["metrics"]["mae"] == 0.0


def test_a_seed_repeats_a_training(tables: tuple[Path, Path], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.latcast"
    run("train", tables[0], "--space", OFA.name, "--out", out, "--model-name", "mine")
    archs = OFA.sample(20, 1)
    first, second = load_accuracy(model), load_accuracy(tmp_path / "m.latcast")
    np.testing.assert_array_equal(first.predict(archs), second.predict(archs))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "{0}", "--out", "m.csv"], 2, "--out must end in .latcast"),
        (["train", "{0}", "--out", "m.latcast"], 2, "does not tell its search space: give --space"),
        (["train", "{0}", "--space", "ofa", "--out", "m.latcast"], 2, "no search space is called"),
        (["train", "none.csv", "--out", "m.latcast"], 2, "no such file"),
        (["train", "{0}", "--out", "m.latcast", "--test", "1"], 2, "--test must be between 0 and"),
        (["train", "{0}", "--out", "m.latcast", "--unit", "x"], 2, "--unit must be fraction or"),
        (["train", "{0}", "--space", "fbnet", "--out", "m.latcast"], 1, "'arch', or one per gene"),
        (["evaluate", "none.latcast", "{0}"], 2, "no such file"),
        (["evaluate", "ofa-mobilenet", "{0}"], 2, "did you mean 'ofa-mobilenet-v3'"),
        (["evaluate", "{0}", "{1}"], 2, "does not tell its search space: give --space"),
        (["evaluate", "{upper}", "{1}"], 2, "does not tell its search space: give --space"),
        (["evaluate", "{text}", "{1}"], 2, "does not tell its search space: give --space"),
        (["evaluate", "ofa-mobilenet-v3", "{0}", "--space", "fbnet"], 2, "knows nothing of fbnet"),
    ],
)
def test_errors(
    tables: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    others = {"upper": tmp_path / "T.CSV", "text": tmp_path / "t.txt"}
    for path in others.values():
        path.write_bytes(tables[0].read_bytes())
    assert message in run(*(a.format(*tables, **others) for a in arguments), code=code).stderr
