"""The calls of the library that the service makes, each from a request's arguments to a record.

A call takes keyword arguments of JSON's types, in which ids of files are paths already. It runs in
a worker process, in the service itself (:mod:`latcast.serve.own_rows`), or in a job's process.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from latcast.graph.read import SUFFIXES
from latcast.models.hub import SUFFIX
from latcast.models.zoo import UnresolvedError
from latcast.report.record import Failure, Record, read_record

Asked = dict[str, Any]

# Names of the catalogue, and targets: DEVICE/RUNTIME/bBATCH/PRECISION/tTHREADS.
_SHIPPED = re.compile(r"[^\W_][\w.+ ()-]*(/[\w.+-]*\w){0,4}")
# Ends of files' names, which no name of the catalogue has.
_SUFFIXES = frozenset((SUFFIX, *SUFFIXES, ".csv", ".json", ".parquet", ".pt", ".pth", ".toml"))
# What is forecast before the first request comes: a shipped model of a space, and a device by its
# specification, which loads the joint model.
WARM_DEVICES, WARM_SPACE = ("samsung-note10", "raspberry-pi-4"), "ofa-mobilenet-v3"


class Answer(NamedTuple):
    """The answer to a request.

    Attributes:
        status: of HTTP.
        body: a record's JSON in one line, or its page.
        is_page: which of the two.
        retry_s: seconds after which the request may be sent again (the header ``Retry-After``);
            None where that is of no use.
    """

    status: int
    body: str
    is_page: bool = False
    retry_s: int | None = None


class BusyError(Exception):
    """A limit on how much is done or waits at a time is reached; the request may be sent again.

    Args:
        message: which limit it is.
        status: of HTTP: 503 where the service is full, 429 where the limit is one of the key.
        retry_s: seconds after which to send the request again.
    """

    def __init__(self, message: str, status: int = 503, retry_s: int = 2) -> None:
        super().__init__(message)
        self.status, self.retry_s = status, retry_s


def answer(request: Mapping[str, Any]) -> Answer:
    """Answer a request; an exception becomes an error record.

    Args:
        request: ``call``, a name in :data:`CALLS`; its ``arguments``; ``shown``, texts of paths ->
            what stands in their place in the record; ``page``, whether a page is wanted.
    """
    shown: Mapping[str, str] = request.get("shown", {})
    try:
        found = CALLS[request["call"]](dict(request["arguments"]))
        if not isinstance(found, Record):
            return Answer(200, _shown(_line(found), shown))
        text = text_of(found, shown)
        if request.get("page"):
            return Answer(200, page_of(json.loads(text)), is_page=True)
        return Answer(200, text)
    except Exception as error:  # noqa: BLE001  # one request's affair, whatever it is
        return failed(error, shown)


def text_of(record: Record, shown: Mapping[str, str]) -> str:
    """The JSON of a record.

    Args:
        record: the record.
        shown: texts of paths -> what stands in their place.
    """
    return _shown(_line(record.to_dict()), shown)


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
    """The error record of an exception, with the exit code that the command would end with.

    Args:
        error: the exception.
        shown: texts of paths -> what stands in their place in the message.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    for path, name in (shown or {}).items():
        text = text.replace(path, name)
    match error:
        case UnresolvedError() | FileNotFoundError():
            status, code = 422, 2
        case _ if _is_of_memory(error):
            status, code = 413, 1
            text = f"this needs more memory than it may take here ({type(error).__name__})"
        case ModuleNotFoundError():
            status, code = 501, 1
        case ValueError() | OSError():
            status, code = 422, 1
        case _:
            status, code, text = 500, 1, f"unexpected {type(error).__name__}: {text}"
    return refusal(status, text, code)


def _is_of_memory(error: Exception) -> bool:
    """Tell whether an exception says that memory, or the stack, does not suffice."""
    is_enomem = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return is_enomem or isinstance(error, MemoryError | RecursionError)


def refusal(status: int, text: str, code: int = 1, retry_s: int | None = None) -> Answer:
    """The error record of a request that is refused.

    Args:
        status: of HTTP.
        text: what must hold, what was got, what to do.
        code: exit code of the command: 2 where it was asked wrongly, 1 otherwise.
        retry_s: seconds after which the request may be sent again.
    """
    return Answer(status, _line(Failure(text, code).to_dict()), retry_s=retry_s)


def check_names(names: Sequence[str], what: str = "device") -> None:
    """Make sure that names of devices, models and spaces can name neither files nor addresses.

    What passes is looked up in catalogues alone.

    Args:
        names: as a request gave them.
        what: they name, as the command that lists them is called without its ``s``.

    Raises:
        UnresolvedError: one could be a path, the address of a model, or a package's network.
    """
    for name in names:
        if not _SHIPPED.fullmatch(name) or PurePath(name).suffix.lower() in _SUFFIXES:
            raise UnresolvedError(
                f"a {what} must be named as latcast {what}s lists it; got {name[:80]!r}: a request "
                "may not name files, addresses or networks of packages; adapt a model at the "
                "server (POST /v1/adapt), and name its id"
            )


# --- the calls ----------------------------------------------------------------------------------


def _devices(asked: Asked) -> list[str]:
    """Take the devices out of a request: their names, and the path of an adapted model.

    Raises:
        UnresolvedError: there are none, or one is no name of the catalogue.
    """
    names: list[str] = asked.pop("devices", [])
    check_names(names)
    check_names([n for n in (asked.get("base"), asked.get("similar_to")) if n], "model")
    model = asked.pop("model", None)
    found = [*names, model] if model else names
    if not found:
        raise UnresolvedError("what to forecast for must be named: devices, or an adapted model")
    return found


def _check_no_network(asked: Asked) -> None:
    """Make sure that a request without a network says nothing of one.

    Raises:
        UnresolvedError: it does.
    """
    for name in ("name", "shapes", "batch_axis", "trip_count"):
        if name in asked:
            raise UnresolvedError(f"{name} must be of a network; none is named")


def _forecast(asked: Asked) -> Record:
    from latcast.models.forecast import forecast
    from latcast.models.sweep import sweep, vary

    devices = _devices(asked)
    network, archs = asked.pop("network", None), asked.pop("archs", None)
    if (network is None) == (archs is None):
        raise UnresolvedError("one of network and archs must be given")
    if network is None:
        _check_no_network(asked)
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
    ((kind, curve),) = curves.items()
    if kind == "vary":
        return vary(network, devices, curve["of"], curve["values"], **asked)
    return sweep(network, devices, curve["of"], _integers(curve["values"]), **asked)


def _integers(values: list[float]) -> list[int]:
    if wrong := [value for value in values if not float(value).is_integer()]:
        raise UnresolvedError(f"sides of inputs must be integers; got {wrong[0]:g}")
    return [int(value) for value in values]


def _which(asked: Asked) -> Record:
    from latcast.search.which import which

    check_names(asked.get("devices") or [])
    return which(asked.pop("network"), asked.pop("max_latency_ms"), **asked)


def _choose(asked: Asked) -> Record:
    from latcast.data.public.timm import VARIABLE, find_imagenet
    from latcast.search.choose import choose

    check_names([asked["device"]])
    try:
        find_imagenet()
    except FileNotFoundError:  # which tells what to do where the command runs
        raise FileNotFoundError(
            "choosing needs a table of accuracies, and this service has none: fetch it where it "
            "runs (latcast data fetch timm-imagenet --out data), and start it again with "
            f"{VARIABLE}=data/timm"
        ) from None
    device = asked.pop("device")
    return choose(asked.pop("model", device), asked.pop("max_latency_ms"), **asked)


def _suggest(asked: Asked) -> Record:
    from latcast.models.suggestions import suggest_for, suggest_on

    device, network = asked.pop("device"), asked.pop("network", None)
    check_names([n for n in (device, asked.get("similar_to")) if n])
    device = asked.pop("model", device)
    if network is None:
        _check_no_network(asked)
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
    """Read a dataset when it is sent, so that a damaged one is refused at once."""
    data = read_dataset(asked)
    return {"rows": len(data), "target": str(data.target)}


def read_dataset(asked: Asked, *, archs: bool = False) -> Any:
    """Read the dataset of a file, with what its owner says of it.

    Args:
        asked: ``data``, the file; ``space``, ``target`` and ``input_format``, where they are not
            in the file.
        archs: whether it must be of latencies of architectures.

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


def warm(graphs: int = 8, predictors: int = 512, rankings: int = 2) -> None:
    """Load what most requests need, and remember what does not change between them.

    Args:
        graphs: networks of files to remember; those that were asked for last are kept.
        predictors: predictors of targets to remember; those that were asked for last are kept.
        rankings: sets of predictors that devices are ranked by to remember; all targets of the
            catalogue's devices are 5,000.
    """
    from latcast.graph.read import read_with
    from latcast.models.forecast import forecast
    from latcast.models.resolve import resolve
    from latcast.search.which import resolved
    from latcast.spaces import space

    read_with.keep(graphs)
    resolve.keep(predictors)
    resolved.keep(rankings)
    archs = space(WARM_SPACE).sample(1, seed=0)
    for given in (archs, archs.to_dicts()):  # of a space that is named, and that is not
        forecast(given, WARM_DEVICES)
