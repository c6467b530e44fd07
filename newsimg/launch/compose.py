"""Compose a config outside of Hydra's own entry point, and leave Hydra as it was."""

from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.version import VersionBase
from omegaconf import OmegaConf, open_dict

from newsimg.launch.resolvers import register_resolvers
from newsimg.storage.files import CONF_DIR


def compose_config(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose and resolve the config of one run.

    A Hydra application that calls this finds its own config, choices and version as they were.

    Args:
        overrides: As on the command line, e.g. "reranker=nnn".

    Raises:
        hydra.errors.HydraException: If an override names no group, option or value.
        omegaconf.errors.OmegaConfBaseException: If a value cannot be resolved or is missing.
    """
    register_resolvers()
    current, versions = HydraConfig.instance(), VersionBase.instance()
    running = GlobalHydra.instance().hydra
    outer = current.cfg, versions.version_base
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_DIR), job_name="newsimg", version_base="1.3"):
            cfg = compose("config", list(overrides), return_hydra_config=True)
            current.set_config(cfg)  # some values follow from what was chosen
            with open_dict(cfg):
                del cfg["hydra"]
            return OmegaConf.to_container(  # type: ignore[return-value]
                cfg, resolve=True, throw_on_missing=True
            )
    finally:
        current.cfg, versions.version_base = outer
        GlobalHydra.instance().hydra = running
