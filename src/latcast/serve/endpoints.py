"""The endpoints of the service, each a record of latcast over HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, File, Form, Request, Response, UploadFile
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError

from latcast import __version__, _limits

from . import own_rows
from . import requests as q
from .calls import Answer, check_names, failed, page_of, refusal
from .files import Kind
from .service import IS_ID, Caller, Refused, Service

router = APIRouter()

_JSON = "application/json"
# Characters that are told of what is wrong about a field.
_MAX_PROBLEM = 400
# Uploads that are put away at a time.
_PUTTING = asyncio.Semaphore(4)


async def _caller(request: Request) -> Caller:
    """The service as the key of a request sees it."""
    service: Service = request.app.state.service
    return service.of(request.state.owner)


Own = Annotated[Caller, Depends(_caller)]

# --- answers ------------------------------------------------------------------------------------

_ERROR = {
    "type": "object",
    "required": ["schema", "version", "error", "exit_code", "request_id"],
    "properties": {
        "schema": {"const": "latcast/error"},
        "version": {"type": "integer"},
        "error": {"type": "string", "description": "What must hold, what was got, what to do."},
        "exit_code": {"type": "integer", "description": "Of the command; 2 for wrong usage."},
        "request_id": {"type": "string"},
    },
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {_JSON: {"schema": _ERROR}}}
    for status, text in {
        "4XX": "The request is no good.",
        "5XX": "The service could not answer.",
    }.items()
}


def _record(*schemas: str) -> dict[str, Any]:
    """Options of an endpoint whose answer is a record of one of these schemas, or its page."""
    record = {
        "type": "object",
        "required": ["schema", "version"],
        "properties": {
            "schema": {"type": "string", "enum": [f"latcast/{s}" for s in schemas]},
            "version": {"type": "integer"},
        },
    }
    content = {_JSON: {"schema": record}, "text/html": {"schema": {"type": "string"}}}
    return {
        "response_class": Response,
        "responses": {200: {"description": "The record, or its page.", "content": content}},
    }


def _wants_page(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "text/html" in accept and _JSON not in accept


def _response(found: Answer) -> Response:
    if found.status != 200:
        raise Refused(found)
    kind = "text/html; charset=utf-8" if found.is_page else _JSON
    return Response(found.body, media_type=kind)


def problems(errors: Any) -> str:
    """Tell in a line which fields of a request are wrong, and why.

    Args:
        errors: of pydantic; the first three are told.
    """
    texts = []
    for each in list(errors)[:3]:
        where = ".".join(str(x) for x in each["loc"] if x != "body")
        text = str(each["msg"]).removeprefix("Value error, ")
        texts.append(f"{where[:120] or 'the body'}: {text[:_MAX_PROBLEM]}")
    return f"the request must be as /openapi.json has it; {'; '.join(texts)}"


# --- what there is ------------------------------------------------------------------------------


@router.get("/v1/devices", tags=["what there is"], **_record("devices"))
def devices(
    request: Request, name: str | None = None, kind: str | None = None, find: str | None = None
) -> Response:
    """List the devices of the catalogue, or one of them with the source of its figures."""
    return _list(request, "devices", name, kind, find)


@router.get("/v1/models", tags=["what there is"], **_record("models", "model"))
def models(request: Request, name: str | None = None) -> Response:
    """List the shipped models, or show the card of one."""
    return _list(request, "models", name)


@router.get("/v1/spaces", tags=["what there is"], **_record("spaces", "space"))
def spaces(request: Request, name: str | None = None) -> Response:
    """List the search spaces, or show one with its genes."""
    return _list(request, "spaces", name)


def _list(request: Request, what: str, *options: str | None) -> Response:
    found = _listed(what, *options)
    if found.status == 200 and _wants_page(request):
        found = Answer(200, page_of(json.loads(found.body)), is_page=True)
    return _response(found)


@lru_cache(maxsize=512)
def _listed(
    what: str, name: str | None, kind: str | None = None, find: str | None = None
) -> Answer:
    from latcast.devices._catalogue import DeviceList
    from latcast.models.overview import list_models, model_card
    from latcast.models.zoo import UnresolvedError
    from latcast.spaces import space
    from latcast.spaces.overview import SpaceDetails, SpaceList

    check_names([name] if name else [], what.removesuffix("s"))
    found: Any
    try:
        if what == "devices":
            found = DeviceList.of_kind(kind, find) if name is None else DeviceList.of(name)
        elif what == "models":
            found = list_models() if name is None else model_card(name)
        else:
            found = SpaceList.of_all() if name is None else SpaceDetails.of(space(name))
    except ValueError as error:  # a name that is not known
        return failed(UnresolvedError(str(error)))
    return Answer(200, json.dumps(found.to_dict(), ensure_ascii=False))


# --- files --------------------------------------------------------------------------------------


@router.post("/v1/networks", tags=["files"], response_model=q.SentNetwork)
async def send_network(
    caller: Own,
    file: Annotated[UploadFile, File(description="ONNX, .pt2, .tflite, .param or .xml.")],
    options: Annotated[str | None, Form(description="InspectRequest, as JSON.")] = None,
    name: Annotated[str | None, Form(description="What records call it.")] = None,
) -> Response:
    """Send a network's file; the answer is its id, and the record of `latcast inspect`."""
    try:
        asked = q.InspectRequest.model_validate_json(options or "{}").given()
    except ValidationError as error:
        raise Refused(refusal(422, problems(error.errors()), 2)) from None
    key, own = await _kept(caller, "networks", file)
    asked |= {"network": key, "name": name or own}
    shown: dict[str, str] = {}
    caller.network(asked, shown)
    found = await caller.ask("inspect", asked, shown=shown)
    return Response(f'{{"id":"{key}","inspection":{found.body}}}', media_type=_JSON)


@router.get("/v1/networks/{id}", tags=["files"], response_model=q.NetworkInfo)
def network(caller: Own, id: str) -> q.NetworkInfo:
    """Tell whether a network is kept for this key, so that it need not be sent again."""
    path = caller.files.path("networks", id)
    return q.NetworkInfo(id=id, name=path.name, size_bytes=path.stat().st_size)


@router.delete("/v1/networks/{id}", tags=["files"], status_code=204)
def remove_network(caller: Own, id: str) -> Response:
    """Remove a network that this key has sent."""
    caller.files.remove("networks", id)
    return Response(status_code=204)


@router.post("/v1/datasets", tags=["files"], response_model=q.SentDataset)
async def send_dataset(
    caller: Own,
    file: Annotated[UploadFile, File(description="Parquet, CSV or HELP's .pt.")],
    space: Annotated[q.SpaceName | None, Form()] = None,
    target: Annotated[str | None, Form()] = None,
    input_format: Annotated[str | None, Form()] = None,
) -> Response:
    """Send a dataset, which jobs and comparisons of the same key name by its id."""
    key, name = await _kept(caller, "datasets", file)
    path = str(caller.files.path("datasets", key))
    asked = {"data": path, "space": space, "target": target, "input_format": input_format}
    found = await caller.ask("dataset", asked, shown={path: name})
    return Response(f'{{"id":"{key}",{found.body[1:]}', media_type=_JSON)


async def _kept(caller: Caller, kind: Kind, upload: UploadFile) -> tuple[str, str]:
    """Put an upload away, and return its id and its name.

    Raises:
        Refused: it is empty.
    """
    name = upload.filename or "file"
    if not upload.size:
        raise Refused(refusal(422, f"{name[:80]!r} must have content; it is empty", 2))

    def put() -> str:
        folder = caller.files.coming()
        try:
            with (folder / "upload").open("wb") as file:
                shutil.copyfileobj(upload.file, file, 1 << 20)
            return caller.files.add(kind, folder / "upload", name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async with _PUTTING:
        key = await asyncio.to_thread(put)
        await asyncio.to_thread(caller.files.sweep, caller.service.jobs.needed | {key})
    return key, name


# --- forecasts ----------------------------------------------------------------------------------


@router.post(
    "/v1/forecast", tags=["forecasts"],
    **_record("architectures-forecast", "network-forecast", "network-sweep"),
)  # fmt: skip
async def forecast(request: Request, caller: Own, body: q.ForecastRequest) -> Response:
    """Forecast latency on devices, as `latcast predict` does."""
    if body.archs is not None:
        several = len(body.precision) if isinstance(body.precision, list) else 1
        rows = len(body.archs) * max(1, len(body.devices)) * several
        if rows > _limits.MAX_REQUEST_ARCHS:
            most = _limits.MAX_REQUEST_ARCHS
            text = f"a request may be of {most} architectures, each device counted; got {rows}"
            raise Refused(refusal(413, text))
        if rows <= own_rows.MAX_ROWS and len(await request.body()) <= own_rows.MAX_BYTES:
            return await _of_few(request, caller, body)
    return await _asked(request, caller, "forecast", body)


async def _of_few(request: Request, caller: Caller, body: q.ForecastRequest) -> Response:
    """The forecast of few architectures: by the service itself where that takes milliseconds."""
    arguments, own = body.given(), caller.service.own_rows
    if (found := own.answer(arguments, page=_wants_page(request))) is not None:
        return _response(found)
    answered = await _asked(request, caller, "forecast", body)
    own.note(arguments)
    return answered


@router.post("/v1/which", tags=["forecasts"], **_record("device-ranking"))
async def which(request: Request, caller: Own, body: q.WhichRequest) -> Response:
    """List devices by their chance to run a network within a budget."""
    return await _asked(request, caller, "which", body)


@router.post("/v1/choose", tags=["forecasts"], **_record("choice"))
async def choose(request: Request, caller: Own, body: q.ChooseRequest) -> Response:
    """Choose the most accurate pretrained models within a budget."""
    return await _asked(request, caller, "choose", body)


@router.post("/v1/suggest", tags=["forecasts"], **_record("suggestions", "telling"))
async def suggest(request: Request, caller: Own, body: q.SuggestRequest) -> Response:
    """Suggest what to measure on a device."""
    return await _asked(request, caller, "suggest", body)


@router.post("/v1/compare", tags=["forecasts"], **_record("comparison"))
async def compare(request: Request, caller: Own, body: q.CompareRequest) -> Response:
    """Compare two datasets, or a forecast and a dataset."""
    return await _asked(request, caller, "compare", body)


@router.post("/v1/adapt", tags=["forecasts"], response_model=q.AdaptedModel)
async def adapt(caller: Own, body: q.AdaptRequest) -> Response:
    """Adapt the model of a device to measurements of networks there."""
    given, shown = body.given(), dict[str, str]()
    for each in given["measurements"]:
        name = each.get("name")
        caller.network(each, shown)
        each["name"] = name or Path(each["network"]).name
    if IS_ID.fullmatch(given.get("model", "")):
        caller.model(given, shown)
    folder = caller.files.coming()
    try:
        given["out"] = str(out := folder / "adapted.latcast")
        found = await caller.ask("adapt", given, shown=shown)
        key = await asyncio.to_thread(caller.files.add, "models", out, out.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Response(f'{{"model":"{key}","adaptation":{found.body}}}', media_type=_JSON)


async def _asked(request: Request, caller: Caller, call: str, body: q.Asked) -> Response:
    """The answer of a worker to a request, whose ids of files become paths.

    Raises:
        Refused: the answer is an error record, or a network is named by what is no id.
        UnknownFileError: an id is none of this key.
    """
    given, shown = body.given(), dict[str, str]()
    if "network" in given:
        caller.network(given, shown)
    if "among" in given:
        given["among"] = [_member(caller, name, shown) for name in given["among"]]
    if call == "compare":
        caller.dataset(given, "a", shown)
        caller.dataset(given, "b", shown)
    caller.model(given, shown)
    page = _wants_page(request)
    return _response(await caller.ask(call, given, shown=shown, page=page))


def _member(caller: Caller, name: str, shown: dict[str, str]) -> str:
    """The path of one of several networks."""
    each = {"network": name}
    caller.network(each, shown)
    return each["network"]


# --- jobs ---------------------------------------------------------------------------------------


@router.post("/v1/jobs", tags=["jobs"], status_code=202, response_model=q.JobState)
async def begin_job(caller: Own, body: Annotated[q.JobRequest, Body()]) -> Mapping[str, Any]:
    """Begin a search or a tuning."""
    options = body.given()
    return caller.begin_job(options.pop("command"), options)


@router.get("/v1/jobs", tags=["jobs"], response_model=list[q.JobState])
async def jobs(caller: Own) -> list[dict[str, Any]]:
    """List the jobs of this key, the newest first, without their results."""
    return caller.service.jobs.list(caller.owner)


@router.get("/v1/jobs/{id}", tags=["jobs"], response_model=q.JobState)
async def job(caller: Own, id: str) -> Mapping[str, Any]:
    """Show a job of this key with its result."""
    return caller.service.jobs.get(id, caller.owner)


@router.delete("/v1/jobs/{id}", tags=["jobs"], response_model=q.JobState)
async def cancel_job(caller: Own, id: str) -> Mapping[str, Any]:
    """End a job of this key."""
    return caller.service.jobs.cancel(id, caller.owner)


# --- operations ---------------------------------------------------------------------------------


@router.get("/healthz", tags=["operations"])
async def healthz() -> dict[str, str]:
    """Tell that the service answers, and its version."""
    return {"status": "ok", "version": __version__}


@router.get("/metrics", tags=["operations"], response_class=Response)
async def metrics(caller: Own) -> Response:
    """Show what the service counts, in the format of Prometheus."""
    registry = caller.service.metrics.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
