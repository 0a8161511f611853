"""Packages load what is asked for, when it is asked for, and nothing else."""

import subprocess
import sys
from importlib import import_module
from types import ModuleType, SimpleNamespace

import pytest

from latcast._imports import public_names

PACKAGES = [
    "latcast",
    "latcast.data",
    "latcast.devices",
    "latcast.families",
    "latcast.graph",
    "latcast.measure",
    "latcast.models",
    "latcast.models.accuracy",
    "latcast.models.kernels",
    "latcast.models.tuning",
    "latcast.ofa",
    "latcast.search",
    "latcast.search.verification",
    "latcast.spaces",
    "latcast.testing",
]

FORECAST = """
import latcast; from latcast.graph import GraphBuilder; b = GraphBuilder()
latcast.forecast(b.build(b.conv(b.input(3, 8, 8), 8, 3)), ['epyc-genoa-2c-onnxruntime-b1-t1'])"""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_loads(package: str) -> None:
    if package in ("latcast.ofa", "latcast.search"):
        pytest.importorskip("torch", reason="some names of the room are of PyTorch")
    module = import_module(package)
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        getattr(module, "nonsense")  # noqa: B009  # a name that mypy would refuse


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "unneeded"),
    [
        ("import latcast; latcast.space('ofa-mobilenet-v3')", "latcast.spaces.fbnet"),
        ("from latcast.data import Dataset", "latcast.graph._builder"),
        ("import latcast.models; latcast.models.KINDS.get('flops')", "latcast.models.mlp"),
        ("from latcast.devices import Target", "latcast.devices._host"),
        (FORECAST, "scipy.linalg', 'scipy.sparse', 'scipy.special"),
    ],
)
def test_a_name_costs_only_its_own_modules(program: str, unneeded: str) -> None:
    check = f"{program}; import sys; assert not {{'{unneeded}'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_a_package_without_its_source_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("sourceless")
    package.__all__ = ["name"]  # type: ignore[attr-defined]
    package.__loader__ = SimpleNamespace(get_source=lambda _: None)  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "sourceless", package)
    load, names = public_names("sourceless")
    assert "name" in names()
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        load("other")
    with pytest.raises(ImportError, match="must be installed with its source"):
        load("name")
