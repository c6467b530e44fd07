"""Instantiates configs: which classes a `_target_` may name, and with which arguments."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from newsimg.datatypes import SharedResults
from newsimg.interfaces import (
    Backbone,
    Dataset,
    Engine,
    Index,
    LanguageModel,
    Reranker,
    Survey,
    Task,
    Tracker,
    VisionLanguageModel,
    Weight,
    WeightRule,
)
from newsimg.storage.text.suggest import refuse_all, suggest

if TYPE_CHECKING:
    from newsimg.storage.cache import OutputCache  # imports pyarrow, too slow for --help


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
    WeightRule,
    Survey,
)


def check_package(target: str, trusted: list[str]) -> None:
    """Check that a package is trusted, so that a config cannot import arbitrary code.

    Raises:
        ValueError: If the package is not trusted.
    """
    if target.split(".")[0] not in trusted:
        raise ValueError(
            f"_target_ {target} is not of a trusted package ({', '.join(trusted)}); "
            "add its package to trusted_packages if you trust it"
        )


def import_class(target: str) -> type:
    """Import a class by its path `package.module.Class`.

    Raises:
        ValueError: If it is no such path, there is no such module, or no such class in it.
    """
    if not re.fullmatch(r"\w+(\.\w+)+", target):
        raise ValueError(f"_target_ must be package.module.Class, got {target!r}")
    path, _, name = target.rpartition(".")
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise  # the module is there, and misses another
        raise ValueError(f"_target_ {target} cannot be found: {error.msg}") from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [one for one, value in vars(module).items() if isinstance(value, type)]
        raise ValueError(f"_target_ {target} is no class{suggest(name, classes)}")
    return found


def check_component(component: type) -> type:
    """Check that a class is a component and return it.

    Raises:
        ValueError: If the class is not derived from an interface.
    """
    if not issubclass(component, COMPONENTS):
        names = ", ".join(interface.__name__ for interface in COMPONENTS)
        target = f"{component.__module__}.{component.__name__}"
        raise ValueError(f"_target_ {target} must be derived from one of {names}")
    return component


def check_arguments(component: type, arguments: Mapping[str, Any]) -> None:
    """Check arguments against the constructor's names and annotations.

    Raises:
        ValueError: If arguments are of another type, unknown or missing; names each.
    """
    hints = get_type_hints(component.__init__)  # type: ignore[misc]
    parameters = inspect.signature(component).parameters
    refuse_all(_list_wrong(component.__name__, parameters, hints, arguments))


def _list_wrong(
    component: str,
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> Iterator[str]:
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, value in arguments.items():
        if name not in parameters and not takes_any:
            known = [other for other in parameters if other != "self"]
            hint = suggest(name, known) or f"; it takes {', '.join(known) or 'nothing'}"
            yield f"{component} takes no {name}{hint}"
            continue
        try:
            # Of a list or a mapping, all items: by default, the first alone is checked.
            check_type(
                value,
                hints.get(name, Any),
                collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS,
            )
        except TypeCheckError:
            wanted = _name_type(parameters[name].annotation)
            yield f"{name} of {component} must be {wanted}, got {value!r}"
    for name, parameter in parameters.items():
        is_named = parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if is_named and parameter.default is parameter.empty and name not in arguments:
            yield f"{component} needs {name}, which its config must set"


def _name_type(annotation: Any) -> str:
    if get_origin(annotation) is Union:  # of a literal, such as int | Literal["auto"]
        return " or ".join(map(_name_type, get_args(annotation)))
    if get_origin(annotation) is Literal:
        return " or ".join(map(str, get_args(annotation)))
    return str(getattr(annotation, "__name__", annotation))


def check_shortcuts(config: Mapping[str, Any], task: str) -> None:
    """Reject `query` and `submission` for tasks that do not use them.

    Raises:
        ValueError: If one is given.
    """
    for name in ("query", "submission"):
        if config[name] is not None and name not in config["task"]:
            raise ValueError(f"task={task} takes no {name}, got {config[name]!r}")


class Builder:
    """Instantiates configs recursively; in one process equal configs become one object.

    The jobs of a sweep therefore share models, and a reranker with the run's backbone uses the same
    object. Models are wrapped by the cache.

    Args:
        trusted: Packages allowed in a `_target_`.
        cache: Cache of model outputs.

    Attributes:
        shared: Results shared by the jobs of a sweep in this process.
    """

    def __init__(self, trusted: list[str], cache: "OutputCache") -> None:
        self.trusted = trusted
        self.cache = cache
        self.shared = SharedResults()
        self._built: dict[str, Any] = {}
        self._used: set[str] = set()

    def build(self, config: Any, place: str = "") -> Any:
        """Instantiate every mapping with a `_target_`.

        Args:
            config: The config.
            place: Keys that lead to it from the outermost component. Indexes hold what they were
                built from, so that equal ones at different places are different objects.

        Raises:
            ValueError: If a `_target_` is not a component of a trusted package, or its arguments
                are invalid.
        """
        if isinstance(config, list):
            return [self.build(item, f"{place}/{i}") for i, item in enumerate(config)]
        if not isinstance(config, dict):
            return config
        if "_target_" not in config:
            return {key: self.build(value, f"{place}/{key}") for key, value in config.items()}
        identity = json.dumps(config, sort_keys=True, default=str)
        # The parts of what is built already are in use as well.
        parts = {
            key: self.build(value, f"{place}/{key}")
            for key, value in config.items()
            if key != "_target_"
        }
        if issubclass(self.find_class(config["_target_"]), Index):
            identity += place
        if identity not in self._built:
            self._built[identity] = self._instantiate(config["_target_"], parts)
        self._used.add(identity)
        return self._built[identity]

    def collect_errors(self, config: Any, errors: list[Exception]) -> None:
        """Instantiate a config as far as possible, and append the errors to `errors`."""
        n_before = len(errors)
        for part in config.values() if isinstance(config, dict) else config:
            if isinstance(part, dict | list):
                self.collect_errors(part, errors)
        if len(errors) == n_before:  # else its parts are what is wrong
            try:
                self.build(config)
            except Exception as error:
                errors.append(error)

    def find_class(self, target: str) -> type:
        """Return the class of a `_target_`.

        Raises:
            ValueError: If it does not exist or is not a component of a trusted package.
        """
        check_package(target, self.trusted)
        return check_component(import_class(target))

    def release_unused(self) -> None:
        """Drop objects that were not used since the last call."""
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
