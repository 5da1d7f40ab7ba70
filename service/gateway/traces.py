"""GET /v1/traces/{id}: what happened in an earlier search that was asked for its trace."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.errors import UnknownTrace
from service.gateway.access import ID, trace
from service.gateway.reply import Reply
from service.trace_store import TraceStore

TraceId = Annotated[str, Path(description="The `mull.trace_id` of the answer, also its header x-request-id.")]


class TraceReply(Reply):
    """The trace of one search."""

    id: str
    object: Literal["mull.trace"] = "mull.trace"
    records: list[dict[str, Any]] = Field(description="In order, as `mull replay` reads them.")


def trace_endpoints(store: TraceStore) -> APIRouter:
    """Return the route to the traces in `store`."""
    router = APIRouter()

    @router.get("/v1/traces/{id}", response_model=TraceReply)
    async def traces(request: Request, id: TraceId) -> Response:
        """Return the trace of a search that was asked for with `"include": ["trace"]`.

        It is kept for an hour, unless `redis.trace_ttl_s` says otherwise, and shown to the same API key only.
        """
        if not ID.fullmatch(id):
            raise UnknownTrace(f"{id[:128]!r} is not the id of a trace.", param="id")
        records = await store.get(id, caller=trace(request).caller)
        return JSONResponse(TraceReply(id=id, records=records).model_dump(mode="json"))

    return router
