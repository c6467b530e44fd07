"""What is typed on a command line: quoted for Hydra's grammar and for a shell."""

import re
import shlex
from collections.abc import Sequence

from newsimg.interfaces import RunInfo

QUOTED = re.compile(r"""(["'])(?:(?!\1)[^\\]|\\.)*\1""", re.DOTALL)
PLAIN = re.compile(r"[A-Za-z_./][\w./+%@-]*", re.ASCII)  # what Hydra reads as it stands
OVERRIDE = re.compile(
    r"(?P<sign>[+~]*)(?P<name>[^@=]+)(?:@(?P<package>[^=]+))?(?P<value>=.*)?", re.DOTALL
)
# What belongs to one run alone.
OF_ONE_RUN = ("hydra.run.dir", "query", "submission", "resume")


def quote_headline(argument: str) -> str:
    """Quote the headline of `query=...` for Hydra, to which commas and brackets have a meaning.

    A headline that is in quotes already, or null, is left as it is.
    """
    key, _, text = argument.partition("=")
    if key != "query" or text in ("", "null") or QUOTED.fullmatch(text):
        return argument
    return f"{key}={quote_text(text)}"


def quote_text(text: str) -> str:
    """Put a text into Hydra's quotes, in which it stands for itself whatever it holds."""
    # In Hydra's quotes a backslash means something only in front of a quote, or of "${".
    escaped = re.sub(
        r"(\\*)(\"|$)", lambda found: found[1] * 2 + found[2].replace('"', '\\"'), text
    )
    escaped = escaped.replace("${", "\\${")
    return f'"{escaped}"'


def quote_value(text: str) -> str:
    """Return a text as the value of an override: as it is, or in Hydra's quotes."""
    return text if PLAIN.fullmatch(text) else quote_text(text)


def quote_override(name: str, text: str) -> str:
    """Return the override `name=text`; the text is in Hydra's quotes where it needs them."""
    return f"{name}={quote_value(text)}"


def write_command(
    program: str, info: RunInfo, settings: Sequence[str], without: Sequence[str] = ()
) -> list[str]:
    """Return a command that keeps what was typed for a run, each word quoted for a shell.

    Args:
        program: Its name, with flags.
        info: What was typed.
        settings: The command's own overrides, which take the place of those that set the same.
        without: Groups and values for which nothing that was typed is kept.
    """
    dropped = [*OF_ONE_RUN, *without, *(setting.partition("=")[0] for setting in settings)]
    kept = [text for text in info.overrides if not is_about(text, *dropped)]
    return [*program.split(), *map(shlex.quote, [*info.flags, *kept, *settings])]


def is_about(override: str, *paths: str) -> bool:
    """Tell whether an override sets one of `paths` or what is below it."""
    found = OVERRIDE.fullmatch(override)
    target = (found["package"] or found["name"]) if found else ""
    return any(target == path or target.startswith(f"{path}.") for path in paths)
