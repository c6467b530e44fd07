"""Composition of configs outside of Hydra's entry point, and resolution of configs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from newsimg.launch.errors.checks import resolve
from newsimg.launch.errors.sentences import explain
from newsimg.launch.resolvers import (
    find_own_weights,
    is_sweeping,
    keep_own_weight,
    list_flags,
    list_overrides,
    register_resolvers,
)
from newsimg.storage.files import CONF_DIR
from newsimg.tracking.params import flatten

SETTING = ("backbone", "index", "reranker", "weight", "top_k")  # what a confidence depends on
INDEPENDENT = ("batch_size", "device", "split", "pool", "subset")  # of their values, these do not


def compose_config(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose and resolve the config of one run.

    The state of a calling Hydra application is restored.

    Args:
        overrides: As on the command line, e.g. "reranker=nnn".

    Raises:
        ValueError: If an override names no group, option or key, or a value cannot be resolved or
            is missing.
    """
    register_resolvers()
    current, versions = HydraConfig.instance(), VersionBase.instance()
    running = GlobalHydra.instance().hydra
    outer = current.cfg, versions.version_base
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_DIR), job_name="newsimg", version_base="1.3"):
            cfg = compose("config", list(overrides), return_hydra_config=True)
            current.set_config(cfg)  # some values depend on the choices
            with open_dict(cfg):
                del cfg["hydra"]
            return resolve_config(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error)) from error
    finally:
        current.cfg, versions.version_base = outer
        GlobalHydra.instance().hydra = running


def resolve_config(cfg: DictConfig) -> dict[str, Any]:
    """Return all values of a config, with those that its task leaves to the command line.

    Raises:
        ValueError: If a mandatory value is missing.
        OmegaConfBaseException: If a value cannot be resolved.
    """
    keep_own_weight(cfg)
    config = resolve(cfg)
    known: dict[str, Callable[[], object]] = {
        "report": lambda: not is_sweeping(),
        "own_weights": lambda: find_own_weights("task.rerankers"),
        "backbone_overrides": lambda: list_overrides("backbone"),
        "flags": list_flags,
        "setting": lambda: describe_setting(config),
    }
    config["task"] |= {
        name: find() for name, find in known.items() if config["task"].get(name, "") is None
    }
    return config


def describe_setting(config: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the config values that a confidence depends on; None if the task uses none."""
    if config["task"].get("confidence_path", "") is None:
        return None
    values = flatten({name: config[name] for name in SETTING})
    return {
        name: str(value)
        for name, value in values.items()
        if name.rpartition(".")[2] not in INDEPENDENT
    }
