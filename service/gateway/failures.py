"""Every failure as an answer in OpenAI's shape, with a status that says whose turn it is."""

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from service.errors import MullError
from service.gateway.access import ENDPOINTS, error_body, trace
from service.gateway.waiting import ClientGone

CLIENT_GONE = 499
"""Nobody reads this status: it is for the log and the metrics (nginx's convention)."""


def handle_failures(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(MullError, _mull_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientGone, _client_gone)
    app.add_exception_handler(ClientDisconnect, _client_gone)


def error_response(error: MullError) -> JSONResponse:
    """Return an error as a response; one that says 429 or 503 also says when to come back."""
    headers = None
    match error.status:
        case 401:
            headers = {"www-authenticate": "Bearer"}
        case 429 | 503:
            headers = {"retry-after": str(error.retry_after or 5)}
    return JSONResponse(error_body(error), error.status, headers)


async def _mull_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MullError)
    trace(request).error = type(error).__name__
    return error_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer what no endpoint was reached for: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path[:200]
    match error.status_code:
        case 404:
            text = f"There is nothing at {path}. Known: {', '.join(ENDPOINTS)}."
        case 405:
            text = f"{path} does not take {method}. Use {(error.headers or {}).get('Allow', 'another method')}."
        case _:
            text = str(error.detail)
    detail = {
        "message": text,
        "type": "invalid_request_error",
        "param": None,
        "code": None,
        "trace_id": trace(request).id,
    }
    return JSONResponse({"error": detail}, error.status_code, error.headers)


async def _client_gone(request: Request, _error: Exception) -> Response:
    trace(request).error = ClientGone.__name__
    return Response(status_code=CLIENT_GONE)
