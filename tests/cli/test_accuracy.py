"""``latcast accuracy`` end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latcast.models.accuracy import accuracy_model
from latcast.spaces import space

OFA = space("ofa-mobilenet-v3")


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
def model(latcast: Any, tables: tuple[Path, Path]) -> Path:
    path = tables[0].with_name("mine.latcast")
    latcast("accuracy", "train", tables[0], "--space", OFA.name, "--out", path)
    return path


def test_what_people_read(
    latcast: Any, tables: tuple[Path, Path], model: Path, tmp_path: Path
) -> None:
    text = latcast("accuracy", "evaluate", model, tables[1]).stdout
    assert "mine.latcast on others.csv, 50 rows" in " ".join(text.split())
    assert latcast.json("accuracy", "evaluate", model, tables[1])["metrics"]["mae"] < 0.004
    assert "MAE, % points" in text
    (tmp_path / "arch.json").write_text(json.dumps(OFA.sample(1, 0).to_dicts()[0]))
    assert (
        "top-1 %"
        in latcast("accuracy", "predict", "ofa-mobilenet-v3", tmp_path / "arch.json").stdout
    )
    table = latcast(
        "accuracy", "predict", tables[1], tmp_path / "arch.json", "--space", OFA.name, code=1
    ).stderr
    assert "lacks architecture 0" in table


def test_shipped_model_is_right_about_its_own_answers(
    latcast: Any, tables: tuple[Path, Path]
) -> None:
    scores = latcast.json("accuracy", "evaluate", "ofa-mobilenet-v3", tables[0])["metrics"]
    assert scores["mae"] < 1e-6
    assert scores["spearman"] == pytest.approx(1)
    assert "coverage_90" not in scores


def test_what_cannot_be_scored_is_a_dash(
    latcast: Any, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    names, *rows = tables[1].read_text().splitlines()
    constant = [f"{row.rpartition(',')[0]},0.5" for row in rows]
    (tmp_path / "constant.csv").write_text("\n".join([names, *constant]) + "\n")
    text = latcast("accuracy", "evaluate", "ofa-mobilenet-v3", tmp_path / "constant.csv").stdout
    assert "nan" not in text
    assert [line.split()[-1] for line in text.splitlines() if "correlation" in line] == ["–", "–"]


def test_a_table_with_capital_letters(
    latcast: Any, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "T.CSV").write_bytes(tables[1].read_bytes())
    arguments = ("evaluate", tmp_path / "T.CSV", tables[1], "--space", OFA.name)
    assert latcast.json("accuracy", *arguments)["metrics"]["mae"] == 0.0


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
    latcast: Any,
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
    assert message in latcast.error(
        "accuracy", *(a.format(*tables, **others) for a in arguments), code=code
    )
