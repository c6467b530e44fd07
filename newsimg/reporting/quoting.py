"""Headlines on a command line: quoted for Hydra's grammar."""

import re

QUOTED = re.compile(r"""(["'])(?:(?!\1)[^\\]|\\.)*\1""", re.DOTALL)
PLAIN = re.compile(r"[A-Za-z0-9_/.:%@+-]+")


def quote_headline(argument: str) -> str:
    """Quote the headline of `query=...` for Hydra, to which commas and brackets have a meaning.

    A headline that is in quotes already, or null, is left as it is.
    """
    key, _, text = argument.partition("=")
    if key != "query" or text in ("", "null") or QUOTED.fullmatch(text):
        return argument
    return f"{key}={quote_text(text)}"


def quote_override(name: str, text: str) -> str:
    """Return an override of a text, which is in Hydra's quotes if it may mean something to it."""
    return f"{name}={text if PLAIN.fullmatch(text) else quote_text(text)}"


def quote_text(text: str) -> str:
    """Put a text into Hydra's quotes, in which it stands for itself whatever it holds."""
    # In Hydra's quotes a backslash means something only in front of a quote, or of "${".
    escaped = re.sub(
        r"(\\*)(\"|$)", lambda found: found[1] * 2 + found[2].replace('"', '\\"'), text
    )
    escaped = escaped.replace("${", "\\${")
    return f'"{escaped}"'
