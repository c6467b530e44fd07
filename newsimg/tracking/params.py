"""Params and names of runs."""

from collections.abc import Iterable, Mapping
from typing import Any

JOB_TAG = "job"  # tag with the number of a job in its sweep, from 0
# Metrics that restrict the comparability of a run -> usual value. Unusual values are also logged as
# tags, as tables of runs show tags first.
TAGGED = {"ground_truth_share": 1.0}
MAX_PARAM_LENGTH = 500  # longer values are only in the artifact config.yaml
MAX_NAME_LENGTH = 250
# Compared params. MLflow sorts params by name, so the others have a prefix that sorts after these.
COMPARED = ("backbone", "data", "index", "normalization", "reranker", "split", "task", "top_k")
OTHERS = "yaml."  # prefix of keys of config.yaml
PARAM_NAMES = {"weight": "normalization", "weight.value": "weight", "data.split": "split"}
DEFAULTS = {
    "backbone": "sample",
    "data.split": "val",
    "top_k": "25",
}  # defaults of conf/, left out of names
RANKING_TASKS = ("evaluate", "infer", "submit", "search", "tune")  # tasks that use a reranker


def list_params(
    config: Mapping[str, Any], choices: Mapping[str, str], swept: Mapping[str, str]
) -> dict[str, Any]:
    """Return the params: those that runs are compared by, then the whole config with a prefix.

    Args:
        config: All values.
        choices: Group -> option.
        swept: Swept override -> value; empty for a single run.
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
    """Return the params' names for overrides; MLflow does not allow @."""
    return [PARAM_NAMES.get(override, override).replace("@", ":") for override in overrides]


def name_run(
    config: Mapping[str, Any], choices: Mapping[str, str], swept: Mapping[str, str]
) -> str:
    """Return the name of a run: task, reranker, normalisation, weight, and non-default values.

    Args:
        config: All values.
        choices: Group -> option.
        swept: See `list_params`; all swept values are in the name.
    """
    task = choices["task"]
    parts = [] if task == "evaluate" else [task]
    told = set()
    if task in RANKING_TASKS:
        parts += [choices["reranker"], choices["weight"]]
        told |= {"reranker", "weight"}
        if task != "tune":  # which chooses the weight
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
    """Format a number with the fewest digits that parse to the same number."""
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
    """Format a weight with two digits, or more if needed."""
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:.2f}" if round(value, 2) == value else write_number(value)


def pick_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the metrics that are also logged as tags."""
    return {
        name: f"{metrics[name]:.4g}"
        for name, usual in TAGGED.items()
        if metrics.get(name, usual) != usual
    }
