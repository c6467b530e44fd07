"""Prompts and criteria in files of one's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

YAML = (".yaml", ".yml")


def read_wording(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a prompt or criteria, read from a file if they are just its `path`.

    Args:
        values: The group's values; `{"path": FILE}` for those in a file.
        key: The group's name, for messages, e.g. "prompt".

    Returns:
        The values, or the content of a YAML file, or `{"text": ...}` for another file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not UTF-8, or a YAML file does not hold a mapping.
    """
    if set(values) != {"path"}:
        return dict(values)
    path = Path(str(values["path"])).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{key}.path must be a text or YAML file, there is none at {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = yaml.safe_load(text) if path.suffix.lower() in YAML else {"text": text.strip()}
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be in UTF-8: {error.reason}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a mapping, as the yaml files of the group {key} do")
    return content
