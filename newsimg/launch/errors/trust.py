"""What only the command line may say, so that a config from elsewhere runs no code; passwords.

Hydra instantiates callbacks, launchers, sweepers and log handlers itself, before a job starts, and
knows no list of trusted packages. It also writes a config before a component can refuse a value.
Each composed config is therefore checked before Hydra uses it.
"""

import os
import re
from collections.abc import Iterator, Mapping
from functools import wraps
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from newsimg.tracking.uri import hide_password

TRUSTED = ["newsimg"]
# Of `_target_` below hydra: plugins are instantiated by name only, callbacks by anything.
PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.", "hydra.experimental.callbacks.")
CALLBACK = "newsimg.launch.sweep_callback.SweepCallback"
LOGGING = {
    *("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler"),
    *("logging.Formatter", "logging.handlers.RotatingFileHandler", "rich.logging.RichHandler"),
    *("colorlog.ColoredFormatter", "ext://sys.stdout", "ext://sys.stderr"),
}
LOG_FILE = re.compile(r"\$\{hydra\.runtime\.output_dir\}/(?!.*\.\.).+")
SHELL = ("setup", "srun_args", "python")  # of a launcher: put into the script of a queue
VARIABLES = re.compile(r"(LD|DYLD|PYTHON|HYDRA)\w*|PATH")  # they choose what programs load
SAME = re.compile(r"\$\{[\w.]*trust_remote_code\}")  # the value of another model
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL", re.IGNORECASE)
LOGIN = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*)://(?P<login>[^/\s@]+(@[^/\s@]+)*)@")
QUERY = re.compile(r"(?P<name>[?&][\w-]*(key|token|secret|passw|signature)[\w-]*)=[^&\s]*", re.I)
INSTEAD = {
    "tracking.uri": "; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the complete "
    "URI in MLFLOW_TRACKING_URI",
    "task.database": "; set PGPASSWORD, or use ~/.pgpass",
}
REMOTE = "trust_remote_code"


def guard_configs() -> None:
    """Let Hydra check every config that it composes in this process."""
    compose = ConfigLoaderImpl.load_configuration
    if hasattr(compose, "__wrapped__"):
        return

    @wraps(compose)
    def compose_and_check(*args: Any, **kwargs: Any) -> DictConfig:
        config = compose(*args, **kwargs)
        check_trust(config)
        return config

    ConfigLoaderImpl.load_configuration = compose_and_check  # type: ignore[method-assign]


def check_trust(config: DictConfig) -> None:
    """Check that a composed config runs no code but newsimg's and that of trusted packages.

    Args:
        config: The config with Hydra's own part, whose list of overrides is what was typed.

    Raises:
        ValueError: If a config file sets what only the command line may, or a value has a password;
            names the key.
    """
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    hydra = values.pop("hydra")
    typed = [*hydra["overrides"]["task"], *hydra["overrides"]["hydra"]]
    for key, value in [*_walk(values), *_walk(hydra, "hydra.")]:
        check_login(key, value)
    for key, value in _find_decisions(values, hydra):
        if not _is_typed(key, typed):
            raise ValueError(
                f"{key} runs code, so no config file may set it: if you trust {value!r}, give "
                f"{key}=... on the command line"
            )
    packages = values.get("trusted_packages", TRUSTED)
    for key, target in _find_targets(hydra):
        if target != CALLBACK and not target.startswith(PLUGINS):
            package = target.split(".")[0]
            if package == TRUSTED[0] or package not in packages:
                raise ValueError(
                    f"{key} must be a plugin of Hydra or of a trusted package, got {target}; add "
                    "its package to trusted_packages on the command line if you trust it"
                )
    for key, name in _find_logging(hydra):
        if name not in LOGGING:
            raise ValueError(f"{key} must be one of {', '.join(sorted(LOGGING))}, got {name!r}")


def check_login(key: str, value: Any) -> None:
    """Check that a value has no URL with a password or a key; the message does not repeat it.

    Raises:
        ValueError: If it has one, or a login before the host of an HTTP server: it may be a token.
    """
    text = value if isinstance(value, str) and "://" in value else ""
    logins = LOGIN.finditer(text)
    if any(
        ":" in url["login"] or url["scheme"].endswith(("http", "https")) for url in logins
    ) or QUERY.search(text):
        hidden = QUERY.sub(r"\g<name>=***", LOGIN.sub(r"\g<scheme>://***@", text))
        raise ValueError(
            f"{key} must not contain a password, got {hidden}: it would be written to the run's "
            f"config{INSTEAD.get(key, '')}"
        )


def read_variable(name: str, *default: str | None) -> str | None:
    """Return a variable of the environment, as OmegaConf's `oc.env` does, unless it is a secret.

    Raises:
        ValueError: If the name or the value is that of a key, a token or a password: the values of
            a config are written to files and to the tracking store.
    """
    value = os.environ.get(name, "")
    if SECRET.search(name) or hide_password(value) != value:
        raise ValueError(
            f"a config must not contain ${{oc.env:{name}}}, as its values are written to "
            "config.yaml and to the tracking store; keys and passwords are read from the "
            "environment where they are needed"
        )
    found: str | None = oc.env(name, *default)
    return found


def _find_decisions(
    values: Mapping[str, Any], hydra: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield the keys that decide which code is run, and their values, if they are set."""
    if values.get("trusted_packages", TRUSTED) != TRUSTED:
        yield "trusted_packages", values["trusted_packages"]
    for key, value in _walk(values):
        if key.rpartition(".")[2] == REMOTE and value and not SAME.fullmatch(str(value)):
            yield key, value
    for key in SHELL:
        if hydra["launcher"] and hydra["launcher"].get(key):
            yield f"hydra.launcher.{key}", hydra["launcher"][key]
    for name, value in (hydra["job"]["env_set"] or {}).items():
        if VARIABLES.fullmatch(name):
            yield f"hydra.job.env_set.{name}", value
    params = (hydra["sweeper"] or {}).get("params")
    for key, value in params.items() if isinstance(params, dict) else ():
        name = key.lstrip("+~")
        if name.startswith(("trusted_packages", "hydra")) or REMOTE in f"{name}{value}":
            yield name, value


def _find_targets(hydra: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in _walk(hydra, "hydra."):
        if key.rpartition(".")[2] == "_target_" and not key.startswith("hydra.overrides"):
            yield key, str(value)


def _find_logging(hydra: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the configs of logging name: classes, factories and objects.

    Raises:
        ValueError: If a file is not in the run's folder.
    """
    for group in ("job_logging", "hydra_logging"):
        for key, value in _walk(hydra[group] or {}, f"hydra.{group}."):
            if key.endswith(".filename") and not LOG_FILE.fullmatch(str(value)):
                raise ValueError(
                    f"{key} must be a file in ${{hydra.runtime.output_dir}}, got {value!r}"
                )
            is_name = key.rpartition(".")[2] in ("class", "()")
            if is_name or re.match(r"(ext|cfg)://", str(value)):
                yield key, str(value)


def _walk(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield key and value of every leaf; a key has its parts separated by dots."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from _walk(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_typed(key: str, typed: list[str]) -> bool:
    """Return whether an override gives a key, or a mapping that it is in."""
    for override in OverridesParser.create().parse_overrides(typed):
        name = override.key_or_group
        if key == name or (key.startswith(f"{name}.") and isinstance(override.value(), dict)):
            return True
    return False
