"""A config as a tracker lists it."""

from collections.abc import Mapping
from typing import Any

MAX_PARAM_LENGTH = 500  # longer values are read in the resolved config, among the artifacts


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested config values into `group.name: value`; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def shorten(value: Any) -> str:
    """Return a value as text, if that is short enough for a param."""
    text = str(value)
    return text if len(text) <= MAX_PARAM_LENGTH else "long: see config.yaml among the artifacts"
