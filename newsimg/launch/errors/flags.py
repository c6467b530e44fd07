"""Validation of the command line, where Hydra would print its usage or fail."""

from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from newsimg.storage.files import CONF_DIR


def check_flags(arguments: Sequence[str]) -> None:
    """Check that Hydra's parser accepts a command line.

    Args:
        arguments: The command line without the program.

    Raises:
        ValueError: If a flag is unknown, lacks its value or follows an override, or the option of a
            group is a list or a mapping.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # the default prints and exits
    parsed, unknown = parser.parse_known_args(arguments)
    if flags := [text for text in unknown if text.startswith("-")]:
        raise ValueError(f"there is no flag {flags[0]}; newsimg --hydra-help lists the flags")
    if unknown:
        raise ValueError(
            f"overrides must stand together, got {unknown[0]!r} apart from the others: put flags "
            "such as -m first"
        )
    grammar = OverridesParser.create()
    for text in parsed.overrides:
        _check_option(grammar, text)


def _check_option(grammar: OverridesParser, text: str) -> None:
    """Check that the option of a config group is a name."""
    try:
        override = grammar.parse_override(text)
    except HydraException:
        return  # Hydra reports it
    is_group = (CONF_DIR / override.key_or_group).is_dir()
    if is_group and isinstance(override.value(), list | dict):
        raise ValueError(
            f"{override.key_or_group} must be one of its options, which newsimg --help lists, "
            f"got {text!r}"
        )


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"{message}; newsimg --hydra-help lists the flags")
