"""What a config may instantiate, and with which arguments."""

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from newsimg.engine.base import Engine
from newsimg.interfaces import (
    Backbone,
    Dataset,
    Index,
    LanguageModel,
    Reranker,
    Task,
    VisionLanguageModel,
    Weight,
)
from newsimg.tracking.base import Tracker

COMPONENTS = (
    Dataset,
    Backbone,
    LanguageModel,
    VisionLanguageModel,
    Index,
    Reranker,
    Weight,
    Task,
    Tracker,
    Engine,
)


def check_package(target: str, trusted: list[str]) -> None:
    """Refuse what comes from elsewhere: a config must not import just any code.

    Raises:
        ValueError: If the package is not trusted.
    """
    if target.split(".")[0] not in trusted:
        raise ValueError(
            f"_target_ {target} is not of a trusted package ({', '.join(trusted)}); "
            "add its package to trusted_packages if you trust it"
        )


def check_component(component: type) -> type:
    """Return a class, or refuse one that is not a component.

    Raises:
        ValueError: If the class is not derived from an interface.
    """
    if not issubclass(component, COMPONENTS):
        names = ", ".join(interface.__name__ for interface in COMPONENTS)
        target = f"{component.__module__}.{component.__name__}"
        raise ValueError(f"_target_ {target} must be derived from one of {names}")
    return component


def check_arguments(component: type, arguments: Mapping[str, Any]) -> None:
    """Hold arguments against the constructor's annotations: `batch_size=x` is a text.

    Raises:
        ValueError: If an argument is of another type.
    """
    from typeguard import TypeCheckError, check_type

    hints = get_type_hints(component.__init__)  # type: ignore[misc]
    for name, value in arguments.items():
        try:
            check_type(value, hints.get(name, Any))
        except TypeCheckError as error:
            wanted = inspect.signature(component).parameters[name].annotation
            wanted = getattr(wanted, "__name__", wanted)
            raise ValueError(
                f"{name} of {component.__name__} must be {wanted}, got {value!r}"
            ) from error


def check_shortcuts(config: dict[str, Any], task: str) -> None:
    """Refuse a query or submission that the task would not look at.

    Raises:
        ValueError: If there is one.
    """
    for name in ("query", "submission"):
        if config[name] is not None and name not in config["task"]:
            raise ValueError(f"task={task} takes no {name}, got {config[name]!r}")
