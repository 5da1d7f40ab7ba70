"""Strategies by their names, and those and reward models of the user's own: `my.py:Mine` names a class in a file."""

import importlib.util
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter, ValidationError

from service.errors import InvalidRequest
from service.search.ports import Scorer
from strategies.registry import STRATEGIES, StrategySpec
from strategies.spec import Spec


def is_own(name: str) -> bool:
    """Tell whether `name` names a class in a file."""
    return ":" in name


def own_strategy(name: str) -> type[Spec]:
    """Return the strategy's class. Raises `InvalidRequest` where there is none of that name."""
    found = _class(name)
    if not issubclass(found, Spec):
        raise InvalidRequest(f"{name} is no strategy.", hint="Derive it from strategies.spec.Spec.", param="strategy")
    return found


def own_scorer(name: str) -> Scorer:
    """Return an object of the reward model's class. Raises `InvalidRequest` where there is none of that name."""
    found = _class(name)
    if not all(callable(getattr(found, method, None)) for method in ("price", "score")) or not hasattr(found, "reads"):
        hint = 'Give it what service.search.ports.Scorer has: price, score and reads (as in `reads = "step"`).'
        raise InvalidRequest(f"{name} is no reward model.", hint=hint, param="reward")
    try:
        return cast("Scorer", found())
    except Exception as error:
        raise InvalidRequest(f"{name} cannot be made: {_reason(error, name)}", param="reward") from error


def built(own: type[Spec] | None, parameters: Mapping[str, object]) -> Spec:
    """Return the strategy with its parameters, one of Mull's by its name or of the class `own`.

    Raises `InvalidRequest` for a name that is unknown, a parameter that it does not have or that is out of bounds.
    """
    adapter: TypeAdapter[Spec] = TypeAdapter(StrategySpec if own is None else own)
    try:
        return adapter.validate_python(dict(parameters))
    except ValidationError as error:
        name = parameters.get("name", own.__name__ if own is not None else "")
        first = error.errors(include_url=False)[0]
        what = first["loc"][-1] if first["loc"] else name
        if first["type"] == "union_tag_invalid":
            hint = f"Known: {', '.join(STRATEGIES)}."
            raise InvalidRequest(f"There is no strategy {name!r}.", hint=hint, param="strategy") from None
        if first["type"] == "extra_forbidden":
            kind = STRATEGIES[str(name)] if own is None else own
            known = [field for field in kind.model_fields if field != "name"]
            hint = f"Known: {', '.join(known)}." if known else "It has none."
            raise InvalidRequest(f"{name} has no parameter {what!r}.", hint=hint, param=str(what)) from None
        text = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
        subject = name if what == name else f"{what} of {name}"
        raise InvalidRequest(f"{subject}: {text}.", param=str(what)) from None


def _class(name: str) -> type:
    path, _, wanted = name.rpartition(":")
    file = Path(path)
    if not file.is_file():
        raise InvalidRequest(f"There is no file {path!r}.", hint="Name a class in a file, as in my.py:Mine.")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise InvalidRequest(f"{path} is no Python file.", hint="Name a class in a file, as in my.py:Mine.")
    module = importlib.util.module_from_spec(spec)
    # As `python my.py` does it: what lies beside the file can be imported, and the classes know their module.
    sys.path.insert(0, str(file.resolve().parent))
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidRequest(f"{path} cannot be imported: {_reason(error, path)}") from error
    found = getattr(module, wanted, None)
    if not isinstance(found, type):
        raise InvalidRequest(f"{path} has no class {wanted!r}.", hint="Name a class in a file, as in my.py:Mine.")
    return found


def _reason(error: Exception, name: str) -> str:
    """Return what went wrong, in one line, and the last line of the user's own file that led there."""
    file = Path(name.partition(":")[0])
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
    where = f" in line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{where}: {str(error).partition(chr(10))[0]}"
