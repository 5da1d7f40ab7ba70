"""How a form is asked of vLLM, and what it means that vLLM refuses one."""

from typing import Any

from service.engines.failures import refused
from service.errors import EngineError, InvalidRequest, MullError
from service.search.constraint import Constraint


def constraint_body(constraint: Constraint | None) -> dict[str, Any]:
    """Return the field of a completion that keeps what is written to a form; nothing where there is none."""
    if constraint is None:
        return {}
    asked: dict[str, Any] = {
        "json": constraint.text,
        "json_object": True,
        "regex": constraint.text,
        "choice": list(constraint.choices),
        "grammar": constraint.text,
    }
    return {"structured_outputs": {constraint.form: asked[constraint.form]}}


def refused_completion(engine: str, frame: dict[str, Any], event: bytes, constraint: Constraint | None) -> MullError:
    """Translate an error that came as an event: a stream has status 200 before vLLM has looked at its request.

    A form that vLLM does not take is a 400 of its own. One that no token of the policy's vocabulary can begin or go on
    with is an internal error to it, and no failure of the engine: the next request is answered.
    """
    status = error_status(frame)
    failure = refused(engine, status, event, served_name="")
    if constraint is None or type(failure) is not EngineError:
        return failure
    if status == 400:
        return InvalidRequest(failure.message, hint="Ask for another form.", param=constraint.field)
    return unwritable(engine, constraint) if status == 500 else failure


def error_status(frame: dict[str, Any]) -> int:
    """Return the HTTP status that an error would have had, had it come before the stream began."""
    error = frame["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 500


def unwritable(engine: str, constraint: Constraint) -> InvalidRequest:
    """Name a form that a candidate could not be brought into."""
    return InvalidRequest(
        f"The {engine} gave up on a candidate while keeping it to `{constraint.field}`.",
        hint="Its vocabulary may have no token with which such a text can begin or go on; its log says more.",
        param=constraint.field,
    )
