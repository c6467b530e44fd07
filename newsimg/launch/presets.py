"""Registration of Hydra plugins: newsimg's own, and placeholders for those not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.plugin import Plugin
from omegaconf import DictConfig

OWN_MODULE = "hydra_plugins.newsimg"
LAUNCHERS = (
    "joblib",
    "submitit_local",
    "submitit_slurm",
)  # options of plugins, extended by our presets
EXTRAS = {"slurm": "submitit"}  # presets that are not named after their extra


def register_plugin(plugin: type[Plugin]) -> None:
    """Register a plugin of newsimg as `hydra_plugins.newsimg.<class>`.

    `Plugins.register` would use the name of its module, but Hydra only instantiates classes of the
    package `hydra_plugins`.
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
    """Check that the launcher and the sweeper are installed.

    Raises:
        ImportError: If one is not; names the extra that installs it.
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
    """Exit on errors of a callback, which Hydra would turn into warnings."""
    try:
        yield
    except Exception as error:
        raise SystemExit(1) from error  # report_errors prints the cause


def was_refused(error: BaseException | None) -> bool:
    """Return whether an error of Hydra ended the sweep before its first job."""
    return any(isinstance(e, HydraException) for e in (error, getattr(error, "__context__", None)))
