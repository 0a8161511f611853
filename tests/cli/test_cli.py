"""The command line, end to end, as its users call it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from latcast.data import LatencyDataset
from latcast.devices import Target
from latcast.models import Roofline
from latcast.search import search
from latcast.spaces import Archs, space

ARCH = {"ks": [3, 5] * 10, "e": [4] * 20, "d": [2, 3, 4, 3, 2], "r": [192]}


@pytest.fixture(scope="module")
def arch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arch") / "arch.json"
    path.write_text(json.dumps(ARCH))
    return path


@pytest.fixture(scope="module")
def dataset(synthetic: LatencyDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "measured.parquet"
    synthetic.save(path)
    return path


def test_version_spaces_and_models(latcast: Any) -> None:
    assert latcast("--version").stdout.startswith("latcast 0.")
    assert "compofa-elastic-kernel" in latcast("spaces").stdout
    assert latcast.json("spaces", "compofa-fixed-kernel")["genes"]["d1"] == [2, 3, 4]
    sampled = json.loads(latcast("spaces", "ofa-mobilenet-v3", "--sample", 3, "--seed", 4).stdout)
    the_space = space("ofa-mobilenet-v3")
    assert the_space.parse(sampled) == the_space.sample(3, 4)
    assert "tesla-p40/pytorch/b64" in latcast("models").stdout
    assert latcast.json("models", "rtx-2080-ti")["target"] == "rtx-2080-ti/pytorch/b64"
    assert "drift" in latcast("models", "rtx-2080-ti").stdout
    latcast.error("models", "absent.latcast", code=2)


def test_options_of_models_go_with_what_they_are_of(latcast: Any, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    for words in ((), ("push", "tesla-p40", "hf://me/cpu")):
        assert "name it" in latcast.error("models", *words, "--card", card, code=2)
    assert "leave it out" in latcast.error("models", "tesla-p40", "--private", code=2)
    latcast("models", "tesla-p40", "--card", card)
    assert "library_name: latcast" in card.read_text()


def test_predict(latcast: Any, arch: Path) -> None:
    text = latcast("predict", arch, "--device", "samsung-note10", "--device", "tesla-p40").stdout
    assert "stage 5: kernel" in text
    assert text.count("where the milliseconds go") == 2


def test_predict_outside_of_the_training_resolutions_says_so(latcast: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([ARCH | {"r": [128]}]))
    assert "it extrapolates" in latcast("predict", path, "--device", "tesla-p40").stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must hold an architecture as JSON"),
        ("[]", "holds no architecture"),
        ("\"__import__('os').system('true')\"", "architecture 0 must be a dict"),
        ("[" * 100_000, "must hold an architecture as JSON"),
        (json.dumps(ARCH | {"r": [129]}), "r must be one of 128"),
    ],
)
def test_predict_of_nonsense(latcast: Any, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    assert message in latcast.error("predict", path, "--device", "tesla-p40", code=1)


def test_predict_wrong_names(latcast: Any, arch: Path, tmp_path: Path) -> None:
    p40 = ("--device", "tesla-p40")
    for arguments, message in (
        ((arch, "--device", "p40"), "did you mean 'tesla-p40'"),
        ((arch, "--device", tmp_path / "absent.latcast"), "no such file"),
        (("nowhere.json", *p40), "no such file"),
        ((arch, *p40, "--coverage", 2), "coverage"),
    ):
        assert message in latcast.error("predict", *arguments, code=2)
    assert latcast("predict", arch, code=2).stderr  # no device


@pytest.mark.slow
def test_search_answers_the_main_question(latcast: Any, tmp_path: Path) -> None:
    out = tmp_path / "best.json"
    result = latcast.json("search", "--device", "samsung-note10", "--max-latency", 20, "--out", out)
    found = result["found"][0]
    assert found["latency_ms"] <= 20
    assert found["accuracy"] > 0.805
    assert found["kept_probability"] > 0.5
    assert json.loads(out.read_text()) == [found["arch"]]
    (again,) = latcast.json("predict", out, "--device", "samsung-note10")["devices"]
    assert again["architectures"][0]["latency_ms"] == pytest.approx(found["latency_ms"])


def test_search_exact(latcast: Any, tmp_path: Path) -> None:
    arguments = ("search", "--device", "tesla-p40", "--space", "compofa-fixed-kernel")
    run = latcast(*arguments, "--max-latency", 30, "--max-latency", 40, "--confidence", 0.9)
    assert "the result is exact" in run.stderr
    assert "P(within budget) %" in run.stdout
    assert latcast(*arguments, "--max-latency", 30, "--quiet").stderr == ""
    page = tmp_path / "page.html"
    run = latcast("search", "--device", "samsung-note10", *arguments[3:], "--max-latency", 30,
                  "--html", page)  # fmt: skip
    for text in (run.stderr, page.read_text()):  # a page has the notes, too
        assert text.count("sums of a lookup table") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--device", "samsung-note10", "--max-latency", 3), 1, "the fastest found takes 9.89"),
        (("--device", "samsung-note10", "--max-latency", -3), 2, "must be a positive number"),
        (("--device", "samsung-note10", "--max-latency", "nan"), 2, "must be a positive number"),
        (("--device", "tesla-p40", "--out", "no/such/best.json"), 1, "folder of no/such/best.json"),
        (("--device", "tesla-p40", "--out", "best.txt"), 2, "--out must end in .json"),
        (("--device", "note10", "--max-latency", 20), 2, "did you mean 'samsung-note10'"),
        (("--device", "tesla-p40", "--max-latency", 30, "--space", "ofa"), 2, "no search space"),
        (("--device", "tesla-p40", "--max-latency", 30, "--confidence", 2), 2, "between 0 and 1"),
        (("--device", "tesla-p40", "--max-latency", 30, "--method", "x"), 2, "no method is called"),
        (("--device", "tesla-p40", "--max-latency", 30, "--resolution", 7), 2, "must keep one of"),
        (("--device", "tesla-p40", "--method", "exhaustive"), 2, "at most 500"),
        (("--device", "titan-rtx", "--max-latency", 30), 2, "name one: help-titan-rtx-1, help-"),
    ],
)
def test_search_wrong_requests(
    latcast: Any, arguments: tuple[object, ...], code: int, message: str
) -> None:
    assert message in latcast.error("search", *arguments, code=code)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nasbench201", "fbnet", "ofa-proxyless", "ofa-resnet50"])
def test_other_spaces_all_the_way(latcast: Any, tmp_path: Path, name: str) -> None:
    facts = latcast.json("spaces", name)
    sizes = {
        "nasbench201": 5**6, "fbnet": 9**22, "ofa-proxyless": 9**21 * 3**5 * 29,
        "ofa-resnet50": 3**18 * 2 * 3**5 * 2 * 3**4 * 29,
    }  # fmt: skip
    assert facts["gene_combinations"] == sizes[name]
    items = tmp_path / "archs.json"
    items.write_text(latcast("spaces", name, "--sample", 3).stdout)
    the_space = space(name)
    archs = the_space.sample(1_000, 0)
    latency = the_space.block_sums(archs, the_space.block_table.facts["macs"]) * 1e-7 + 1
    data, model = tmp_path / "d.parquet", tmp_path / "m.latcast"
    LatencyDataset(archs, latency, Target("imaginary", "simulator")).save(data)
    assert latcast.json("train", data, "--out", model)["metrics"]["mape"] < 0.1
    predicted = latcast.json("predict", items, "--device", model)["devices"][0]["architectures"]
    costs = the_space.costs(the_space.parse(json.loads(items.read_text())))["macs"]
    assert [x["latency_ms"] for x in predicted] == pytest.approx(costs * 1e-7 + 1, rel=0.01)
    message = latcast.error("search", "--device", model, "--max-latency", 20, code=2)
    assert f"no accuracy model is shipped for {name}: give" in message


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ofa-proxyless", "ofa-resnet50"])
def test_searched_by_accuracies_of_ones_own_and_exported(
    latcast: Any, tmp_path: Path, name: str
) -> None:
    the_space = space(name)
    archs = the_space.sample(500, 0, restrict={"r": [160, 192]})
    macs = the_space.costs(archs)["macs"].to_numpy()
    data, model, accuracies, trained, best = (
        tmp_path / x for x in ("d.parquet", "m.latcast", "a.csv", "a.latcast", "best.json")
    )
    LatencyDataset(archs, macs * 1e-7 + 1, Target("imaginary", "simulator")).save(data)
    rows = [
        {"arch": json.dumps(arch), "accuracy": a}
        for arch, a in zip(archs[:60].to_dicts(), 0.1 * np.log(macs[:60] / 1e6), strict=True)
    ]
    pl.DataFrame(rows).write_csv(accuracies)
    latcast("train", data, "--out", model, "--predictor", "flops")
    latcast("accuracy", "train", accuracies, "--space", name, "--out", trained)
    budget = round(float(np.median(macs)) * 1e-7 + 1, 1)
    options = ("--space", name, "--accuracy", trained, "--max-latency", budget)
    searched = latcast("search", "--device", model, *options, "--evaluations", 4_000, "--out", best)
    found = json.loads(best.read_text())
    shown = [str(found[0]["r"][0]), "-".join(map(str, found[0]["d"]))]
    assert all(x in searched.stdout for x in shown)
    (costs,) = the_space.costs(the_space.parse(found)).to_dicts()
    assert 0.9 * budget < costs["macs"] * 1e-7 + 1 <= 1.01 * budget
    written = latcast.json("export", best, "--space", name, "--out", tmp_path / "net.onnx")
    assert (written["arch"], written["macs"]) == (found[0], costs["macs"])
    assert written["file_bytes"] == pytest.approx(4 * costs["params"], rel=0.03)


def test_found_networks_of_any_space_are_shown() -> None:
    cells = space("nasbench201")
    archs = cells.sample(1_000, 0)
    latency = cells.block_sums(archs, cells.block_table.facts["macs"]) * 1e-7 + 1
    model = Roofline().fit(LatencyDataset(archs, latency, Target("imaginary", "simulator")))

    def largest_is_best(archs: Archs) -> npt.NDArray[np.float64]:
        return cells.costs(archs)["macs"].to_numpy() / 1e9

    result = search(cells, latency=model, accuracy=largest_is_best, max_latency_ms=[9.0, 12.0])
    assert result.method == "exhaustive"
    shown = result.record(["imaginary"]).to_text()
    assert all(x["arch"] in shown for x in result.archs.to_dicts())
    assert "depths" not in shown


def test_a_model_of_few_rows_still_predicts(
    latcast: Any, synthetic: LatencyDataset, arch: Path, tmp_path: Path
) -> None:
    data, model = tmp_path / "few.parquet", tmp_path / "few.latcast"
    synthetic[:40].save(data)
    run = latcast("train", data, "--out", model, "--json")
    assert json.loads(run.stdout)["model"] == str(model)
    assert "note: too few rows to calibrate 90 % intervals" in run.stderr
    assert "latcast adapt" in run.stderr
    assert f"wrote {model}\n" in run.stderr
    run = latcast("predict", arch, "--device", model, "--json")
    only = json.loads(run.stdout)["devices"][0]["architectures"][0]
    assert only["latency_ms"] > 0
    assert only["lower_ms"] is None
    assert "too little calibration for 0.9 intervals" in run.stderr
    found = latcast.json("search", "--device", model, "--max-latency", 50, "--space",
                    "compofa-fixed-kernel")["found"][0]  # fmt: skip
    assert found["upper_ms"] is None
    message = latcast.error("search", "--device", model, "--max-latency", 50, "--confidence", 0.99,
                       code=2)  # fmt: skip
    assert "needs at least 99 calibration measurements" in message


def test_train_leaves_copied_labels_out(latcast: Any, shared: Path, tmp_path: Path) -> None:
    data = shared / "ofanas" / "datasets" / "RTX_2080_Ti_GPU_fixedkernelcompofa.csv"
    run = latcast("train", data, "--out", tmp_path / "m.latcast", "--json")
    result = json.loads(run.stdout)
    assert "207 rows to fit and calibrate, 36 to test" in result["split"]
    assert result["metrics"]["mape"] < 5
    assert "the audit found memoized" in run.stderr


def test_scores_on_rows_of_training_are_told(
    latcast: Any, synthetic: LatencyDataset, tmp_path: Path
) -> None:
    model, dataset, other = (tmp_path / n for n in ("m.latcast", "own.parquet", "other.parquet"))
    replace(synthetic, provenance={"source": "this machine"}).save(dataset)
    latcast("train", dataset, "--out", model)
    told = "rows of the same source: scores on rows that it has seen"
    assert told in latcast("evaluate", model, dataset).stderr
    found = latcast.json("evaluate", model, dataset)
    assert found["trained_rows"] == latcast.json("models", model)["card"]["rows"]
    replace(synthetic, provenance={"source": "another machine"}).save(other)
    assert told not in latcast("evaluate", model, other).stderr


def test_train_wrong_requests(latcast: Any, dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.latcast"
    assert "did you mean 'roofline'" in latcast.error(
        "train", dataset, "--out", out, "--predictor", "rooflin", code=2
    )
    assert "must end in .latcast" in latcast.error("train", dataset, "--out", "m.pt", code=2)
    assert not out.exists()
    message = latcast.error(
        "evaluate", "tesla-p40", dataset, "--target", "tesla-p40/pytorch/b64", code=1
    )
    assert "is of target imaginary/simulator/b2" in message
    message = latcast.error("train", dataset, "--out", "/proc/nowhere/m.latcast", code=1)
    assert "/proc/nowhere" in message


@pytest.mark.slow
def test_audit(latcast: Any, dataset: Path, synthetic: LatencyDataset, tmp_path: Path) -> None:
    assert latcast.json("audit", dataset)["issues"] == []
    assert "nothing found" in latcast("audit", dataset).stdout
    latency = synthetic.latency_ms.copy()
    latency[3] = np.nan
    broken = tmp_path / "broken.parquet"
    LatencyDataset(synthetic.archs, latency, synthetic.target).save(broken)
    text = latcast("audit", broken).stdout
    assert "what to do:" in text
    assert latcast.json("audit", broken)["issues"][0]["severity"] == "error"
    assert "must be finite and positive" in latcast.error(
        "train", broken, "--out", tmp_path / "m.latcast", code=1
    )


def test_audit_of_public_tables(latcast: Any, tmp_path: Path) -> None:
    (tmp_path / "neusight").mkdir()
    operators = tmp_path / "neusight" / "models.csv"
    head = "device,model,mode,sequence,batch,forward_ms,end_to_end_ms\n"
    operators.write_text(f"{head}Tesla_T4,bert,inf,512,8,20,20\nTesla_T4,bert,inf,512,16,-1,-1\n")
    (table,) = latcast.json("audit", tmp_path)["tables"]
    assert (table["table"], table["rows"], table["usable"]) == ("neusight", 2, 1)
    (issue,) = table["issues"]
    assert (issue["kind"], issue["evidence"]["examples"][0]["batch"]) == ("small-forward_ms", "16")
    assert "1 of 2 rows is left out: forward_ms is not above 0" in latcast("audit", tmp_path).stdout
    operators.write_text("device\n")
    assert "must have the column 'model'" in latcast.error("audit", tmp_path, code=1)
    operators.unlink()
    assert "must hold public tables" in latcast.error("audit", tmp_path, code=2)


def test_audits_that_are_asked_for_wrongly(latcast: Any, dataset: Path, tmp_path: Path) -> None:
    options = ("--space", "ofa-mobilenet-v3", "--target", "a/b/b1")
    assert "must be a file" in latcast.error("audit", tmp_path, *options, code=2)
    asked = ("audit", dataset, "--input-format", "xml")
    assert "no format is called 'xml'" in latcast.error(*asked, code=2)


def python(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """What only a process of its own shows."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False,
        **options,
    )  # fmt: skip


def test_debug_shows_the_traceback() -> None:
    run = python("-m", "latcast", "devices", "nothing", "--debug")
    assert run.returncode == 2
    assert "Traceback" in run.stderr


@pytest.mark.slow
def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m latcast spaces ofa-mobilenet-v3 --sample 2000 | head -c 10"
    run = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (run.stderr, len(run.stdout)) == ("", 10)


def test_a_terminal_without_unicode() -> None:
    run = python("-m", "latcast", "devices", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert run.returncode == 0
    assert "rtx-2080-ti" in run.stdout


def test_import_is_light() -> None:
    # The command line chooses the number of BLAS threads, which numpy reads as it is imported.
    heavy = "sorted(set(sys.modules) & {'numpy', 'polars', 'scipy'})"
    run = python("-c", f"import sys, latcast, latcast.cli; print({heavy})")
    assert run.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_search_loads_what_it_needs() -> None:
    # What it does not need took longer than the search of a small space.
    code = (
        "import sys\nfrom latcast.cli import main\ntry:\n    main()\nfinally:\n"
        "    print(sorted(sys.modules.keys() & {'polars', 'rich.table', 'latcast.graph._graph',"
        " 'latcast.models.base_model', 'scipy.optimize'}))\n"
    )
    run = python("-c", code, "search", "--device", "samsung-note10", "--max-latency", 20,
                 "--space", "compofa-fixed-kernel")  # fmt: skip
    assert run.stdout.splitlines()[-1] == "[]", run.stdout


def test_interruption_is_one_line(start: Callable[..., subprocess.Popen[str]]) -> None:
    code = (
        "import time\nfrom latcast.cli import main\nfrom latcast.models import resolve\n"
        "resolve.open_shipped = lambda *_: (print('go', flush=True), time.sleep(600))\n"
        "main()"
    )
    process = start("-c", code, "search", "--device", "rtx-2080-ti", "--max-latency", 20,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert err == "error: interrupted\n"
    assert out == ""


@pytest.mark.parametrize("where", ["latcast.cli._load", "latcast.models.resolve.open_shipped"])
def test_an_interruption_that_a_library_takes_for_a_missing_module(
    where: str,
) -> None:
    module, _, name = where.rpartition(".")
    code = f"""
import importlib, os, signal
from latcast.cli import main
def imported(*_):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    except KeyboardInterrupt:
        raise ImportError('PyCapsule_Import could not import module "datetime"') from None
setattr(importlib.import_module({module!r}), {name!r}, imported)
main()"""
    run = python("-c", code, "search", "--device", "rtx-2080-ti", "--max-latency", 20)
    assert (run.returncode, run.stderr) == (130, "error: interrupted\n")


@pytest.mark.slow
def test_prediction_and_search_need_no_torch(arch: Path) -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom latcast.cli import main\nmain()"
    for arguments in (
        ("predict", arch, "--device", "tesla-p40"),
        ("search", "--device", "tesla-p40", "--max-latency", 30),
    ):
        run = python("-c", code, *arguments, env={**os.environ, "PYTHONWARNINGS": "error"})
        assert run.returncode == 0, run.stderr
        assert run.stdout
