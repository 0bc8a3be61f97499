"""Parameters: one frozen typed record an operator, with unit, bounds, default and help for every field."""

from __future__ import annotations

from typing import Any

import msgspec

from camlink.errors import ParameterError, UnknownName


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every parameter record; every field has a default, so an operator runs when nothing is said."""


def about(help: str, *, unit: str = "", ge: float | None = None, le: float | None = None,
          gt: float | None = None, lt: float | None = None) -> msgspec.Meta:
    """Help text, unit and bounds of a parameter, for `Annotated[type, ...]`."""
    bounds: dict[str, Any] = {"ge": ge, "le": le, "gt": gt, "lt": lt}
    return msgspec.Meta(description=help, extra={"unit": unit}, **bounds)


def build(record: type[Parameters], values: dict[str, Any], where: str) -> Parameters:
    """A checked record from plain values; raises ParameterError or UnknownName, naming `where` and the parameter."""
    known = {field.name for field in msgspec.structs.fields(record)}
    for name in values:
        if name not in known:
            raise UnknownName(f"parameter of {where}", name, known)
    try:
        return msgspec.convert(values, record, strict=False)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at ")
        field = path.strip("`$.") or "?"
        raise ParameterError(f"{where}.{field} = {values.get(field)!r}: {text[:1].lower()}{text[1:]}; "
                             f"it is: {describe(record, field)}") from None


def describe(record: type[Parameters], name: str) -> str:
    """One line of help for the parameter `name`: text, unit, bounds and default."""
    for field in fields(record):
        if field["name"] == name:
            unit = f" [{field['unit']}]" if field["unit"] else ""
            bounds = f", {field['bounds']}" if field["bounds"] else ""
            return f"{field['help']}{unit}{bounds} (default {field['default']!r})"
    return "no such parameter"


def fields(record: type[Parameters]) -> list[dict[str, Any]]:
    """Name, type, unit, bounds, default and help of every parameter, for forms, tables and documentation."""
    schema = msgspec.json.schema(record)
    ref = schema["$ref"].rpartition("/")[2]
    properties = schema["$defs"][ref]["properties"]
    rows = []
    for field in msgspec.structs.fields(record):
        entry = properties[field.encode_name]
        extra = _extra(field.type)
        rows.append({
            "name": field.name,
            "type": entry.get("type") or _type_text(entry),
            "unit": extra.get("unit", ""),
            "bounds": _bounds(entry),
            "default": field.default,
            "help": entry.get("description", ""),
            "choices": entry.get("enum", []),
        })
    return rows


def _type_text(entry: dict[str, Any]) -> str:
    if "enum" in entry:
        return "choice"
    return "|".join(str(option.get("type", "choice")) for option in entry.get("anyOf", [])) or "any"


def _extra(hint: Any) -> dict[str, Any]:
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.extra:
            return dict(meta.extra)
    return {}


_BOUNDS = (("minimum", ">="), ("maximum", "<="), ("exclusiveMinimum", ">"), ("exclusiveMaximum", "<"))


def _bounds(entry: dict[str, Any]) -> str:
    return ", ".join(f"{sign} {entry[key]:g}" for key, sign in _BOUNDS if key in entry)
