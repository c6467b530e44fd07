"""Reuse of what Hydra has read and composed before in the same command.

Hydra reads every config file again for each composition, and composes the config of each job of a
sweep twice: before the first job, to validate the sweep, and when the job starts. With cached
results, this takes longer than the job itself.
"""

import copy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

MAX_KEPT = 1000  # configs, of 26 kB each


@contextmanager
def reuse_configs() -> Iterator[None]:
    """Let Hydra read each config file once inside the block, and compose the same config once.

    A file that changes meanwhile is not read again, so that all jobs of a sweep have one config.
    """
    read, compose = ConfigRepository.load_config, ConfigLoaderImpl.load_configuration
    files: dict[Any, ConfigResult | None] = {}
    composed: dict[Any, bytes] = {}

    @wraps(read)
    def read_once(repository: ConfigRepository, config_path: str) -> ConfigResult | None:
        key = (*((one.provider, one.path) for one in repository.get_sources()), config_path)
        if key not in files:
            files[key] = read(repository, config_path)
        return copy.deepcopy(files[key])  # compositions take the nodes over and change them

    @wraps(compose)
    def compose_once(
        loader: ConfigLoaderImpl,
        config_name: str | None,
        overrides: list[str],
        *args: Any,
        **kwargs: Any,
    ) -> DictConfig:
        key = config_name, *overrides, *args, *kwargs.items()
        if key in composed:
            config: DictConfig = pickle.loads(composed.pop(key))
            return config
        config = compose(loader, config_name, overrides, *args, **kwargs)
        if len(composed) < MAX_KEPT:
            composed[key] = pickle.dumps(config)
        return config

    ConfigRepository.load_config = read_once  # type: ignore[method-assign,assignment]
    ConfigLoaderImpl.load_configuration = compose_once  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        ConfigRepository.load_config = read  # type: ignore[method-assign]
        ConfigLoaderImpl.load_configuration = compose  # type: ignore[method-assign]
