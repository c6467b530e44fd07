"""Quoting of overrides for Hydra's grammar and for shells."""

import re
import shlex
from collections.abc import Sequence

from newsimg.interfaces import RunInfo

QUOTED = re.compile(r"""(["'])(?:(?!\1)[^\\]|\\.)*\1""", re.DOTALL)
PLAIN = re.compile(r"[A-Za-z_./][\w./+%@-]*", re.ASCII)  # taken literally by Hydra
OVERRIDE = re.compile(
    r"(?P<sign>[+~]*)(?P<name>[^@=]+)(?:@(?P<package>[^=]+))?(?P<value>=.*)?", re.DOTALL
)
# Overrides of a single run.
OF_ONE_RUN = ("hydra.run.dir", "query", "submission", "resume")


def quote_headline(argument: str) -> str:
    """Quote the headline of `query=...` for Hydra's grammar.

    A headline that is already quoted, or null, is returned unchanged.
    """
    key, _, text = argument.partition("=")
    if key != "query" or text in ("", "null") or QUOTED.fullmatch(text):
        return argument
    return f"{key}={quote_text(text)}"


def quote_text(text: str) -> str:
    """Quote a text for Hydra's grammar, so that it is taken literally."""
    # In Hydra's quotes a backslash is special only before a quote or "${".
    escaped = re.sub(
        r"(\\*)(\"|$)", lambda found: found[1] * 2 + found[2].replace('"', '\\"'), text
    )
    escaped = escaped.replace("${", "\\${")
    return f'"{escaped}"'


def quote_value(text: str) -> str:
    """Return a text as the value of an override, quoted if necessary."""
    return text if PLAIN.fullmatch(text) else quote_text(text)


def quote_override(name: str, text: str) -> str:
    """Return the override `name=text`, quoted if necessary."""
    return f"{name}={quote_value(text)}"


def write_command(
    program: str, info: RunInfo, settings: Sequence[str], without: Sequence[str] = ()
) -> list[str]:
    """Return a command that keeps the overrides of a run, each word quoted for a shell.

    Args:
        program: Name of the program, with flags.
        info: Description of the run.
        settings: Overrides of the command, which replace those of the run.
        without: Groups and keys whose overrides are dropped.
    """
    dropped = [*OF_ONE_RUN, *without, *(setting.partition("=")[0] for setting in settings)]
    kept = [text for text in info.overrides if not is_about(text, *dropped)]
    return [*program.split(), *map(shlex.quote, [*info.flags, *kept, *settings])]


def is_about(override: str, *paths: str) -> bool:
    """Return whether an override sets one of `paths` or a key below it."""
    found = OVERRIDE.fullmatch(override)
    target = (found["package"] or found["name"]) if found else ""
    return any(target == path or target.startswith(f"{path}.") for path in paths)
