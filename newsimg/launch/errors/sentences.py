"""Error messages in one sentence, with what to type."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from newsimg.launch.errors.origin import find_config_file
from newsimg.storage.files import CONF_DIR, FULL
from newsimg.storage.text.suggest import check_choice, find_close

MAX_KEYS = 12  # keys listed in a sentence
SKIPPED = ("full_key: ", "object_type=", "reference_type=", "See https://", "Config search path")


def explain(error: BaseException) -> str:
    """Return a sentence that describes an error and, if known, what to type instead."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return explain(error.__cause__)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return _explain_option(error.missing_cfg_file, error.options)
    if isinstance(error, OverrideParseException):
        return _explain_syntax(error)
    if isinstance(error, ConfigCompositionException) and _is_unknown_key(error.__cause__):
        return _explain_key(error.__cause__)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _shorten(error)
    if isinstance(error, yaml.YAMLError):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        return _explain_file(error)
    if isinstance(error, UnicodeDecodeError) and (path := find_config_file(error)):
        byte = error.object[error.start]
        return f"{path} must be in UTF-8, got byte 0x{byte:02x} at position {error.start}"
    return str(error).strip()


def _explain_option(missing: str, options: Iterable[str]) -> str:
    group, _, option = missing.rpartition("/")
    try:
        check_choice(group, option, sorted(options))
    except ValueError as error:
        return str(error)
    return f"{group}={option} cannot be found"


def _explain_syntax(error: OverrideParseException) -> str:
    if "=" not in error.override and not error.override.startswith("~"):
        return f"an override must be name=value, got {error.override!r}"
    reason = re.sub(r"^Error .*\n", "", str(error)).partition("\n")[0]
    return (
        f"{error.override!r} cannot be read ({reason}); a value with commas, brackets or equals "
        "signs goes into quotes: 'name=\"a, b\"'"
    )


def _is_unknown_key(error: BaseException | None) -> bool:
    return isinstance(error, KeyError | AttributeError) and hasattr(error, "parent_node")


def _explain_key(error: Any) -> str:
    """Return the known keys next to an unknown one, and the closest."""
    full_key, parent = str(error.full_key), error.parent_node
    place, _, key = full_key.rpartition(".")
    keys = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
    inside = f"{place}." if place else ""
    if close := find_close(key, keys):
        return f"there is no {full_key}; did you mean {inside}{close}?"
    if place:
        group = place.replace(".", "/")
        others = [f"{group}={option}" for option in _find_options_with(group, key)]
        if others:
            return f"there is no {full_key} here; {', '.join(others)} would have it"
        if isinstance(parent, DictConfig) and not keys:
            return f"{place} is empty: +{full_key}=VALUE adds {key} to it"
        listed = f": {place} has {', '.join(keys)}" if 0 < len(keys) <= MAX_KEYS else ""
        return f"there is no {full_key}{listed}"
    deeper = [f"{name}.{key}" for name in keys if _has_key(parent, name, key)]
    hint = f"; did you mean {' or '.join(deeper)}?" if 0 < len(deeper) <= MAX_KEYS else ""
    return f"there is no {full_key}{hint or '; newsimg --cfg job shows what there is'}"


def _has_key(parent: DictConfig, name: str, key: str) -> bool:
    node = parent._get_node(name)
    return isinstance(node, DictConfig) and not node._is_interpolation() and key in node


def _find_options_with(group: str, key: str) -> list[str]:
    """Return the options of a group that have `key`."""
    folder: Path = CONF_DIR / group
    return [
        path.stem
        for path in sorted(folder.glob("*.yaml"))
        if key in (yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    ]


def _shorten(error: BaseException) -> str:
    """Return the message of Hydra or OmegaConf in one line, with its key."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith((*SKIPPED, "provider="))]
    if isinstance(error.__cause__, OmegaConfBaseException):
        kept.append(_shorten(error.__cause__))
    key = getattr(error, "full_key", None)
    text = "; ".join(dict.fromkeys(kept))
    return (f"{key}: " if key else "") + re.sub(r"([.?]);", r"\1", text)


def _explain_file(error: OSError) -> str:
    if error.strerror is None or not str(error).startswith("[Errno"):
        return str(error).strip()
    hint = ""
    if error.errno in FULL and error.strerror == os.strerror(error.errno):
        hint = (
            "; folder=DIR writes runs to another disk, NEWSIMG_CACHE=DIR moves the cache, "
            "TMPDIR=DIR temporary files"
        )
    if error.filename is None:
        return f"{error.strerror}{hint}"
    return f"{error.filename}: {error.strerror}{hint}"
