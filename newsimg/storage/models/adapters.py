"""Adapters of models (PEFT, such as LoRA): their identity, and attaching them."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from newsimg.storage.models.checkpoints import find_config, identify_model
from newsimg.storage.models.fit import ModelError
from newsimg.storage.progress import announce

CONFIG = "adapter_config.json"


def identify_adapter(adapter: str, key: str) -> str:
    """Return what an adapter's weights are; see `identify_model`.

    Args:
        adapter: Hub id, or a folder written by peft.
        key: What to type for the adapter, for messages, e.g. "vlm.adapter".

    Raises:
        ImportError: If peft is not installed.
        OSError: If the adapter is not found.
    """
    if find_spec("peft") is None:
        raise ImportError(f"{key}={adapter} needs: pip install newsimg[peft]")
    return identify_model(adapter, "main", key, CONFIG)


def attach_adapter(model: Any, name: str, adapter: str, key: str) -> None:
    """Attach an adapter to a loaded model of transformers, in place.

    The adapter stays beside the model's weights: added to weights in bfloat16, part of it would be
    rounded away.

    Args:
        model: The loaded model.
        name: The model's name or folder, for messages.
        adapter: Hub id, or a folder written by peft.
        key: What to type for the adapter, for messages.

    Raises:
        ModelError: If the adapter cannot be loaded or does not fit the model.
    """
    announce(f"loading {Path(adapter).name}")
    path = find_config(adapter, "main", key, CONFIG)
    is_folder = Path(adapter).expanduser().is_dir()
    source = str(path.parent) if is_folder else adapter
    commit = {} if is_folder else {"revision": path.parent.name}  # the one in the fingerprint
    try:
        trained = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
        report = model.load_adapter(source, adapter_kwargs=commit, ignore_mismatched_sizes=True)
    except Exception as error:  # of many kinds, from peft and the readers of its files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"{key}={adapter} cannot be attached to {name}: {reason:.300}") from error
    does_not_fit = f"{key}={adapter}, trained on {trained}, does not fit {name}"
    for weight, own, wanted in sorted(report.mismatched_keys):
        raise ModelError(
            f"{does_not_fit}: {weight} has shape {tuple(own)}, the model needs {tuple(wanted)}"
        )
    if wrong := sorted(report.missing_keys | report.unexpected_keys):
        raise ModelError(
            f"{does_not_fit}: {len(wrong)} of its weights are missing or unknown, the first is "
            f"{wrong[0]}"
        )
    model.eval()
