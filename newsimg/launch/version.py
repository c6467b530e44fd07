"""The versions that a run depends on, for `newsimg --version`."""

import platform
from importlib.metadata import version

from newsimg import __version__

PACKAGES = ("hydra-core", "torch", "transformers", "faiss-cpu", "mlflow")


def describe_versions() -> str:
    """Return the versions of newsimg, Python and its main packages, and the device, by line."""
    import torch  # takes a second

    lines = [f"newsimg {__version__}", f"python {platform.python_version()}"]
    lines += [f"{name} {version(name)}" for name in PACKAGES]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return "\n".join([*lines, f"device {device}"])
