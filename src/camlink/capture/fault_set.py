"""FaultSet: faults on demand, read from a text of names and numbers."""

from __future__ import annotations

from typing import Annotated, Self

import msgspec

from camlink.errors import ParameterError, UnknownName

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class FaultSet(msgspec.Struct, frozen=True, kw_only=True):
    """Faults by name; a source that can do wrong on demand says which."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Faults from a text such as "drop-packets=0.01,burst=4"; an empty text means none.

        Raises UnknownName for a fault that does not exist, ParameterError for a value that is out of bounds.
        """
        values: dict[str, str] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            name, equals, value = part.partition("=")
            field = name.strip().replace("-", "_")
            if field not in cls.__struct_fields__:
                raise UnknownName("fault", name.strip(), (f.replace("_", "-") for f in cls.__struct_fields__))
            if not equals:
                raise ParameterError(f"fault '{part}' has no value; write {part}=NUMBER")
            values[field] = value.strip()
        try:
            return msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ParameterError(f"faults '{text}': {error}") from None
