"""What tests share: the public data, and datasets of our own making."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import pytest
from typer.testing import CliRunner

from latcast.cli import app
from latcast.data import Dataset
from latcast.devices import Target
from latcast.families import population
from latcast.graph import Graph, fuse, kernel_facts
from latcast.graph.read.onnx import read_onnx
from latcast.measure import CampaignFile, Run, archs_of
from latcast.models import Kernels
from latcast.spaces import space

SHARED = Path(__file__).parents[2] / "shared" / "data"

# How fast examples are made and run is the machine's affair; and fixtures are only read. The same
# examples are drawn every time, so that no run fails by chance; `make nightly` looks for others.
hypothesis.settings.register_profile(
    "test",
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
ALWAYS = hypothesis.settings.get_profile("test")
hypothesis.settings.register_profile("quick", ALWAYS, max_examples=20)
hypothesis.settings.register_profile(
    "nightly", ALWAYS, derandomize=False, max_examples=1_000, print_blob=True
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is collected stays to the end: Python need not look through it for garbage.

    With some 7,000 tests and PyTorch, each look took 0.3 s, and collecting a third longer.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# What a test asks for tells what it needs.
MARKERS = {"shared": pytest.mark.data, "start": pytest.mark.worker, "fake": pytest.mark.worker}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the public data and of worker processes, before any are deselected."""
    for item in items:
        for fixture in MARKERS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKERS[fixture])


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the public data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the public data in {SHARED}")
    return SHARED


@pytest.fixture(autouse=True)
def denormal_numbers_are_kept() -> Iterator[None]:
    """Runtimes flush them in the threads that they run in: no other test's business."""
    yield
    if {"onnxruntime", "torch"} & sys.modules.keys():
        with contextlib.suppress(ImportError):
            import torch

            torch.set_flush_denormal(False)


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder() -> Iterator[None]:
    """Campaigns of the tests keep each other out, but none that runs on this machine.

    Its name is short: a cluster of Ray has sockets in it, whose paths may have 107 characters.
    """
    with (
        tempfile.TemporaryDirectory(prefix="latcast-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(scope="session")
def synthetic() -> Dataset:
    """1,200 networks whose latency follows their physics, with 1 % of noise."""
    the_space = space("ofa-mobilenet-v3")
    rng = np.random.default_rng(1)
    archs = the_space.sample(1_200, rng, restrict={"r": [160, 192, 224]})
    facts = the_space.block_table.facts
    ms = facts["macs"] * 2e-8 + facts["elementwise_bytes"] * 5e-8 + facts["launches"] * 0.01
    latency = 1.0 + the_space.block_sums(archs, ms)
    noisy = latency * rng.normal(1.0, 0.01, len(archs))
    return Dataset(archs, noisy, Target("imaginary", "simulator", batch=2))


def closed_form_ms(graph: Graph) -> float:
    """Milliseconds by physics: of MACs, of bytes moved, and of launches."""
    macs, *moved = kernel_facts(graph, fuse(graph))[:, :4].sum(axis=0).tolist()
    return 2e-8 * macs + 1e-7 * sum(moved) + 0.004 * len(fuse(graph))


@pytest.fixture(scope="session")
def network_data() -> Dataset:
    """33 variants of three families whose latency follows their physics, with 1 % of noise."""
    variants = population(33, 1, ["vgg", "squeezenet", "mobilenet-v1"])
    graphs = tuple(read_onnx(variant.to_onnx()) for variant in variants)
    latency_ms = np.array([closed_form_ms(graph) for graph in graphs])
    return Dataset(
        graphs,
        latency_ms * np.random.default_rng(0).normal(1.0, 0.01, len(graphs)),
        Target("imaginary", "simulator"),
        names=tuple(variant.text for variant in variants),
        families=tuple(variant.family for variant in variants),
        provenance={"source": "closed form", "licence": "CC0-1.0"},
    )


@pytest.fixture(scope="session")
def layer_model(network_data: Dataset) -> Kernels:
    """A layer model of 30 of them."""
    return Kernels().fit(network_data[:30])


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process as ``Popen`` does; it does not outlive the test."""
    processes: list[subprocess.Popen[str]] = []

    def started(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, *map(str, arguments)]
        processes.append(subprocess.Popen(command, text=True, **options))
        return processes[-1]

    yield started
    for process in processes:
        with process:
            process.kill()


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Wait for something that another process does; slow machines take their time."""

    def wait(condition: Callable[[], bool], seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"it has not happened within {seconds} s")
            time.sleep(0.05)

    return wait


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the fake runtime, importable by worker processes as well."""
    folder = Path(__file__).parent / "measure"
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return importlib.import_module("fake_runtime")


@pytest.fixture
def instant_campaigns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Campaigns are over at once: 1 ms for each 100 M MACs, without a worker process."""

    def run(campaign: CampaignFile, **_: Any) -> None:
        archs = archs_of(campaign.networks())
        assert archs is not None
        latency_ms = archs.space.costs(archs)["macs"].to_numpy() / 1e8
        campaign.extend(len(archs))
        for round_ in range(campaign.plan()["protocol"]["runs"]):
            process = campaign.add_process({"runtime": {}, "machine": {}})
            for arch in campaign.pending(round_, 0, len(archs)):
                samples, reference = np.full(9, latency_ms[arch]), (np.ones(3), np.ones(3))
                details = {"repeats": 1, "inference_s": 0.1, "doubts": [], "machine": {}}
                campaign.add_run(
                    Run(arch, round_, 0, process, round_, True, samples, reference, details)
                )

    monkeypatch.setattr("latcast.measure.run", run)


class CommandLine:
    """The command line in this process; what only a process of its own shows is tested in one."""

    def __call__(
        self, *arguments: object, code: int = 0, partly: bool = False, stdin: str | None = None
    ) -> Any:
        """Run it; an exit code other than ``code`` is a failure, and so is an answer beside an
        error, but where it may be answered ``partly``.
        """
        run = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
        assert run.exit_code == code, run.stderr or repr(run.exception)
        if code:
            assert "Traceback" not in run.stderr
            assert partly or run.stdout == ""
        return run

    def json(self, *arguments: object) -> Any:
        """What it prints with ``--json``."""
        return json.loads(self(*arguments, "--json").stdout)

    def error(self, *arguments: object, code: int) -> str:
        """The one line of its error."""
        message = self(*arguments, code=code).stderr.strip()
        assert message.startswith("error: ")
        assert len(message.splitlines()) == 1
        return message


@pytest.fixture(scope="session")
def latcast() -> CommandLine:
    """The command line."""
    return CommandLine()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium of the system, which a test that asks for it needs.

    As long as it is there, no other event loop runs in this process: it ends with its module.
    """
    program = shutil.which("chromium")
    if program is None or importlib.util.find_spec("playwright") is None:
        why = "needs chromium (a package of Debian) and playwright"
        pytest.fail(why) if os.environ.get("LATCAST_TEST_BROWSER") == "1" else pytest.skip(why)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=120_000)  # of a machine that does much else
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def accessible() -> Callable[[Any], None]:
    """Make sure that axe finds nothing on a page, at both widths, light and dark."""

    def check(page: Any) -> None:
        from axe_playwright_python.sync_playwright import Axe

        size = page.viewport_size
        for width in (1280, 375):
            page.set_viewport_size({"width": width, "height": 800})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                found = Axe().run(page)
                assert not found.violations_count, found.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.set_viewport_size(size)

    return check
