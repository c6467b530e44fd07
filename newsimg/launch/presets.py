"""What Hydra has to be told: plugins of newsimg's own, and which extra brings those of others."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.plugin import Plugin
from omegaconf import DictConfig

OWN_MODULE = "hydra_plugins.newsimg"
LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm")  # of plugins; our presets extend them
EXTRAS = {"slurm": "submitit"}  # of presets whose names do not begin with their extra's


def register_plugin(plugin: type[Plugin]) -> None:
    """Let configs name a plugin of newsimg's own as `hydra_plugins.newsimg.<class>`.

    `Plugins.register` would enter it by the name of its module, and Hydra refuses to instantiate
    what is not of the package `hydra_plugins`.
    """
    Plugins.instance().class_name_to_class[f"{OWN_MODULE}.{plugin.__name__}"] = plugin


def register_missing_launchers() -> None:
    """Let presets be composed whose plugin is not installed; `check_plugins` names the extra."""
    Plugins.instance()  # imports the installed plugins, which store their options
    store = ConfigStore.instance()
    installed = store.list("hydra/launcher")
    for name in LAUNCHERS:
        if f"{name}.yaml" not in installed:
            store.store(group="hydra/launcher", name=name, node={})


def check_plugins(hydra_config: DictConfig) -> None:
    """Refuse a launcher or sweeper that is not installed.

    Raises:
        ImportError: If there is one; names the extra that brings it.
    """
    for group in ("launcher", "sweeper"):
        name = hydra_config.runtime.choices[f"hydra/{group}"]
        target = hydra_config[group].get("_target_")
        if target not in Plugins.instance().class_name_to_class:
            extra = EXTRAS.get(name, str(name).partition("_")[0])
            raise ImportError(
                f"hydra/{group}={name} is not installed: pip install newsimg[{extra}]"
            )


@contextmanager
def fatal() -> Iterator[None]:
    """Let an error end the program; Hydra makes a warning of what a callback raises."""
    try:
        yield
    except Exception as error:
        raise SystemExit(1) from error  # whose cause is printed at the end


def was_refused(error: BaseException | None) -> bool:
    """Tell whether a sweeper or a config has refused a sweep; Hydra says so and then exits."""
    return any(isinstance(e, HydraException) for e in (error, getattr(error, "__context__", None)))
