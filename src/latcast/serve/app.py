"""The service as an application: its endpoints behind the gate, and exceptions as records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from latcast import __version__, report

from .calls import Answer, BusyError, failed, refusal
from .endpoints import ERRORS, problems, router
from .files import UnknownFileError
from .gate import Gate
from .jobs import UnknownJobError
from .service import Refused, Service
from .settings import Settings

EXPLORER = Path(__file__).parent / "explorer"
# Of the pages of records, whose looks are those of the explorer.
SHARED = ("style.css", "drawing.css", "drawing.js")


def app_of(settings: Settings) -> FastAPI:
    """The service as an ASGI application.

    Raises:
        FileNotFoundError, ValueError: the file of the keys is missing or of another form.
    """
    service = Service(settings)
    app = FastAPI(
        title="latcast",
        version=__version__,
        description=(
            "Forecasts how long a neural network takes on a device. Every answer is a record, the "
            "JSON that the command of its name prints with `--json`; with `Accept: text/html` it "
            "is a page. An error is the record `latcast/error`."
        ),
        lifespan=service.running,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        responses=ERRORS,
    )
    app.state.service = service
    for kind in (Refused, HTTPException, RequestValidationError, BusyError, ValueError, OSError,
                 UnknownJobError):  # fmt: skip
        app.add_exception_handler(kind, _tell)
    app.include_router(router)
    app.add_route("/shared/{name}", _shared, include_in_schema=False)
    app.mount("/", StaticFiles(directory=EXPLORER, html=True))
    app.add_middleware(
        cast("Any", Gate), settings=settings, keys=service.keys, metrics=service.metrics
    )
    return app


async def _shared(request: Request) -> Response:
    """A file that the explorer has in common with the pages of records."""
    name = request.path_params["name"]
    if name not in SHARED:
        raise HTTPException(404)
    return FileResponse(Path(report.__file__).parent / "templates" / name)


async def _tell(request: Request, error: Exception) -> Response:
    """Answer an exception by an error record with the id of its request."""
    found = _answer_to(request, error)
    body = json.loads(found.body) | {"request_id": request.state.request_id}
    again = None if found.retry_s is None else {"retry-after": str(found.retry_s)}
    return JSONResponse(body, found.status, again)


def _answer_to(request: Request, error: Exception) -> Answer:
    match error:
        case Refused():
            return error.answer
        case RequestValidationError():
            return refusal(422, problems(error.errors()), 2)
        case HTTPException():
            text = f"{request.method} {request.url.path}: {error.detail}"
            return refusal(error.status_code, text, 2)
        case UnknownFileError() | UnknownJobError():
            return refusal(404, str(error), 2)
        case BusyError():
            return refusal(error.status, str(error), retry_s=error.retry_s)
    return failed(error)
