"""Classification of errors as mistakes of the user or defects of the program.

Mistakes are:

- errors of Hydra, OmegaConf or YAML, caused by the command line or a yaml;
- any OSError, such as a missing file or a full disk;
- a config file that is not UTF-8, or a config of logging that cannot be used;
- a ValueError, an ImportError or an error class of newsimg, raised by a `raise` statement in
  newsimg, Hydra, OmegaConf or a trusted package.

Everything else is a defect, such as a TypeError, a failed assertion, or a ValueError raised by
NumPy for arrays of incompatible shapes.
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
    """Store the classification on an error, before a launcher pickles it.

    Args:
        error: The error, with its traceback.
        trusted: Further packages whose errors are meant for users.
    """
    packages = list(map(str, trusted)) if isinstance(trusted, Iterable) else []
    found = is_mistake(error, packages), format_trace(error), find_package(error, packages)
    error.__dict__[MARK] = found


def is_mistake(error: BaseException, trusted: Iterable[Any] = ()) -> bool:
    """Return whether an error is a mistake of the user; see above."""
    if MARK in error.__dict__:
        return bool(error.__dict__[MARK][0])
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return is_mistake(error.__cause__, trusted)  # a plugin's constructor
    if isinstance(error, HydraException | OmegaConfBaseException | YAMLError | OSError):
        return True
    if isinstance(error, UnicodeDecodeError) and find_config_file(error):
        return True
    if isinstance(error, ValueError) and is_of_logging(error):
        return True
    is_own = type(error).__module__.partition(".")[0] == OWN[0]
    if not is_own and not isinstance(error, ValueError | ImportError):
        return False
    return _raised_in(error) in {*OWN, *map(str, trusted)}


def format_trace(error: Exception) -> str:
    """Return the traceback of an error, including its causes."""
    if MARK in error.__dict__:
        return str(error.__dict__[MARK][1])
    return "".join(traceback.format_exception(error))


def find_config_file(error: BaseException) -> str | None:
    """Return the path of the config that Hydra was reading when an error was raised."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "load_config" and "full_path" in frame.f_locals:
            return str(frame.f_locals["full_path"])
    return None


def is_of_logging(error: BaseException) -> bool:
    """Return whether an error was raised while Hydra used the config of logging."""
    frames = (frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__))
    return "configure_log" in frames


def find_package(error: Exception, trusted: Iterable[str] = ()) -> str:
    """Return the innermost package, newsimg or a trusted one, in the traceback of an error."""
    if MARK in error.__dict__:
        return str(error.__dict__[MARK][2])
    names = [
        str(frame.f_globals.get("__name__")).partition(".")[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return next((name for name in reversed(names) if name in {OWN[0], *trusted}), OWN[0])


def _raised_in(error: BaseException) -> str | None:
    """Return the package whose `raise` statement raised an error; None if there is none."""
    trace = error.__traceback__
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    if trace.tb_frame.f_code.co_code[trace.tb_lasti] != RAISE:
        return None
    return str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
