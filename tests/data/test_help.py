"""The reader of HELP's files, which needs PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast.data import help, read
from latcast.devices import Target
from latcast.spaces import space

torch = pytest.importorskip("torch", reason="reading HELP's files needs PyTorch")

SPACE = space("ofa-mobilenet-v3")
ITEMS = SPACE.format(SPACE.sample(3, 0))
CANARY = "canary"  # what code in data would touch: see the fixture no_code_runs


def help_files(
    folder: Path, archs: Any, latencies: Any, name: str = "gpu_4.pt",
    archs_name: str = "ofa_archs.pt",
) -> Path:  # fmt: skip
    path = folder / "latency" / name
    path.parent.mkdir(exist_ok=True)
    torch.save(archs, folder / archs_name)
    torch.save(latencies, path)
    return path


class Payload:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {CANARY}",)


class Custom:
    """A class of the user's own, harmless, but nothing that data consists of."""


def test_helps_files(shared: Path) -> None:
    data = read(shared / "help" / "ofa" / "latency" / "titan_rtx_64.pt")
    assert len(data) == 5_000
    assert data.target == Target("titan-rtx", help.RUNTIME, batch=64)
    data.check_values()
    cells = read(shared / "help" / "nasbench201" / "latency" / "raspi4.pt")
    assert len(cells) == len(cells.archs.unique()) == 15_625
    layers = read(shared / "help" / "fbnet" / "latency" / "1080ti_32.pt")
    assert len(layers) == 5_000
    assert layers.target == Target("gtx-1080-ti", "pytorch-help", batch=32)
    assert layers.archs.space.name == "fbnet"


def test_a_file_is_read_from_inside_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = help_files(tmp_path, {"arch": ITEMS}, [1.0, 2.0, 3.0])
    monkeypatch.chdir(path.parent)
    data = read(path.name)
    assert len(data) == 3
    assert data.provenance["source"] == f"HELP, data/{tmp_path.name}/latency/gpu_4.pt"


def test_lists_of_numbers_of_any_kind(tmp_path: Path) -> None:
    latencies = [1.5, np.float64(2), torch.tensor(3.0)]
    data = read(help_files(tmp_path, {"arch": ITEMS}, latencies))
    assert data.archs.to_dicts() == ITEMS
    assert data.latency_ms.tolist() == [1.5, 2, 3]
    assert data.target == Target("gpu", help.RUNTIME, batch=4)


@pytest.mark.usefixtures("no_code_runs")
@pytest.mark.parametrize(
    "latencies",
    [[1.0, 2.0], {"a": 1}, torch.ones(3),
     *([1.0, 2.0, odd] for odd in ("fast", None, [3.0], Custom(), Payload()))],
)  # fmt: skip
def test_help_files_of_another_content_are_refused(tmp_path: Path, latencies: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        read(help_files(tmp_path, {"arch": ITEMS}, latencies))


@pytest.mark.parametrize("archs", [[1], {"archs": ITEMS}, {"arch": [1, 2, 3]}, {"arch": 3}])
def test_help_architectures_of_another_form_are_refused(tmp_path: Path, archs: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        read(help_files(tmp_path, archs, [1.0, 2.0, 3.0]))


CELLS = [x["arch"] for x in space("nasbench201").sample(3, 0).to_dicts()]
LAYERS = space("fbnet").sample(3, 0).to_dicts()


def test_nasbench201_rows_are_numbered(tmp_path: Path) -> None:
    rows = {CELLS[0]: 2, CELLS[1]: 0, CELLS[2]: 1}
    path = help_files(tmp_path, rows, [1, 2, 3], "pixel2.pt", "str_arch2idx.pt")
    data = read(path)
    assert data.archs.space.name == "nasbench201"
    assert [x["arch"] for x in data.archs.to_dicts()] == [CELLS[1], CELLS[2], CELLS[0]]
    assert data.latency_ms.tolist() == [1, 2, 3]
    assert data.target == Target("pixel-2", "help")


@pytest.mark.parametrize(
    "rows",
    [CELLS, {CELLS[0]: 0, CELLS[1]: 2}, {CELLS[0]: 0.0}, {CELLS[0]: False}, {"|x|": 0}, {3: 0}],
)
def test_nasbench201_rows_of_another_form_are_refused(tmp_path: Path, rows: Any) -> None:
    latencies = [1.0] * len(rows)
    with pytest.raises(ValueError, match="must"):
        read(help_files(tmp_path, rows, latencies, archs_name="str_arch2idx.pt"))


@pytest.mark.parametrize(
    ("dataset", "name"), [("cifar100", "fbnet"), ("ImageNet", "fbnet-imagenet")]
)
def test_fbnets_dataset_decides_the_space(tmp_path: Path, dataset: str, name: str) -> None:
    content = {"dataset": dataset, "num_classes": 100, "arch": LAYERS}
    data = read(help_files(tmp_path, content, [1, 2, 3], archs_name="metainfo.pt"))
    assert data.archs.space.name == name
    assert data.archs.to_dicts() == LAYERS
    with pytest.raises(ValueError, match="dataset cifar100 or ImageNet; got 'mnist'"):
        read(help_files(tmp_path, content | {"dataset": "mnist"}, [1, 2, 3],
                        archs_name="metainfo.pt"))  # fmt: skip


def test_architectures_are_parsed_once_and_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    parse = type(SPACE).parse
    monkeypatch.setattr(
        type(SPACE), "parse", lambda self, items: parsed.append(1) or parse(self, items)
    )
    paths = [help_files(tmp_path, {"arch": ITEMS}, [1.0, 2.0, 3.0], f"gpu_{n}.pt") for n in (1, 2)]
    first, second = map(read, paths)
    assert first.archs == second.archs
    assert len(parsed) == 1
    torch.save({"arch": ITEMS[::-1]}, tmp_path / "ofa_archs.pt")
    assert read(paths[0]).archs.to_dicts() == ITEMS[::-1]
    torch.save({"arch": ITEMS[:2]}, tmp_path / "ofa_archs.pt")
    with pytest.raises(ValueError, match=r"ofa_archs\.pt \(2\); got 3"):
        read(paths[0])


def test_truncated_torch_files_are_refused(tmp_path: Path) -> None:
    path = help_files(tmp_path, {"arch": ITEMS}, [1.0, 2.0, 3.0])
    whole = path.read_bytes()
    for size in range(0, len(whole), len(whole) // 25):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="must be a whole PyTorch file"):
            help.load_torch_file(path)


@pytest.mark.parametrize(
    ("stem", "target"),
    [
        ("titan_rtx_64", Target("titan-rtx", "pytorch-help", batch=64)),
        ("2080ti_1", Target("rtx-2080-ti", "pytorch-help")),
        ("titanxp_256", Target("titan-xp", "pytorch-help", batch=256)),
        ("titan_xp_32", Target("titan-xp", "pytorch-help", batch=32)),
        ("silver_4210r", Target("xeon-silver-4210r", "pytorch-help")),
        ("gold_6226", Target("xeon-gold-6226", "pytorch-help")),
        ("essential_ph_1", Target("essential-ph-1", "help")),
        ("raspi4", Target("raspberry-pi-4", "help")),
        ("fpga", Target("fpga-zc706", "help")),
        ("eyeriss", Target("eyeriss", "help")),
        ("My_GPU_8", Target("my-gpu", "pytorch-help", batch=8)),
        ("My_GPU", Target("my-gpu", "pytorch-help")),
    ],
)
def test_targets_from_helps_names(stem: str, target: Target) -> None:
    assert help.target_from_name(stem) == target


def test_missing_architectures_are_named(tmp_path: Path) -> None:
    path = help_files(tmp_path, {"arch": ITEMS}, [1.0, 2.0, 3.0])
    (tmp_path / "ofa_archs.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"ofa_archs\.pt"):
        read(path)


@pytest.mark.parametrize(
    ("numbers", "dataset", "message"),
    [([10**400, 2.0], "cifar100", "must hold numbers: int too large"),
     ([1.0, 2.0], [], r"must be of the dataset .*got \[\]")],
)  # fmt: skip
def test_numbers_beyond_floats_and_datasets_that_are_no_text_are_refused(
    tmp_path: Path, numbers: list[float], dataset: Any, message: str
) -> None:
    layers = [each["op_idx_list"] for each in space("fbnet").sample(2, 0).to_dicts()]
    path = help_files(
        tmp_path, {"arch": layers, "dataset": dataset}, numbers, archs_name="metainfo.pt"
    )
    with pytest.raises(ValueError, match=message):
        read(path)
