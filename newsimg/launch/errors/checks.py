"""Validation of a config before heavy imports; all invalid values are reported at once."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from newsimg.interfaces import Backbone, Dataset, Index, Reranker, Task, Tracker, Weight
from newsimg.launch.builder import Builder, check_shortcuts
from newsimg.launch.errors.origin import is_mistake
from newsimg.launch.errors.sentences import explain
from newsimg.storage.files import CONF_DIR

KINDS = {
    "data": Dataset,
    "backbone": Backbone,
    "index": Index,
    "reranker": Reranker,
    "weight": Weight,
    "task": Task,
    "tracking": Tracker,
}
COMPONENTS = tuple(KINDS)[:-1]  # the tracker is built when the run is opened


def resolve(config: DictConfig) -> dict[str, Any]:
    """Return a config's values.

    Raises:
        ValueError: If mandatory values are missing; names each with an example.
        OmegaConfBaseException: If an interpolation cannot be resolved.
    """
    if missing := sorted(OmegaConf.missing_keys(config)):
        examples = " ".join(filter(None, map(_find_example, missing)))
        hint = f", e.g. {examples}" if examples else ""
        raise ValueError(f"{', '.join(missing)} must be given{hint}")
    values: dict[str, Any] = OmegaConf.to_container(  # type: ignore[assignment]
        config, resolve=True, throw_on_missing=True
    )
    if not isinstance(values["trusted_packages"], list):
        raise ValueError(
            "trusted_packages must be a list such as [newsimg,my_rerankers], "
            f"got {values['trusted_packages']!r}"
        )
    for name in (*KINDS, "cache"):
        if not isinstance(values.get(name), dict):
            raise ValueError(
                f"{name} must be one of its options, which newsimg --help lists, "
                f"got {values.get(name)!r}"
            )
    return values


def check_config(config: Mapping[str, Any], builder: Builder, task: str | None = None) -> None:
    """Instantiate the components, whose constructors validate arguments without loading anything.

    Args:
        config: All values, resolved.
        builder: Instantiates and keeps the components.
        task: Option of the group `task`; None if no task is run.

    Raises:
        ValueError: If values are invalid; lists all of them.
    """
    wrong = list(_list_wrong(config))
    errors: list[Exception] = []
    if task is not None:
        try:
            check_shortcuts(config, task)
        except ValueError as error:
            errors.append(error)
    skipped = {"task"} if task is None else set()
    if any(text.startswith("weight.value ") for text in wrong):
        skipped.add("weight")
    for name in KINDS:
        if name not in skipped and (wrong_kind := _find_kind_error(name, config[name], builder)):
            errors.append(wrong_kind)
            skipped.add(name)
    for name in COMPONENTS:
        if name not in skipped:
            builder.collect_errors(config[name], errors)
    for found in errors:
        if not is_mistake(found, builder.trusted):
            raise found
    wrong = list(dict.fromkeys([*wrong, *"\n".join(map(explain, errors)).splitlines()]))
    if wrong:
        several = f"{len(wrong)} values are wrong:\n- " if len(wrong) > 1 else ""
        raise ValueError(several + "\n- ".join(wrong))


def _find_kind_error(name: str, config: Mapping[str, Any], builder: Builder) -> Exception | None:
    """Return the error of a component whose `_target_` is missing or of another group."""
    target, kind = config.get("_target_"), KINDS[name].__name__
    if not isinstance(target, str):
        return ValueError(f"{name} needs a _target_, a class derived from {kind}, got {target!r}")
    try:
        found = builder.find_class(target)
    except Exception as error:
        return error
    if issubclass(found, KINDS[name]):
        return None
    return ValueError(f"{name} must be of a class derived from {kind}, got _target_ {target}")


def _list_wrong(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences on invalid values outside of components."""
    top_k, value = config["top_k"], config["weight"].get("value")
    if not _is_number(top_k, int) or top_k < 1:
        yield f"top_k must be a whole number of at least 1, got {top_k!r}"
    if not _is_number(value, int | float) or not 0 <= value <= 1:
        yield f"weight.value must be in [0, 1], got {value!r}"
    if not isinstance(config["data"].get("name"), str):
        yield f"data.name must be a text, got {config['data'].get('name')!r}"
    if not isinstance(config["tags"], dict):
        yield f"tags must be a mapping, e.g. +tags.note=trial, got {config['tags']!r}"
    if not isinstance(config["resume"], bool):
        yield f"resume must be true or false, got {config['resume']!r}"


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _find_example(key: str) -> str | None:
    """Return `key=value` from the commands in the group's yaml files."""
    group = key.partition(".")[0]
    for path in sorted((CONF_DIR / group).glob("*.yaml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            found = (
                re.search(rf"[\s']({re.escape(key)}=[^\s']+)", line)
                if line.startswith("#")
                else None
            )
            if found:
                return found[1]
    return None
