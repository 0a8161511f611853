"""What a request may name: what was sent and what ships, never a file, an address or a package."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import pytest

pytest.importorskip("fastapi", reason="the service needs latcast[serve]")

from pydantic import BaseModel, ValidationError

from latcast.devices import devices
from latcast.models import zoo
from latcast.serve import requests
from latcast.serve.calls import check_names
from latcast.serve.files import Files
from latcast.serve.service import Caller, Refused
from latcast.spaces import space, space_names

ELSEWHERE = [
    "timm:resnet18", "torchvision:resnet18", "transformers:bert", "transformers:.",
    "hf://owner/name", "hf:/owner/name", "http://host/x", "file:///etc/passwd",
    "/etc/passwd", "../x", "./x", "~/x", "a/../../x", "C:\\x", "-", "a\0b", "a\nb",
    "model.latcast", "folder/model.latcast", "model.LATCAST", "net.onnx", "net.pt2", "net.tflite",
    "net.param", "net.xml", "rows.csv", "rows.parquet", "archs.json", "devices.toml",
]  # fmt: skip
# Names that are looked up in a table of their own, or are only shown.
HARMLESS = {
    "runtime", "runtimes", "precision", "precisions", "at_least", "task", "method", "input_format",
    "target", "predictor", "preset", "study", "name", "names", "of", "shapes", "batch_axis",
}  # fmt: skip
# Ids of what was sent: 64 hexadecimal digits, looked up in the service's folder.
IDS = {
    ("ForecastRequest", "network"), ("ForecastRequest", "model"), ("WhichRequest", "network"),
    ("ChooseRequest", "model"), ("SuggestRequest", "network"), ("SuggestRequest", "model"),
    ("SuggestRequest", "among"), ("TuneJob", "data"),
}  # fmt: skip
BASES = {
    "ForecastRequest": {"archs": [{}], "devices": ["pixel-7"]},
    "WhichRequest": {"network": "0" * 64, "max_latency_ms": 1},
    "ChooseRequest": {"device": "pixel-7", "max_latency_ms": 1},
    "SuggestRequest": {"device": "pixel-7"},
    "CompareRequest": {"a": "pixel-7", "b": "pixel-7"},
    "AdaptRequest": {
        "device": "pixel-7", "measurements": [{"network": "0" * 64, "latency_ms": 1}]
    },
    "SearchJob": {"command": "search", "device": ["pixel-7"]},
    "TuneJob": {"command": "tune", "data": "0" * 64},
}  # fmt: skip


def named(kind: Any) -> str:
    """``one`` where a field is a name, ``list`` where it is names, else an empty text."""
    if get_origin(kind) in (Union, types.UnionType):
        return max(map(named, get_args(kind)))
    if get_origin(kind) is list:
        return "list" if named(get_args(kind)[0]) else ""
    if hasattr(kind, "__metadata__"):
        return named(kind.__origin__)
    return "one" if kind is str else ""


def fields() -> Iterator[tuple[str, str, str]]:
    """Request, field, and how it has names, of all fields that are looked up."""
    for of in BASES:
        for name, field in getattr(requests, of).model_fields.items():
            form = named(field.annotation)
            if form and name not in HARMLESS and (of, name) not in IDS:
                yield of, name, form


FIELDS = list(fields())


def test_the_fields_are_found() -> None:
    assert len(FIELDS) == 19
    assert ("ForecastRequest", "devices", "list") in FIELDS
    assert ("SearchJob", "accuracy", "one") in FIELDS
    assert ("AdaptRequest", "model", "one") in FIELDS


@pytest.mark.parametrize(("of", "field", "form"), FIELDS)
def test_what_is_elsewhere_is_refused(of: str, field: str, form: str) -> None:
    kind: type[BaseModel] = getattr(requests, of)
    kind.model_validate(BASES[of])
    for name in ELSEWHERE:
        given = [name] if form == "list" else name
        with pytest.raises(ValidationError, match=r"must be named as latcast \w+ lists it"):
            kind.model_validate({**BASES[of], field: given})


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_network_is_one_that_was_sent(tmp_path: Path, name: str) -> None:
    service: Any = types.SimpleNamespace(files=Files(tmp_path))
    with pytest.raises(Refused, match="must be the id of a file that was sent") as error:
        Caller(service, "").network({"network": name}, {})
    assert error.value.answer.status == 422
    # Ids alone are looked up: of anything else there is no file.
    for kind in ("datasets", "models"):
        with pytest.raises(FileNotFoundError, match="is kept under the id"):
            service.files.path(kind, name)


def test_all_that_ships_may_be_named() -> None:
    targets = [
        str(zoo.target(name, role))
        for role in ("space", "networks")
        for name in zoo.names(role)  # type: ignore[arg-type]
    ]
    check_names([*devices(), *space_names(), *targets])
    check_names([name for role in zoo.ROLES for name in zoo.names(role)])


@pytest.mark.slow
@pytest.mark.worker
@pytest.mark.parametrize("name", ["timm:resnet18", "transformers:bert", "hf://o/n", "/etc/passwd"])
def test_every_endpoint_refuses_them(service: Any, name: str) -> None:
    archs = space("nasbench201").sample(1, seed=0).to_dicts()
    device, measured = {"device": "pixel-7"}, [{"network": name, "latency_ms": 1}]
    for path, body in (
        ("forecast", {"network": name, "devices": ["pixel-7"]}),
        ("forecast", {"archs": archs, "devices": [name]}),
        ("forecast", {"archs": archs, "devices": ["pixel-7"], "base": name}),
        ("forecast", {"archs": archs, "devices": ["mine"], "similar_to": name}),
        ("forecast", {"archs": archs, "devices": ["pixel-7"], "space": name}),
        ("which", {"network": name, "max_latency_ms": 1}),
        ("choose", {"device": name, "max_latency_ms": 1}),
        ("suggest", device | {"network": name}),
        ("suggest", device | {"among": [name]}),
        ("compare", {"a": name, "b": "pixel-7"}),
        ("adapt", device | {"measurements": measured}),
        ("jobs", {"command": "search", "device": [name]}),
        ("jobs", {"command": "search", "device": ["pixel-7"], "accuracy": name}),
        ("jobs", {"command": "search", "device": ["pixel-7"], "model": name}),
    ):
        answer = service.ask("POST", f"/v1/{path}", body)
        assert answer.status == 422, (path, body)
        assert answer.json()["exit_code"] == 2
    for path, body in (
        ("forecast", {"archs": archs, "model": name}),
        ("choose", device | {"model": name, "max_latency_ms": 1}),
        ("jobs", {"command": "tune", "data": name}),
    ):
        assert service.ask("POST", f"/v1/{path}", body).status == 404, (path, body)
    for what in ("devices", "models", "spaces"):
        assert service.ask("GET", f"/v1/{what}?name={name}").status == 422
