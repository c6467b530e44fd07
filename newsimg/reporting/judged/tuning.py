"""The commands that choose the weight by what people answered."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import yaml

from newsimg.reporting.sweeps.runs import read_config

# Overrides that the command replaces, or that are of task=infer alone.
DROPPED = re.compile(
    r"(task|rule|query|experiment|submission|resume|objective|tags)\b"
    r"|[^=]*@task\.|weight\.value=|data\.ratings="
)
SETTINGS = (
    "data.ratings=ratings.csv",
    "task.measure=least_mean_rating",
    "task.report_split=null",  # only the headlines of the runs were judged
    "rule=bagged",
)


def list_tuning(folders: Mapping[str, Path]) -> dict[str, str]:
    """Return for each run that reranks the command that chooses its weight by a judging's ratings.

    The commands keep the runs' overrides, quoted for bash and zsh. They choose the weight and
    report its gain by cross-validation. Of runs with the same command only the first is listed.

    Args:
        folders: Name -> folder of the run.
    """
    commands: dict[str, str] = {}
    for name, folder in folders.items():
        _, choices, _ = read_config(folder, folder)
        command = write_tuning(folder)
        if choices.get("reranker") != "identity" and command not in commands.values():
            commands[name] = command
    return commands


def write_tuning(folder: Path) -> str:
    """Return the command of a run; see `list_tuning`."""
    path = folder / ".hydra" / "overrides.yaml"
    overrides = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    kept = [text for text in overrides or () if not DROPPED.match(text.lstrip("+~"))]
    return shlex.join(["newsimg", "task=tune", *kept, *SETTINGS])
