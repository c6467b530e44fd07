"""The resolvers of configs, and access to choices and overrides of the command line."""

from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from newsimg.launch.errors.trust import guard_configs, read_variable
from newsimg.launch.gpus import pin_gpu
from newsimg.storage.files import PACKAGE_DIR
from newsimg.tracking.params import JOB_TAG

_swept: list[str] = []  # per process; Hydra does not pass a job the values of other jobs


def register_resolvers() -> None:
    """Register the resolvers with the prefix `newsimg.`, and the checks of what configs may do."""
    resolvers: dict[str, Callable[..., Any]] = {
        "package": lambda path: str(PACKAGE_DIR / path),
        "pin_gpu": pin_gpu,  # Hydra resolves a job's environment before the job starts
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(f"newsimg.{name}", resolver, replace=True)
    OmegaConf.register_new_resolver("oc.env", read_variable, replace=True)
    guard_configs()


def is_sweeping() -> bool:
    """Return whether this is a job of a sweep; False outside of Hydra."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def find_choice(group: str) -> str:
    """Return the chosen option of a group; empty outside of Hydra."""
    return str(HydraConfig.get().runtime.choices[group]) if HydraConfig.initialized() else ""


def number_job() -> dict[str, str]:
    """Return the tag with the job's number; empty outside of sweeps."""
    return {JOB_TAG: str(HydraConfig.get().job.num)} if is_sweeping() else {}


def list_swept(hydra_config: DictConfig) -> list[str]:
    """Return the names of the swept overrides."""
    by_file = hydra_config.sweeper.get("params") or {}
    texts = [f"{name}={value}" for name, value in by_file.items()]
    # Of duplicate overrides the last one, from the command line, takes precedence.
    overrides = {_name(o): o for o in _parse([*texts, *hydra_config.overrides.task])}
    return [name for name, override in overrides.items() if override.is_sweep_override()]


def note_swept(names: Sequence[str]) -> None:
    """Store the names of the swept overrides in a job's process."""
    _swept[:] = names


def find_swept() -> dict[str, str]:
    """Return the values of the swept overrides in this job."""
    if not is_sweeping():
        return {}
    values = {_name(o): o.get_value_string() for o in _parse(HydraConfig.get().overrides.task)}
    return {name: values[name] for name in _swept if name in values}


def list_flags() -> list[str]:
    """Return the flags that are needed to compose the same config."""
    added = [
        source.path
        for source in HydraConfig.get().runtime.config_sources
        if source.provider == "command-line"
    ]
    return [flag for path in added for flag in ("--config-dir", path)]


def list_overrides(group: str) -> list[str]:
    """Return the overrides of a group: its option and its values."""
    config = HydraConfig.get()
    prefixes = (f"{group}.", f"+{group}.", f"++{group}.")
    values = [text for text in config.overrides.task if text.startswith(prefixes)]
    return [f"{group}={config.runtime.choices[group]}", *values]


def resolve_what_can_be(config: DictConfig) -> dict[str, Any]:
    """Return the values of a config; missing and unresolvable ones are left as written."""
    values: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    for key, written in values.items():
        try:
            value = config[key]
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
            values[key] = value
        except OmegaConfBaseException:
            if isinstance(written, dict):
                values[key] = resolve_what_can_be(config[key])
    return values


def keep_own_weight(config: DictConfig) -> None:
    """Restore the weight of the run's reranker if another reranker has replaced it.

    A reranker sets its default normalisation by overriding the group `weight`. In Hydra this
    applies to the whole config, even if the reranker is added to a task:
    `+reranker@task.rerankers.nnn=nnn`. The weight is therefore composed without such rerankers.
    """
    choices: Any = HydraConfig.get().runtime.choices
    beside = [
        str(key)
        for key in choices
        if str(key).startswith("reranker@") and not str(key).startswith("reranker@reranker.")
    ]
    if not beside:
        return
    places = [key.partition("@")[2] for key in beside]
    typed = _parse(HydraConfig.get().overrides.task)
    targets = [override.package or override.key_or_group for override in typed]
    kept = [
        str(override.input_line)
        for override, target in zip(typed, targets, strict=True)
        if not any(target == place or target.startswith(f"{place}.") for place in places)
    ]
    unwritten = [
        f"~{key}" for key, place in zip(beside, places, strict=True) if place not in targets
    ]
    composed = _compose([*kept, *unwritten])
    with read_write(choices), open_dict(config):
        choices["weight"] = composed.hydra.runtime.choices["weight"]
        config["weight"] = composed["weight"]


def find_own_weights(place: str) -> dict[str, Any]:
    """Return the default weights of the rerankers at `place`, by name."""
    choices = HydraConfig.get().runtime.choices
    options = {
        str(key).removeprefix(f"reranker@{place}."): str(option)
        for key, option in choices.items()
        if str(key).startswith(f"reranker@{place}.")
    }
    return {
        name: OmegaConf.to_container(_compose([f"reranker={option}"])["weight"], resolve=True)
        for name, option in options.items()
        if "." not in name
    }


def _parse(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def _name(override: Override) -> str:
    """Return the key of an override without its sign."""
    package = override.package
    return override.key_or_group + (f"@{package}" if package else "")


def _compose(overrides: list[str]) -> DictConfig:
    """Compose the config with other overrides, without changing the run's config."""
    return GlobalHydra.instance().hydra.compose_config(  # type: ignore[union-attr]
        config_name=HydraConfig.get().job.config_name,
        overrides=overrides,
        run_mode=RunMode.RUN,
        from_shell=False,
    )
