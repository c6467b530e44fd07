"""The two resolvers of configs, and what was chosen and overridden on the command line."""

from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from newsimg.launch.gpus import pin_gpu
from newsimg.storage.files import PACKAGE_DIR
from newsimg.tracking.tags import JOB_TAG

_swept: list[str] = []  # in a job's process; Hydra tells a job nothing of the others of its sweep


def register_resolvers() -> None:
    """Register them under `newsimg.`, so that those of another Hydra application are left alone."""
    resolvers: dict[str, Callable[..., Any]] = {
        "package": lambda path: str(PACKAGE_DIR / path),
        "pin_gpu": pin_gpu,  # Hydra resolves a job's environment before the job begins
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(f"newsimg.{name}", resolver, replace=True)


def is_sweeping() -> bool:
    """Tell whether this is a job of a sweep; outside of Hydra nothing is."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def find_choice(group: str) -> str:
    """Return the option that is chosen in a group; outside of Hydra there is none."""
    return str(HydraConfig.get().runtime.choices[group]) if HydraConfig.initialized() else ""


def number_job() -> dict[str, str]:
    """Return the tag that tells which job of its sweep a run is; none outside of sweeps."""
    return {JOB_TAG: str(HydraConfig.get().job.num)} if is_sweeping() else {}


def list_swept(hydra_config: DictConfig) -> list[str]:
    """Return the overrides that a sweep has several values of, from its config of Hydra."""
    by_file = hydra_config.sweeper.get("params") or {}
    texts = [f"{name}={value}" for name, value in by_file.items()]
    # Of an override that is given twice the one typed counts, which is the last.
    overrides = {_name(o): o for o in _parse([*texts, *hydra_config.overrides.task])}
    return [name for name, override in overrides.items() if override.is_sweep_override()]


def note_swept(names: Sequence[str]) -> None:
    """Remember in a job's process what its sweep has several values of."""
    _swept[:] = names


def find_swept() -> dict[str, str]:
    """Return the values that tell this job of a sweep from others: override -> value."""
    if not is_sweeping():
        return {}
    values = {_name(o): o.get_value_string() for o in _parse(HydraConfig.get().overrides.task)}
    return {name: values[name] for name in _swept if name in values}


def list_flags() -> list[str]:
    """Return what the command line needs besides overrides to compose the same config."""
    added = [
        source.path
        for source in HydraConfig.get().runtime.config_sources
        if source.provider == "command-line"
    ]
    return [flag for path in added for flag in ("--config-dir", path)]


def list_overrides(group: str) -> list[str]:
    """Return the overrides that choose a group's option and set its values."""
    config = HydraConfig.get()
    prefixes = (f"{group}.", f"+{group}.", f"++{group}.")
    values = [text for text in config.overrides.task if text.startswith(prefixes)]
    return [f"{group}={config.runtime.choices[group]}", *values]


def resolve_what_can_be(config: DictConfig) -> dict[str, Any]:
    """Return a config's values; what is missing or cannot be resolved stays as it is written."""
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
    """Give a run its own reranker's weight, if a reranker beside it has replaced that.

    A reranker says which normalisation suits it by overriding the group `weight`. Hydra knows no
    narrower place for that than the whole config, also where the reranker was added to those of
    a task: `+reranker@task.rerankers.nnn=nnn`. So the weight is what it is without those.
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
    """Return the weights that rerankers bring along, by the names they have at `place`."""
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
    """Return what an override sets, without the sign that adds or deletes it."""
    package = override.package
    return override.key_or_group + (f"@{package}" if package else "")


def _compose(overrides: list[str]) -> DictConfig:
    """Compose the config again with other overrides; nothing of the run's own changes."""
    return GlobalHydra.instance().hydra.compose_config(  # type: ignore[union-attr]
        config_name=HydraConfig.get().job.config_name,
        overrides=overrides,
        run_mode=RunMode.RUN,
        from_shell=False,
    )
