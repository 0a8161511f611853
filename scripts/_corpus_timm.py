"""All image models of timm, at the sizes that they were measured and trained at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from _recorded import recorded

from latcast.graph import Graph

Sides = tuple[int, int]

MERGED = "/merged"
"""Ends the name of a network whose branches and batch norms are merged into convolutions, as timm
benchmarks it since 2025 (PyTorch 2.9); before, and where nothing merges, it has no ending."""

RENAMED = {
    "ig_resnext101_32x16d": "resnext101_32x16d",
    "ig_resnext101_32x32d": "resnext101_32x32d",
    "ig_resnext101_32x48d": "",
    "vit_base_patch16_reg8_gap_256": "vit_base_patch16_reg4_gap_256",
    "vit_medium_patch16_reg4_256": "vit_medium_patch16_reg4_gap_256",
}
"""Names of the tables that timm lacks, or that it has taken for the same as ``32x8d``, which has a
tenth of their parameters -> what they are, up to a few tokens of 261; empty where it has none."""


def wanted(data: Path | None) -> dict[str, Callable[[], dict[str, Graph]]]:
    """Name of a network at a size -> what gives its graph, and that of the merged one.

    First are those of the tables in ``data``, one size of each and small ones first.
    """
    import timm

    measured = _measured(data) if data else {}
    jobs = [(name, side) for name, side in measured if name in set(timm.list_models())]
    first = dict(reversed(jobs))
    jobs = [*((n, s) for n, s in jobs if first[n] == s), *jobs]
    jobs += [(name, size) for name in sorted(timm.list_models()) for size in _own_sizes(timm, name)]
    return {
        _key(name, sides): lambda name=name, sides=sides: _graphs(timm, name, sides)  # type: ignore[misc]
        for name, sides in dict.fromkeys(jobs)
    }


def aliases(names: list[str]) -> dict[str, str]:
    """Names that timm gave up, at the sizes of those that they stand for -> their names."""
    from timm.models import _registry

    old = {k: v for k, v in {**_registry._deprecated_models, **RENAMED}.items() if v}
    found: dict[str, str] = {}
    for name, new in old.items():
        start = f"timm:{new.split('.')[0]}@"
        found |= {f"timm:{name}@{x.removeprefix(start)}": x for x in names if x.startswith(start)}
    return found


def _measured(data: Path) -> Mapping[tuple[str, Sides], float]:
    """Networks of the tables at their sizes, the smallest first."""
    from timm.models import _registry

    latencies = pl.read_csv(data / "timm" / "latencies.csv.gz", infer_schema_length=None)
    accuracies = pl.read_csv(data / "timm" / "imagenet.csv.gz", infer_schema_length=None)
    pairs: dict[tuple[str, Sides], float] = {}
    columns = (latencies.select("model", "image_size", pl.col("gmacs").fill_null(1e9)),
               accuracies.select("model", "img_size", pl.lit(1e9)))  # fmt: skip
    for frame in columns:
        for model, side, gmacs in frame.iter_rows():
            known = RENAMED.get(model) or _registry._deprecated_models.get(model) or model
            pairs.setdefault((known.split(".")[0], (int(side), int(side))), float(gmacs))
    return dict(sorted(pairs.items(), key=lambda x: (x[1], x[0])))


def _own_sizes(timm: Any, name: str) -> Iterator[Sides]:
    """Sides of the images that a network and its pretrained weights were trained and tested at."""
    tags = [x for x in timm.list_pretrained(f"{name}.*") if x.split(".")[0] == name]
    for tag in (name, *tags):
        config = timm.get_pretrained_cfg(tag, allow_unregistered=True)
        for size in (config.input_size, config.test_input_size) if config else ((3, 224, 224),):
            if size:
                yield size[1:]


def _key(name: str, sides: Sides) -> str:
    height, width = sides
    return f"timm:{name}@{height}" + ("" if height == width else f"x{width}")


def _graphs(timm: Any, name: str, sides: Sides) -> dict[str, Graph]:
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    size = sides[0] if sides[0] == sides[1] else sides
    settings: list[dict[str, Any]] = [{}, {"img_size": size}]
    if config and tuple(config.input_size[1:]) == sides:
        settings = [{}]
    elif config and config.fixed_input_size:
        settings.reverse()
    reasons = []
    for setting in settings:
        try:
            return _of_settings(timm, name, sides, setting)
        except Exception as error:  # noqa: BLE001 - of the first setting is what is told
            reasons.append(error)
    raise reasons[0]


def _of_settings(timm: Any, name: str, sides: Sides, setting: dict[str, Any]) -> dict[str, Graph]:
    import torch

    try:
        with torch.device("meta"):
            module = timm.create_model(name, **setting)
    except (NotImplementedError, RuntimeError):
        module = timm.create_model(name, **setting)  # it looks at numbers while it is built
    module = module.to("meta").eval()
    key = _key(name, sides)
    inputs = {"x": torch.zeros((1, 3, *sides), device="meta")}
    graphs = {key: _recorded(module, inputs, name)}
    merging = ("fuse", "reparameterize", "switch_to_deploy")
    if any(hasattr(x, method) for x in module.modules() for method in merging):
        try:
            merged = timm.utils.reparameterize_model(module)
        except (NotImplementedError, RuntimeError):  # it copies numbers
            merged = timm.utils.reparameterize_model(timm.create_model(name, **setting).eval())
        if len(list(merged.modules())) != len(list(module.modules())):
            graphs[key + MERGED] = _recorded(merged.to("meta").eval(), inputs, name)
    return graphs


def _recorded(module: Any, inputs: dict[str, Any], name: str) -> Graph:
    import inspect

    argument = next(iter(inspect.signature(module.forward).parameters))
    return recorded(module, {argument: inputs["x"]}, name)
