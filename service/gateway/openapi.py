"""/openapi.json: bodies and queries are read by hand, strictly, so their schemas are put in by hand, too."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service.gateway.catalogue import CatalogueAsk
from service.gateway.schema import ChatAsk, CompletionAsk
from service.gateway.score_ask import ScoreAsk

_BODIES: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": ChatAsk,
    "/v1/completions": CompletionAsk,
    "/v1/score": ScoreAsk,
}
_QUERIES: dict[str, type[BaseModel]] = {"/v1/strategies": CatalogueAsk}


def describe(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return the function that gives `app`'s description, made at its first call."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    return openapi


def _described(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas: dict[str, Any] = document["components"]["schemas"]
    for path, model in _BODIES.items():
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs"))
        schemas[model.__name__] = schema
        reference = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
        document["paths"][path]["post"]["requestBody"] = {
            "required": True,
            "content": {"application/json": reference},
        }
    for path, model in _QUERIES.items():
        fields = model.model_json_schema()["properties"]
        document["paths"][path]["get"]["parameters"] = [
            {"name": name, "in": "query", "description": field.pop("description"), "schema": field}
            for name, field in fields.items()
        ]
    return document
