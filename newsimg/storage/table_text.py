"""Values of a Parquet file's columns as text, as somebody would write them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

WHOLE = 2**53  # above it a float no longer holds every whole number


def find_writer(path: Path, field: Any) -> Callable[[Any], str]:
    """Return what turns a column's values into text; a missing one becomes "".

    Args:
        path: The file, for messages.
        field: The column, a `pyarrow.Field`: of text, or of numbers.

    Raises:
        ValueError: If it holds something else; names it and its type.
    """
    import pyarrow.types as types

    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    if is_text(kind) or types.is_integer(kind):
        return lambda value: "" if value is None else str(value)
    if types.is_floating(kind):
        return lambda value: _write_float(value, path, field.name)
    raise ValueError(f"{path}: the column {field.name} must be text or numbers, it is {field.type}")


def is_text(kind: Any) -> bool:
    """Tell whether a column of this type holds text, or nothing at all."""
    import pyarrow.types as types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    whole = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(whole or types.is_null(kind))


def _write_float(value: float | None, path: Path, name: str) -> str:
    """Write 1.0 as 1: whole numbers become floats where one of a column is missing."""
    if value is None or math.isnan(value):
        return ""
    if abs(value) >= WHOLE:
        raise ValueError(
            f"{path}: the column {name} has numbers as large as {value:.0f}, which floats do not "
            "hold exactly: write them as text or whole numbers"
        )
    return str(int(value)) if value.is_integer() else repr(value)
