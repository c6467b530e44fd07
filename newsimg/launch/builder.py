"""Instantiates configs: which classes a `_target_` may name, and with which arguments."""

import inspect
import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

from hydra.utils import get_class

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

if TYPE_CHECKING:
    from newsimg.storage.cache import OutputCache  # brings pyarrow, too slow for --help


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


class Builder:
    """Instantiates configs from the inside out; in one process equal configs become one object.

    So the jobs of a sweep share their models, and a reranker that is configured with the run's own
    backbone has the very same one. Every model asks the cache before it computes.

    Args:
        trusted: Packages that a `_target_` may come from.
        cache: What models have computed before.
    """

    def __init__(self, trusted: list[str], cache: "OutputCache") -> None:
        self.trusted = trusted
        self.cache = cache
        self._built: dict[str, Any] = {}
        self._used: set[str] = set()

    def build(self, config: Any) -> Any:
        """Turn every mapping with a `_target_` into an object of that class.

        Raises:
            ValueError: If a `_target_` is not a component of a trusted package, or its arguments
                are not what it expects.
        """
        if isinstance(config, list):
            return [self.build(item) for item in config]
        if not isinstance(config, dict):
            return config
        if "_target_" not in config:
            return {key: self.build(value) for key, value in config.items()}
        identity = json.dumps(config, sort_keys=True, default=str)
        # The parts of what is built already are in use as well.
        parts = {key: self.build(value) for key, value in config.items() if key != "_target_"}
        if identity not in self._built:
            self._built[identity] = self._instantiate(config["_target_"], parts)
        self._used.add(identity)
        return self._built[identity]

    def find_class(self, target: str) -> type:
        """Return the class that a `_target_` names.

        Raises:
            ValueError: If it is not a component of a trusted package.
        """
        check_package(target, self.trusted)
        return check_component(get_class(target))

    def release_unused(self) -> None:
        """Forget what was not built again since the last call: a sweep has moved on to others."""
        self._built = {key: value for key, value in self._built.items() if key in self._used}
        self._used.clear()

    def _instantiate(self, target: str, arguments: dict[str, Any]) -> Any:
        check_arguments(self.find_class(target), arguments)
        # Not by Hydra's `instantiate`, which would look for ${...} in headlines and paths again.
        component = self.find_class(target)(**arguments)
        from newsimg.storage.cached_models import CachedBackbone, CachedVLM

        if isinstance(component, Backbone):
            return CachedBackbone(component, self.cache)
        if isinstance(component, VisionLanguageModel):
            return CachedVLM(component, self.cache)
        return component


@cache
def get_builder(trusted: tuple[str, ...], cache_dir: str | None) -> Builder:
    """Return this process's builder."""
    from newsimg.storage.cache import OutputCache, find_cache_dir

    return Builder(list(trusted), OutputCache(find_cache_dir(cache_dir)))
