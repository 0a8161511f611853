"""Few-shot scores on HELP's files, piece by piece; a golden record has those of the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast.bench import protocol, published, transfer
from latcast.bench.help_folder import HelpFolder
from latcast.bench.protocol import Pool, Runs, base_model, few_shot
from latcast.data import Dataset
from latcast.models import BaseModel
from latcast.spaces import space

pytestmark = pytest.mark.slow

TRAIN = ("2080ti_1", "2080ti_32", "titan_rtx_1")


def test_the_base_is_all_but_the_test_targets(latcast: Any, help_data: Path) -> None:
    rows = latcast.json(
        "bench", "transfer", "--data", help_data / "ofa", "--test", "v100_32", "--samples", 0,
        "--samples", 4, "--seeds", 2, "--base-samples", 50, "--ceiling",
    )["rows"]  # fmt: skip
    first, second, *means = rows
    others = ["2080ti_1", "2080ti_32", "gold_6226", "titan_rtx_1", "titan_rtx_32"]
    assert first["space"] == "ofa-mobilenet-v3"
    assert first["train"] == second["train"] == others
    assert first["base_samples"] == 50
    assert (first["selection"], first["seeds"], first["scored"]) == ("none", 1, 120)
    assert (second["selection"], second["seeds"], second["scored"]) == ("random", 2, 116)
    assert second["ceiling_spearman"] == means[1]["ceiling_spearman"] > 0.9
    assert [r["target"] for r in means] == ["mean", "mean"]


def test_one_target_is_left_out_after_the_other(help_data: Path) -> None:
    plan = transfer.plan(help_data, "nasbench201", leave_one_out=True)
    names = {"2080ti_1", "2080ti_32", "gold_6226", "titan_rtx_1", "titan_rtx_32", "v100_32"}
    assert {test for _, tests in plan.groups for test in tests} == names
    assert all(set(train) == names - set(test) and len(test) == 1 for train, test in plan.groups)
    plan = transfer.plan(help_data, "ofa", leave_one_out=True, test=["v100_32", "2080ti_1"],
                         samples=[3], seeds=1, base_samples=20)  # fmt: skip
    rows = transfer.run(plan).rows
    assert [r["target"] for r in rows] == ["v100_32", "2080ti_1", "mean"]
    assert [r["train"] is None for r in rows] == [False, False, True]


def test_the_base_sees_no_row_of_a_test_target(
    help_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Dataset] = []
    original = BaseModel.fit

    def fit(self: BaseModel, datasets: list[Dataset]) -> BaseModel:
        seen.extend(datasets)
        return original(self, datasets)

    monkeypatch.setattr(BaseModel, "fit", fit)
    plan = transfer.plan(help_data, "nasbench201", train=TRAIN, test=["v100_32"], samples=[2],
                         seeds=1, base_samples=30)  # fmt: skip
    transfer.run(plan)
    assert [(str(d.target), len(d)) for d in seen] == [
        ("rtx-2080-ti/pytorch-help/b1", 30),
        ("rtx-2080-ti/pytorch-help/b32", 30),
        ("titan-rtx/pytorch-help/b1", 30),
    ]
    assert seen[0].archs != seen[1].archs  # every target has rows of its own


@pytest.fixture(scope="module")
def base_and_pool(help_data: Path) -> tuple[BaseModel, Pool]:
    folder = HelpFolder.find(help_data, "nasbench201")
    base, _, _ = base_model({n: folder.read(n) for n in TRAIN}, None, lambda _: None)
    return base, Pool.of("v100_32", folder.read("v100_32"))


@pytest.mark.parametrize("selection", protocol.SELECTIONS)
def test_only_the_samples_are_measured_and_all_others_are_scored(
    base_and_pool: tuple[BaseModel, Pool], selection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, pool = base_and_pool
    measured, scored = [], []
    adapt = BaseModel.adapt
    monkeypatch.setattr(BaseModel, "adapt", lambda s, few: measured.append(few) or adapt(s, few))
    monkeypatch.setattr(
        "latcast.bench.protocol.score", lambda _, rest: scored.append(rest) or [0.0] * 6
    )
    few_shot(base, pool, 7, selection, 2)
    for few, rest in zip(measured, scored, strict=True):
        assert len(few) == len(few.archs.unique()) == 7
        both = few.archs.concatenate(rest.archs)
        assert len(both) == len(both.unique()) == len(pool.data)
        order = np.argsort(np.concatenate([few.order, rest.order]))
        latency = np.concatenate([few.latency_ms, rest.latency_ms])[order]
        np.testing.assert_array_equal(latency, pool.data.latency_ms)
    if selection == "random":
        assert measured[0].archs != measured[1].archs


def test_copies_of_a_measured_network_are_not_scored() -> None:
    archs = space("nasbench201").sample(40, 0).unique()[:10]
    data = Dataset(archs.concatenate(archs[:4]), np.arange(1.0, 15.0), "gpu/pytorch/b1")
    few, rest = Pool.of("gpu_1", data).parted(np.array([0, 5]))
    assert few.latency_ms.tolist() == [1, 6]
    assert rest.latency_ms.tolist() == [2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14]


def test_a_base_that_knows_the_target_is_refused(base_and_pool: tuple[BaseModel, Pool]) -> None:
    base, pool = base_and_pool
    known = Pool("2080ti_1", Dataset(pool.data.archs, pool.data.latency_ms,
                                            base.targets[0]), 0)  # fmt: skip
    with pytest.raises(ValueError, match="must not know the target; rtx-2080-ti/pytorch-help/b1"):
        few_shot(base, known, 3)


def test_scores_are_averaged_over_seeds_and_targets() -> None:
    first = Runs(np.array([[0.8] * 6, [1.0] * 6]), 0.1, 90)
    second = Runs(np.array([[0.6] * 6, [0.4] * 6]), 0.3, 80)
    assert first.summary()["spearman_mean"] == pytest.approx(0.9)
    assert first.summary()["spearman_std"] == pytest.approx(math.sqrt(0.02))
    mean = Runs.mean([first, second]).summary()
    assert mean["mape_mean"] == pytest.approx(0.7)
    assert mean["mape_std"] == pytest.approx(0.0)  # what one target gains, the other loses
    assert (mean["adapt_seconds"], mean["scored"]) == (pytest.approx(0.2), 170)
    assert Runs(np.array([[0.5] * 6]), 0.1, 90).summary()["kendall_std"] == 0


def test_impossible_latencies_are_left_out_and_counted(
    latcast: Any, tmp_path: Path, write_help_folder: Callable[..., Path]
) -> None:
    import torch

    folder = write_help_folder(tmp_path / "own")
    for name in ("v100_32", "2080ti_1"):
        path = folder / "latency" / f"{name}.pt"
        latency = torch.load(path, weights_only=True)
        torch.save([0.0, float("nan"), *latency[2:]], path)
    arguments = ("bench", "transfer", "--data", tmp_path, "--test", "v100_32", "--samples", 4,
                 "--seeds", 1)  # fmt: skip
    run = latcast(*arguments, "--json")
    row = json.loads(run.stdout)["rows"][0]
    assert (row["impossible"], row["scored"], row["base_samples"]) == (2, 114, 120)
    assert row["spearman_mean"] > 0.9
    assert "base of 5 targets: 2080ti_1, 2080ti_32," in run.stderr
    run = latcast(*arguments, "--quiet")
    assert "cores, Python 3" in run.stdout.splitlines()[0]
    assert "nasbench201" in run.stdout.splitlines()[0]
    assert "v100_32: 2 impossible latencies were left out" in run.stdout
    assert run.stderr == ""


@pytest.fixture(scope="module")
def help_split(tmp_path_factory: pytest.TempPathFactory, write_help_folder: Any) -> Path:
    """Targets that are called as those of HELP's split, every one at prices of its own."""
    split = published.SPLITS["help"]["nasbench201"]
    prices = {
        name: (1e-8 * (1 + n), 5e-9 * (3 + n % 4), 0.01 * (1 + n % 3))
        for n, name in enumerate(split.train + split.validation + split.test)
    }
    folder = tmp_path_factory.mktemp("split") / "nasbench201"
    return write_help_folder(folder, networks=40, prices=prices)


def test_published_figures_stand_beside_their_split(help_split: Path) -> None:
    plan = transfer.plan(help_split, published_split="help", samples=[3], seeds=1)
    found = transfer.run(plan)
    rows = found.rows
    split = published.SPLITS["help"]["nasbench201"]
    assert [r["target"] for r in rows] == [*split.test, "mean"]
    assert {tuple(r["train"]) for r in rows} == {split.train}
    peers = {r["target"]: {p["peer"]: p for p in r["published"]} for r in rows}
    assert peers["pixel2"]["HELP"]["spearman"] == 0.802
    assert peers["pixel2"]["HELP"]["measurements"] == 20
    assert "10th and 90th percentile" in peers["pixel2"]["HELP"]["easier"]
    assert peers["mean"]["NASFLAT"]["spearman"] == 0.959
    text = found.to_text()
    assert "HELP 0.802 (20)" in text
    assert "NASFLAT: scored on the first 128 networks" in text


def test_other_splits_have_no_published_figures(help_split: Path) -> None:
    split = published.SPLITS["help"]["nasbench201"]
    options: dict[str, Any] = {"samples": [2], "seeds": 1}
    plan = transfer.plan(help_split, train=split.train, test=["pixel2"], **options)
    pixel2, mean = transfer.run(plan).rows
    assert [p["peer"] for p in pixel2["published"]] == ["BRP-NAS", "HELP"]
    assert mean["published"] == []  # the mean is that of all six
    plan = transfer.plan(help_split, train=split.train[1:], test=["pixel2"], **options)
    assert transfer.run(plan).rows[0]["published"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--test", "v100_23"), "no target is called 'v100_23'; did you mean 'v100_32'?"),
        (("--train", "2080ti,v100_32", "--test", "2080ti_1"), "did you mean '2080ti_1'?"),
        (("--train", "v100_32,2080ti_1", "--test", "2080ti_1"), "got 2080ti_1 on both sides"),
        (("--train", "v100_32", "--test", "2080ti_1"), "at least two train targets; got v100_32"),
        ((), "name the test targets"),
        (("--leave-one-out", "--train", "v100_32"), "leave out train"),
        (("--split", "halp"), "no published split is called 'halp'; did you mean 'help'?"),
        (("--split", "help"), "lacks some"),
        (("--split", "help", "--test", "v100_32"), "leave out train and test"),
        (("--test", "v100_32", "--selection", "rand"), "did you mean 'random'?"),
    ],
)
def test_wrong_usage_is_told(
    latcast: Any, help_data: Path, options: tuple[str, ...], message: str
) -> None:
    error = latcast.error("bench", "transfer", "--data", help_data, "--space", "nasbench201",
                          *options, code=2)  # fmt: skip
    assert message in error


@pytest.mark.parametrize(
    ("below", "space_name", "message"),
    [
        (".", "nasbench", "did you mean 'nasbench201'? known: nasbench201, ofa"),
        (".", None, "found nasbench201, ofa: say which with --space"),
        ("ofa/latency", None, "must hold latency/*.pt"),
        ("none", None, "must be in a folder of HELP's format"),
        ("ofa", "fbnets", "did you mean 'fbnet'?"),
    ],
)
def test_folders_that_do_not_exist_are_told(
    latcast: Any, help_data: Path, below: str, space_name: str | None, message: str
) -> None:
    named = () if space_name is None else ("--space", space_name)
    error = latcast.error("bench", "transfer", "--data", help_data / below, *named,
                          "--test", "v100_32", code=2)  # fmt: skip
    assert message in error


def test_what_the_files_show_is_a_failure(
    latcast: Any, help_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BaseModel, "fit", lambda *_: pytest.fail("found out after a fit"))
    start = ("bench", "transfer", "--test", "v100_32", "--base-samples", 20)
    error = latcast.error(*start, "--data", help_data / "ofa", "--space", "nasbench201", code=1)
    assert "is of space ofa-mobilenet-v3; asked for nasbench201" in error
    error = latcast.error(*start, "--data", help_data / "ofa", "--samples", 119, "--quiet", code=1)
    assert "v100_32 has 120; got 119 samples" in error


@pytest.mark.parametrize("name", ["ofa", "ofa-mobilenet-v3"])
def test_folders_go_by_both_names(help_data: Path, name: str) -> None:
    assert HelpFolder.find(help_data, name).path.name == "ofa"
    assert HelpFolder.find(help_data / "ofa", name).read("v100_32").archs.space.name == (
        "ofa-mobilenet-v3"
    )


def test_ten_samples_rank_an_unseen_gpu(latcast: Any, shared: Path) -> None:
    rows = latcast.json(
        "bench", "transfer", "--data", shared / "help", "--space", "nasbench201",
        "--train", "1080ti_32,1080ti_256,silver_4114", "--test", "titan_rtx_256",
        "--samples", 10, "--seeds", 2, "--base-samples", 150,
    )["rows"]  # fmt: skip
    assert rows[0]["scored"] == 15_615
    assert rows[0]["spearman_mean"] > 0.987  # HELP's, with ten reference measurements more
    assert rows[0]["within_10_mean"] > 95
