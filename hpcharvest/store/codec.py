"""Records to JSON text and back. A record's column fields stay out of its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json

from hpcharvest.errors import StoreError

Record = TypeVar("Record")


class Codec(Generic[Record]):
    """Writes and reads records of one kind. `columns`: the fields that are kept elsewhere."""

    def __init__(self, kind: type[Record], *columns: str) -> None:
        self._kind = kind
        self._adapter = TypeAdapter(kind)
        self._columns = set(columns)

    def encode(self, record: Record) -> str:
        """Write the fields that are no columns; a lone surrogate, which is no text, is written as a question mark."""
        try:
            return self._adapter.dump_json(record, exclude=self._columns).decode()
        except PydanticSerializationError:
            plain = self._adapter.dump_python(record, mode="json", exclude=self._columns)
            return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace").decode()

    def decode(self, rest: str, columns: Mapping[str, Any], name: object) -> Record:
        """Read a record. Raises `StoreError`, with `name`, if what is stored is none."""
        try:
            return self._adapter.validate_python({**from_json(rest), **columns})
        except (ValidationError, ValueError, TypeError) as problem:
            raise StoreError(
                f"{self._kind.__name__.lower()} {name}: its row in the database cannot be read "
                f"({str(problem).replace(chr(10), ' ')}): restore the row, or delete it"
            ) from problem
