"""Tells a mistake of the user's from a defect of the program.

A mistake is what somebody wrote a sentence for, or what a file or the network is to blame for:

- an error of Hydra, OmegaConf or YAML, which the command line or a yaml has caused;
- an OSError, such as a file that is not there or a disk that is full, wherever it was raised;
- a ValueError, an ImportError or an error class of newsimg's own that a `raise` statement of
  newsimg, Hydra, OmegaConf or a trusted package has raised.

Everything else is a defect: a TypeError, a failed assertion, or a ValueError that NumPy raises
because it was called with arrays that do not fit together.
"""

import dis
import traceback
from collections.abc import Iterable
from typing import Any

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

OWN = ("newsimg", "hydra", "omegaconf")
RAISE = dis.opmap["RAISE_VARARGS"]
MARK = "newsimg_origin"  # attribute of an error; survives pickling, unlike its traceback


def mark_origin(error: Exception, trusted: Any = ()) -> None:
    """Note on an error, where it is raised, whose fault it is; a launcher may hand it on.

    Args:
        error: As it was caught, with its traceback.
        trusted: Further packages whose errors are meant for users.
    """
    packages = list(map(str, trusted)) if isinstance(trusted, Iterable) else []
    found = is_mistake(error, packages), format_trace(error), find_package(error, packages)
    error.__dict__[MARK] = found


def is_mistake(error: BaseException, trusted: Iterable[Any] = ()) -> bool:
    """Tell whether an error is the user's to correct; see above."""
    if MARK in error.__dict__:
        return bool(error.__dict__[MARK][0])
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return is_mistake(error.__cause__, trusted)  # a plugin's constructor
    if isinstance(error, HydraException | OmegaConfBaseException | YAMLError | OSError):
        return True
    is_own = type(error).__module__.partition(".")[0] == OWN[0]
    if not is_own and not isinstance(error, ValueError | ImportError):
        return False
    return _raised_in(error) in {*OWN, *map(str, trusted)}


def format_trace(error: Exception) -> str:
    """Return an error's traceback with those of its causes."""
    if MARK in error.__dict__:
        return str(error.__dict__[MARK][1])
    return "".join(traceback.format_exception(error))


def find_package(error: Exception, trusted: Iterable[str] = ()) -> str:
    """Return newsimg or the trusted package that was last called before an error."""
    if MARK in error.__dict__:
        return str(error.__dict__[MARK][2])
    names = [
        str(frame.f_globals.get("__name__")).partition(".")[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return next((name for name in reversed(names) if name in {OWN[0], *trusted}), OWN[0])


def _raised_in(error: BaseException) -> str | None:
    """Return the package whose `raise` has raised an error; None if it was not a `raise`."""
    trace = error.__traceback__
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    if trace.tb_frame.f_code.co_code[trace.tb_lasti] != RAISE:
        return None
    return str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
