"""What configs may ask for in ${...}: where the package is, and what was chosen and typed."""

from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from newsimg.launch.gpus import pin_gpu
from newsimg.storage.files import PACKAGE_DIR


def register_resolvers() -> None:
    """Make them known."""
    resolvers: dict[str, Callable[..., Any]] = {
        "package": lambda path: str(PACKAGE_DIR / path),
        "merge": OmegaConf.merge,
        "single": lambda: not is_sweeping(),
        "pin_gpu": pin_gpu,
        "chosen": find_choice,
        "typed": find_typed,
        "objective": find_objective,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def is_sweeping() -> bool:
    """Tell whether this is a job of a sweep; outside of Hydra nothing is."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def find_choice(group: str) -> str:
    """Return the option that is chosen in a group; outside of Hydra there is none."""
    return str(HydraConfig.get().runtime.choices[group]) if HydraConfig.initialized() else ""


def find_objective() -> str | None:
    """Return what a sweep of the chosen task looks for, if nothing else is configured."""
    return "reranked/hits_at_1" if find_choice("task") in ("evaluate", "") else None


def find_typed(part: str) -> list[str]:
    """Return a part of the command line.

    Args:
        part: "overrides", the `flags` that it takes to compose them, or a group, for what chooses
            its option and overrides its values.
    """
    if not HydraConfig.initialized():
        return []
    config = HydraConfig.get()
    if part == "overrides":
        return list(config.overrides.task)
    if part in config.runtime.choices:
        own = (f"{part}.", f"+{part}.", f"++{part}.")
        values = [text for text in config.overrides.task if text.startswith(own)]
        return [f"{part}={config.runtime.choices[part]}", *values]
    added = [s.path for s in config.runtime.config_sources if s.provider == "command-line"]
    return [flag for path in added for flag in ("--config-dir", path)]
