"""A config as a tracker lists it, and the name that tells a run from others."""

from collections.abc import Iterable, Mapping
from typing import Any

MAX_PARAM_LENGTH = 500  # longer values are only in the artifact config.yaml
MAX_NAME_LENGTH = 250
# What runs are compared by. MLflow sorts params by name: all others begin with a word after these.
COMPARED = ("backbone", "data", "index", "normalization", "reranker", "split", "task", "top_k")
OTHERS = "yaml."  # as they stand in config.yaml
PARAM_NAMES = {"weight": "normalization", "weight.value": "weight", "data.split": "split"}
DEFAULTS = {"backbone": "sample", "data.split": "val", "top_k": "25"}  # of conf/, not in names
RANKING_TASKS = ("evaluate", "infer", "submit", "search", "tune")  # those that use a reranker


def list_params(
    config: Mapping[str, Any], choices: Mapping[str, str], swept: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a run is compared by and, under names that sort after it, the whole config.

    Args:
        config: All values.
        choices: Group -> option.
        swept: Override -> value of what the jobs of a sweep differ in; empty for a single run.
    """
    value = config["weight"]["value"]
    values = {**choices, **flatten(config)}
    named = {PARAM_NAMES.get(key, key): value for key, value in values.items()}
    named["weight"] = float(value) if isinstance(value, int) else value
    typed = dict(zip(name_params(swept), swept.values(), strict=True))
    first = [name for name in (*COMPARED, "weight", *typed) if name in named or name in typed]
    others = {f"{OTHERS}{name}": value for name, value in named.items() if name not in first}
    return {name: named.get(name, typed.get(name)) for name in first} | others


def name_params(overrides: Iterable[str]) -> list[str]:
    """Return the names of the params that overrides set; MLflow takes no @ in one."""
    return [PARAM_NAMES.get(override, override).replace("@", ":") for override in overrides]


def name_run(
    config: Mapping[str, Any], choices: Mapping[str, str], swept: Mapping[str, str]
) -> str:
    """Return how a run is called: by its task, what it ranks with, and what is not the default.

    Args:
        config: All values.
        choices: Group -> option.
        swept: See `list_params`. All of it is in the name.
    """
    task = choices["task"]
    parts = [] if task == "evaluate" else [task]
    told = set()
    if task in RANKING_TASKS:
        parts += [choices["reranker"], choices["weight"]]
        told |= {"reranker", "weight"}
        if task != "tune":  # which looks for the weight
            parts.append(f"w={_write_share(config['weight']['value'])}")
            told.add("weight.value")
    values = {
        "backbone": choices["backbone"],
        "data.split": config["data"].get("split"),  # data without articles have none
        "top_k": config["top_k"],
    }
    for name, value in values.items():
        if value is not None and (name in swept or str(value) != DEFAULTS[name]):
            parts.append(f"{name}={value}" if name == "top_k" else str(value))
    told |= set(values)
    parts += [f"{name}={value}" for name, value in swept.items() if name not in told]
    return " ".join(parts)[:MAX_NAME_LENGTH]


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


def _write_share(value: Any) -> str:
    """Write a weight with two digits, or as many as it has."""
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:.2f}" if round(value, 2) == value else write_number(value)
