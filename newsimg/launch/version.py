"""The versions that a run depends on, for `newsimg --version`."""

import platform
from importlib.metadata import version
from pathlib import Path

from newsimg import __version__

PACKAGES = ("hydra-core", "torch", "transformers", "faiss-cpu", "mlflow")
# Files of the drivers of NVIDIA, NVIDIA below WSL, and AMD, without which torch finds no GPU.
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def describe_versions() -> str:
    """Return the versions of newsimg, Python and its main packages, and the device, by line."""
    lines = [f"newsimg {__version__}", f"python {platform.python_version()}"]
    lines += [f"{name} {version(name)}" for name in PACKAGES]
    return "\n".join([*lines, f"device {_name_device()}"])


def _name_device() -> str:
    if not any(Path(path).exists() for path in DRIVERS):
        return "cpu"
    import torch  # takes a second

    return str(torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")
