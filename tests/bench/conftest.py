"""Folders in HELP's format, whose latencies follow the physics of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast.bench import paper
from latcast.spaces import Archs, space

ARCHS_FILES: Mapping[str, tuple[str, Callable[[Archs], Any]]] = {
    "nasbench201": (
        "str_arch2idx.pt",
        lambda archs: {x["arch"]: n for n, x in enumerate(archs.to_dicts())},
    ),
    "ofa-mobilenet-v3": ("ofa_archs.pt", lambda archs: {"arch": archs.to_dicts()}),
}

PRICES = {
    "2080ti_1": (4e-9, 1e-9, 0.02),
    "2080ti_32": (9e-8, 4e-8, 0.02),
    "titan_rtx_1": (4e-9, 1e-9, 0.015),
    "titan_rtx_32": (8e-8, 4e-8, 0.015),
    "v100_32": (7e-8, 3e-8, 0.03),
    "gold_6226": (2e-7, 1e-7, 0.001),
}
"""Target -> ms per MAC, per byte of element-wise work, and per kernel."""


WriteFolder = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def files_are_read_once() -> Iterator[None]:
    """Files of the paper have 10,000 rows of text, which take 3 s to be read and split."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper, "split_of", cache(paper.split_of))
        yield


@pytest.fixture(scope="session")
def write_help_folder() -> WriteFolder:
    """Writes HELP's files of a space, with so many networks and targets of given prices."""
    torch = pytest.importorskip("torch", reason="HELP's files need PyTorch")

    def write(
        folder: Path,
        name: str = "nasbench201",
        networks: int = 120,
        prices: Mapping[str, tuple[float, float, float]] = PRICES,
    ) -> Path:
        the_space = space(name)
        archs = the_space.sample(2 * networks, 0).unique()[:networks]
        file, written = ARCHS_FILES[name]
        (folder / "latency").mkdir(parents=True)
        torch.save(written(archs), folder / file)
        facts, rng = the_space.block_table.facts, np.random.default_rng(1)
        for target, (macs, moved, launch) in prices.items():
            ms = macs * facts["macs"] + moved * facts["elementwise_bytes"]
            sums = the_space.block_sums(archs, ms + launch * facts["launches"])
            latency = (0.5 + sums) * rng.normal(1.0, 0.005, len(archs))
            torch.save(latency.tolist(), folder / "latency" / f"{target}.pt")
        return folder

    return write


@pytest.fixture(scope="session")
def help_data(tmp_path_factory: pytest.TempPathFactory, write_help_folder: WriteFolder) -> Path:
    """A folder with small folders of two spaces, named as HELP's are."""
    data = tmp_path_factory.mktemp("help")
    write_help_folder(data / "nasbench201")
    write_help_folder(data / "ofa", "ofa-mobilenet-v3")
    return data
