"""From what was asked to a record: each call of the library that the service makes.

A call takes keyword arguments of JSON's types, in which ids of files are paths already. It runs in
a worker process, in the service itself (a few architectures), or in the process of a job.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from latcast.models.hub import is_file
from latcast.models.zoo import UnresolvedError
from latcast.report.record import Failure, Record, read_record

Asked = dict[str, Any]


class Answer(NamedTuple):
    """What a request is answered with.

    Attributes:
        status: of HTTP.
        body: a record's JSON in one line, or its page.
        is_page: which of the two.
    """

    status: int
    body: str
    is_page: bool = False


def answer(request: Mapping[str, Any]) -> Answer:
    """Answer a request; whatever goes wrong is an answer, too.

    Args:
        request: ``call``, a name in :data:`CALLS`; its ``arguments``; ``shown``, texts of paths ->
            what stands in their place in the record; ``page``, whether a page is wanted.
    """
    shown: Mapping[str, str] = request.get("shown", {})
    try:
        found = CALLS[request["call"]](dict(request["arguments"]))
        if not isinstance(found, Record):
            return Answer(200, _shown(_line(found), shown))
        text = _shown(_line(found.to_dict()), shown)
        if request.get("page"):
            return Answer(200, page_of(json.loads(text)), is_page=True)
        return Answer(200, text)
    except Exception as error:  # noqa: BLE001  # one request's affair, whatever it is
        return failed(error, shown)


def page_of(data: Mapping[str, Any]) -> str:
    """The page of a record by its JSON."""
    return read_record(data).to_html()


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _shown(text: str, shown: Mapping[str, str]) -> str:
    for path, name in shown.items():
        text = text.replace(_line(path)[1:-1], _line(name)[1:-1])
    return text


def failed(error: Exception, shown: Mapping[str, str] | None = None) -> Answer:
    """The error record of an exception, with the exit code that the command would end with."""
    text = " ".join(str(error).split()) or type(error).__name__
    for path, name in (shown or {}).items():
        text = text.replace(path, name)
    match error:
        case UnresolvedError() | FileNotFoundError():
            status, code = 422, 2
        case MemoryError() | RecursionError():
            status, code = 413, 1
            text = f"this needs more memory than a request may take ({type(error).__name__})"
        case ModuleNotFoundError():
            status, code = 501, 1
        case ValueError() | OSError():
            status, code = 422, 1
        case _:
            status, code, text = 500, 1, f"unexpected {type(error).__name__}: {text}"
    return refusal(status, text, code)


def refusal(status: int, text: str, code: int = 1) -> Answer:
    """An answer that says why there is no other one."""
    return Answer(status, _line(Failure(text, code).to_dict()))


def check_names(names: Sequence[str], what: str = "device") -> None:
    """Make sure that names of devices and models name no files of this machine.

    Raises:
        UnresolvedError: one does.
    """
    for name in names:
        if is_file(name) or name.startswith((".", "/", "~")):
            raise UnresolvedError(
                f"a {what} must be named as latcast {what}s lists it; got {name!r}: files are not "
                "read here; adapt a model at the server (POST /v1/adapt), and name its id"
            )


# --- the calls ----------------------------------------------------------------------------------


def _devices(asked: Asked) -> list[str]:
    """Names of devices, and the path of an adapted model beside them."""
    names: list[str] = asked.pop("devices", [])
    check_names(names)
    check_names([n for n in (asked.get("base"), asked.get("similar_to")) if n], "model")
    model = asked.pop("model", None)
    found = [*names, model] if model else names
    if not found:
        raise UnresolvedError("what to forecast for must be named: devices, or an adapted model")
    return found


def _forecast(asked: Asked) -> Record:
    from latcast.models.forecast import forecast
    from latcast.models.sweep import sweep, vary

    devices = _devices(asked)
    network, archs = asked.pop("network", None), asked.pop("archs", None)
    if (network is None) == (archs is None):
        raise UnresolvedError("one of network and archs must be given")
    if (sequence := asked.pop("sequence", None)) is not None:
        asked["shapes"] = {**asked.get("shapes", {}), "sequence": [sequence]}
    curves: dict[str, Any] = {k: asked.pop(k) for k in ("sweep", "vary") if k in asked}
    batches = asked.pop("batch", [])
    batches = batches if isinstance(batches, list) else [batches]
    if len(batches) > 1:
        curves["batches"] = {"of": "batch", "values": batches}
    elif batches:
        asked["batch"] = batches[0]
    if not curves:
        return forecast(archs if network is None else network, devices, **asked)
    if len(curves) > 1 or network is None:
        raise UnresolvedError("a curve is of one network, over one of sweep, vary and batches")
    if "precision" in asked:
        asked["precision"] = _one(asked["precision"])
    ((kind, curve),) = curves.items()
    if kind == "vary":
        return vary(network, devices, curve["of"], curve["values"], **asked)
    return sweep(network, devices, curve["of"], _integers(curve["values"]), **asked)


def _integers(values: list[float]) -> list[int]:
    if wrong := [value for value in values if not float(value).is_integer()]:
        raise UnresolvedError(f"sides of inputs must be integers; got {wrong[0]:g}")
    return [int(value) for value in values]


def _one(value: str | list[str]) -> str:
    names = [value] if isinstance(value, str) else value
    if len(names) != 1:
        raise UnresolvedError(f"a curve is of one precision; got {', '.join(names)}")
    return names[0]


def _which(asked: Asked) -> Record:
    from latcast.search.which import which

    check_names(asked.get("devices") or [])
    return which(asked.pop("network"), asked.pop("max_latency_ms"), **asked)


def _choose(asked: Asked) -> Record:
    from latcast.search.choose import choose

    check_names([asked["device"]])
    device = asked.pop("device")
    return choose(asked.pop("model", device), asked.pop("max_latency_ms"), **asked)


def _suggest(asked: Asked) -> Record:
    from latcast.models.suggestions import suggest_for, suggest_on

    device, network = asked.pop("device"), asked.pop("network", None)
    check_names([n for n in (device, asked.get("similar_to")) if n])
    if network is None:
        return suggest_on(device, **asked)
    return suggest_for(network, device, **asked)


def _compare(asked: Asked) -> Record:
    from latcast.models.comparison import compare

    names = asked.pop("names", None)
    return compare(asked.pop("a"), asked.pop("b"), names=tuple(names or (None, None)), **asked)


def _inspect(asked: Asked) -> Record:
    from latcast.graph.inspection import Inspection
    from latcast.graph.read import ReadOptions, read_with

    reuse = "in-place" if asked.pop("in_place", False) else "none"
    network = asked.pop("network")
    return Inspection.of(read_with(Path(network), ReadOptions(**asked)), reuse)


def _adapt(asked: Asked) -> Record:
    """Adapt the model of a device to measurements of networks, and write it to ``out``."""
    import hashlib

    import numpy as np

    from latcast.data import Dataset
    from latcast.graph.read import ReadOptions, read_with
    from latcast.models.query import TargetQuery
    from latcast.models.resolve import resolve_one
    from latcast.models.workflow import adapt_and_score

    device, out = asked.pop("device"), Path(asked.pop("out"))
    measurements, model = asked.pop("measurements"), asked.pop("model", None)
    check_names([device])
    similar_to = asked.pop("similar_to", None)
    query = TargetQuery(**asked)
    known = resolve_one(model or device, query, role="networks", similar_to=similar_to).predictor
    target = replace(known.target, device=device.partition("/")[0], **query.parts())
    graphs = []
    for each in measurements:
        options = {k: each[k] for k in ("shapes", "batch_axis", "trip_count") if k in each}
        graphs.append(read_with(Path(each["network"]), ReadOptions(target.batch, **options)))
    data = Dataset(
        tuple(graphs),
        np.array([each["latency_ms"] for each in measurements]),
        target,
        names=tuple(each.get("name") or Path(each["network"]).name for each in measurements),
    )
    adapted, found = adapt_and_score(known, data, base=model or device, out=out)
    adapted.save(out)
    with out.open("rb") as file:
        return replace(found, model=hashlib.file_digest(file, "sha256").hexdigest())


def _dataset(asked: Asked) -> dict[str, Any]:
    """Read a dataset that was sent, so that a bad one is refused at once."""
    data = read_dataset(asked)
    return {"rows": len(data), "target": str(data.target)}


def read_dataset(asked: Asked, *, archs: bool = False) -> Any:
    """The dataset of a file, and what its owner says of it.

    Raises:
        ValueError: it cannot be read, or a name is not known.
    """
    from latcast import data
    from latcast.devices import Target
    from latcast.spaces import space as find_space

    space, target = asked.get("space"), asked.get("target")
    read = data.read_latencies if archs else data.read
    return read(
        Path(asked["data"]),
        space=None if space is None else find_space(space),
        target=None if target is None else Target.parse(target),
        format=asked.get("input_format"),
    )


CALLS: Mapping[str, Callable[[Asked], Record | dict[str, Any]]] = {
    "forecast": _forecast,
    "which": _which,
    "choose": _choose,
    "suggest": _suggest,
    "compare": _compare,
    "inspect": _inspect,
    "adapt": _adapt,
    "dataset": _dataset,
}


# --- a warm process -----------------------------------------------------------------------------


def warm(graphs: int = 8, predictors: int = 512) -> None:
    """Load what most requests need, and remember what is the same in the next one.

    Args:
        graphs: networks of files to remember, those that were asked for last.
        predictors: of devices and targets, likewise.
    """
    from latcast.graph.read import read_with
    from latcast.models.forecast import forecast
    from latcast.models.resolve import resolve
    from latcast.spaces import space

    read_with.keep(graphs)
    resolve.keep(predictors)
    # A shipped model, and a device by its specification, which loads the joint model.
    archs = space("ofa-mobilenet-v3").sample(1, seed=0)
    forecast(archs, ["samsung-note10", "raspberry-pi-4"])
