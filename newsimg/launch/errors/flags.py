"""Validation of command-line flags, for which Hydra's parser would print its usage."""

from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser


def check_flags(arguments: Sequence[str]) -> None:
    """Check that Hydra's parser accepts a command line.

    Args:
        arguments: The command line without the program.

    Raises:
        ValueError: If a flag is unknown, lacks its value or follows an override.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # the default prints and exits
    _, unknown = parser.parse_known_args(arguments)
    if flags := [text for text in unknown if text.startswith("-")]:
        raise ValueError(f"there is no flag {flags[0]}; newsimg --hydra-help lists the flags")
    if unknown:
        raise ValueError(
            f"overrides must stand together, got {unknown[0]!r} apart from the others: put flags "
            "such as -m first"
        )


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"{message}; newsimg --hydra-help lists the flags")
