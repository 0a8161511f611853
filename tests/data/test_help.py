"""The reader of HELP's files, which needs PyTorch."""

from __future__ import annotations

import os
import pickle
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
CANARY = "canary-that-code-in-data-would-touch"


@pytest.fixture
def no_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fail the test if anything in a file was executed."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / CANARY).exists()


def help_files(folder: Path, archs: Any, latencies: Any, name: str = "gpu_4.pt") -> Path:
    path = folder / "latency" / name
    path.parent.mkdir(exist_ok=True)
    torch.save(archs, folder / "ofa_archs.pt")
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
    data.check_latencies()


def test_lists_of_numbers_of_any_kind(tmp_path: Path) -> None:
    latencies = [1.5, np.float64(2), torch.tensor(3.0)]
    data = read(help_files(tmp_path, {"arch": ITEMS}, latencies))
    assert data.archs.to_dicts() == ITEMS
    assert data.latency_ms.tolist() == [1.5, 2, 3]
    assert data.target == Target("gpu", help.RUNTIME, batch=4)


@pytest.mark.usefixtures("no_code_runs")
@pytest.mark.parametrize(
    "latencies",
    [
        [1.0, 2.0],
        {"a": 1},
        [1.0, 2.0, "fast"],
        [1.0, 2.0, None],
        [1.0, 2.0, [3.0]],
        torch.ones(3),
        [1.0, 2.0, Custom()],
        [1.0, 2.0, Payload()],
    ],
)
def test_help_files_of_another_content_are_refused(tmp_path: Path, latencies: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        read(help_files(tmp_path, {"arch": ITEMS}, latencies))


@pytest.mark.parametrize("archs", [[1], {"archs": ITEMS}, {"arch": [1, 2, 3]}, {"arch": 3}])
def test_help_architectures_of_another_form_are_refused(tmp_path: Path, archs: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        read(help_files(tmp_path, archs, [1.0, 2.0, 3.0]))


@pytest.mark.usefixtures("no_code_runs")
def test_plain_pickles_are_not_unpickled(tmp_path: Path) -> None:
    path = help_files(tmp_path, {"arch": ITEMS}, [1.0, 2.0, 3.0])
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match="numbers and containers only"):
        read(path)


def test_truncated_torch_files_are_refused(tmp_path: Path) -> None:
    path = help_files(tmp_path, {"arch": ITEMS}, [1.0, 2.0, 3.0])
    whole = path.read_bytes()
    for size in range(0, len(whole), len(whole) // 25):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="must be a whole PyTorch file"):
            help.load_torch_file(path)


def test_helps_names_and_missing_architectures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"DEVICE_BATCH\.pt"):
        read(help_files(tmp_path, {"arch": ITEMS}, [1.0, 2.0, 3.0], "gpu.pt"))
    path = help_files(tmp_path, {"arch": ITEMS}, [1.0, 2.0, 3.0])
    (tmp_path / "ofa_archs.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"ofa_archs\.pt"):
        read(path)
