"""The tables of fields in docs/http-api.md, made from /openapi.json.

`python tests/docs/field_tables.py` writes them anew; a test compares them. In the page a table stands between a comment
and `<!-- end -->`. The comment says what is in it:

    fields SCHEMA                      the fields of a request or an answer
    only SCHEMA OTHER FIELD …          those that another schema does not have, and the given ones
    unserved SCHEMA                    those that are taken only while they ask for nothing
    query PATH                         the parameters of a query
    strategies                         the parameters of all strategies
"""

import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "http-api.md"

_PLACE = re.compile(r"(<!-- (fields|only|unserved|query|strategies)((?: \S+)*) -->\n).*?(?=<!-- end -->)", re.DOTALL)
_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "maxLength": "at most {} characters",
}
_UNSERVED = "Not served."


def description() -> dict[str, Any]:
    """Return what /openapi.json would say."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "service" / "gateway")]
    from fake_workers import FakeWorkers, settings

    from service.gateway.app import create_app

    return create_app(settings(), FakeWorkers()).openapi()


def filled(page: str, document: Mapping[str, Any]) -> str:
    """Return the page with its tables as they should be."""
    schemas = document["components"]["schemas"]

    def table(found: re.Match[str]) -> str:
        names = found[3].split()
        match found[2]:
            case "fields":
                rows = _fields(schemas[names[0]])
            case "unserved":
                rows = _unserved(schemas[names[0]])
            case "only":
                rows = _fields(schemas[names[0]], left_out={*schemas[names[1]]["properties"]} - {*names[2:]})
            case "query":
                rows = _query(document["paths"][names[0]]["get"]["parameters"])
            case _:
                rows = _strategies(schemas)
        return f"{found[1]}\n{rows}\n"

    return _PLACE.sub(table, page)


def _fields(schema: Mapping[str, Any], left_out: Collection[str] = ()) -> str:
    required = schema.get("required", ())
    rows = [
        (f"`{name}`" + (" *" if name in required else ""), _kind(field), field.get("description", ""))
        for name, field in schema["properties"].items()
        if name not in left_out and not _is_unserved(field)
    ]
    return _table(("field", "value", "meaning"), rows)


def _unserved(schema: Mapping[str, Any]) -> str:
    rows = [
        (f"`{name}`", _values(field["enum"]), field["description"].removeprefix(_UNSERVED).strip())
        for name, field in schema["properties"].items()
        if _is_unserved(field)
    ]
    return _table(("field", "taken with", "otherwise"), rows)


def _strategies(schemas: Mapping[str, Any]) -> str:
    mapping = next(
        kind["discriminator"]["mapping"]
        for kind in schemas["MullOptions"]["properties"]["strategy"]["anyOf"]
        if "discriminator" in kind
    )
    rows = [
        (f"`{name}`", f"`{field}`", _kind(declared), declared.get("description", ""))
        for name, reference in mapping.items()
        for field, declared in schemas[reference.rpartition("/")[2]]["properties"].items()
        if field != "name"
    ]
    return _table(("strategy", "parameter", "value", "meaning"), rows)


def _query(parameters: Sequence[Mapping[str, Any]]) -> str:
    rows = [(f"`{each['name']}`", _kind(each["schema"]), each["description"]) for each in parameters]
    return _table(("parameter", "value", "meaning"), rows)


def _is_unserved(field: Mapping[str, Any]) -> bool:
    return str(field.get("description", "")).startswith(_UNSERVED)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _kind(field: Mapping[str, Any]) -> str:
    """Return type, range and default in a few words."""
    default = field.get("default")
    words = _type(field)
    if default is None or isinstance(default, dict) or default == []:
        return words
    return f"{words}; {_values([default])}"


def _type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return f"`{field['$ref'].rpartition('/')[2]}`"
    if "const" in field:
        return _values([field["const"]])
    if "enum" in field:
        return _values(field["enum"])
    kinds = [kind for key in ("anyOf", "oneOf") for kind in field.get(key, ()) if kind.get("type") != "null"]
    if kinds:
        if any("discriminator" in kind for kind in kinds):
            return "name, or object with `name`"
        return " or ".join(dict.fromkeys(_type(kind) for kind in kinds))
    name = str(field.get("type", "any"))
    if name == "array":
        name = f"list of {_type(field.get('items', {}))}"
    bounds = [text.format(f"{field[key]:,}") for key, text in _BOUNDS.items() if key in field]
    return f"{name}, {', '.join(bounds)}" if bounds else name


def _values(values: Sequence[Any]) -> str:
    return ", ".join(f"`{json.dumps(value, ensure_ascii=False)}`" for value in values)


def main() -> None:
    """Write the tables anew."""
    PAGE.write_text(filled(PAGE.read_text(), description()))


if __name__ == "__main__":
    main()
