"""What Hydra has to be told: a sweeper of our own, and presets that bear the names of plugins."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.plugin import Plugin
from omegaconf import DictConfig

OWN_MODULE = "hydra_plugins.newsimg"  # Hydra makes plugins of no other package


def register_plugin(plugin: type[Plugin]) -> None:
    """Let configs name a plugin of newsimg's own as `hydra_plugins.newsimg.<class>`."""
    Plugins.instance().class_name_to_class[f"{OWN_MODULE}.{plugin.__name__}"] = plugin


def rename_schemas(conf_dir: Path) -> None:
    """Let our presets have the names of the plugins that they set up.

    Hydra warns of a file named as a plugin's own schema, and merges the two by itself. The schema
    `hydra/launcher: joblib` becomes `hydra/launcher_schema: joblib`, which our preset begins with.
    """
    Plugins.instance()  # imports the plugins, which store their schemas
    groups = ConfigStore.instance().repo["hydra"]
    for group in ("launcher", "sweeper"):
        for path in sorted((conf_dir / "hydra" / group).glob("*.yaml")):
            if path.name in groups[group]:
                schemas = groups.setdefault(f"{group}_schema", {})
                schemas[path.name] = groups[group].pop(path.name)


def check_plugins(hydra_config: DictConfig) -> None:
    """Refuse a launcher or sweeper that is not installed.

    Raises:
        ImportError: If there is one; the first word of its name is the extra that brings it.
    """
    for group in ("launcher", "sweeper"):
        name = hydra_config.runtime.choices[f"hydra/{group}"]
        target = hydra_config[group].get("_target_")
        if target not in Plugins.instance().class_name_to_class:
            extra = str(name).partition("_")[0]
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
