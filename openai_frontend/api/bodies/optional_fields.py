"""Bodies whose optional fields may be null or empty, as many clients send them; both mean that the field is absent."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


def _allow_null(schema: dict[str, Any]) -> None:
    """Declare it in the JSON schema of a body."""
    for name, field in schema["properties"].items():
        if name in schema.get("required", ()) or "const" in field:
            continue
        if isinstance(field.get("type"), str):
            field["type"] = [field["type"], "null"]
            if "enum" in field:
                field["enum"] = [*field["enum"], None]


class OptionalFields(BaseModel):
    """A body in which null or "" in an optional field means its default."""

    model_config = ConfigDict(json_schema_extra=_allow_null)

    @model_validator(mode="before")
    @classmethod
    def _leave_out(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        required = {name for name, field in cls.model_fields.items() if field.is_required()}
        return {name: value for name, value in values.items() if name in required or value not in (None, "")}
