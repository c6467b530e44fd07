"""A config as a tracker lists it."""

from collections.abc import Mapping
from typing import Any

MAX_PARAM_LENGTH = 500  # longer values are only in the artifact config.yaml


def list_params(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, Any]:
    """Return what a run is compared by: the options, the weight, and every value of the config."""
    value = config["weight"]["value"]
    weight = float(value) if isinstance(value, int) else value
    named = {"weight": weight, "normalization": choices["weight"]}
    return {**choices, **named, **flatten(config)}


def name_run(config: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """Return how a run is called: by what it evaluates, or by its task."""
    if choices["task"] != "evaluate":
        return choices["task"]
    value = config["weight"]["value"]
    share = str(value)
    if isinstance(value, int | float):  # two digits, or as many as it has
        share = f"{value:.2f}" if round(value, 2) == value else write_number(value)
    return f"{choices['reranker']} {choices['weight']} w={share}"


def write_number(value: float) -> str:
    """Write a number with as few digits as it takes to read the same number back."""
    return repr(float(value)).removesuffix(".0")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested config to `group.name: value`; lists are not flattened."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def shorten(value: Any) -> str:
    """Return a value as text, or a reference to config.yaml if it is too long for a param."""
    text = str(value)
    return text if len(text) <= MAX_PARAM_LENGTH else "long: see config.yaml among the artifacts"
