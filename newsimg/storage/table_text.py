"""Conversion of Parquet columns to text."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_EXACT = 2**53  # larger integers are not exact in float64


def find_formatter(path: Path, field: Any) -> Callable[[Any], str]:
    """Return the function that formats a column's values: ISO dates, lists joined; null is "".

    Args:
        path: The file, for messages.
        field: The column, a `pyarrow.Field` of text, numbers, dates or lists of text.

    Raises:
        ValueError: If the column has another type; names the column and the type.
    """
    import pyarrow.types as types

    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    if is_text(kind) or types.is_integer(kind):
        return lambda value: "" if value is None else str(value)
    if types.is_floating(kind):
        return lambda value: _format_float(value, path, field.name)
    if types.is_date(kind) or types.is_timestamp(kind):
        return lambda value: "" if value is None else value.isoformat()
    if types.is_list(kind) and is_text(kind.value_type):
        return lambda values: ", ".join(filter(None, values or ()))
    raise ValueError(f"{path}: the column {field.name} must be text or numbers, got {field.type}")


def is_text(kind: Any) -> bool:
    """Return whether a column type is text or null."""
    import pyarrow.types as types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(text or types.is_null(kind))


def _format_float(value: float | None, path: Path, name: str) -> str:
    """Format 1.0 as 1, because pandas converts integer columns with nulls to float."""
    if value is None or math.isnan(value):
        return ""
    if abs(value) >= MAX_EXACT:
        raise ValueError(
            f"{path}: the column {name} has {value:.0f} as a float, which is not exact above 2^53: "
            "store the column as text or integers"
        )
    return str(int(value)) if value.is_integer() else repr(value)
