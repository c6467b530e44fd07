"""Loading models of the transformers library: where they are, what identifies them, and quietly."""

import hashlib
from pathlib import Path
from typing import Any

from newsimg.files import hash_file

DTYPES = ("float32", "bfloat16", "float16")


def identify_model(model: str, revision: str) -> str:
    """Return what a model's outputs depend on: its files' hash, or its hub id and commit.

    Args:
        model: Local folder or hub id.
        revision: Branch, tag or commit, for a hub id.

    Raises:
        OSError: If there is neither such a folder nor such a hub model in reach.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(f"{path.relative_to(folder)}\0{hash_file(path)}\n".encode())
        return f"files:{digest.hexdigest()}"
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        config = hf_hub_download(model, "config.json", revision=revision)
    except HFValidationError as error:
        raise FileNotFoundError(f"model must be a folder or a hub id, got {model}") from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{model} is no folder, and cannot be reached on the hub; without a connection, give "
            "the folder of a copy instead"
        ) from error
    # The hub's cache keeps a file under its commit, also when there is no connection.
    return f"{model}@{Path(config).parent.name}"


def choose_device(device: str) -> str:
    """Return `device`, or for "auto" CUDA where there is one, else the CPU."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def load_pretrained(
    auto_class: Any, model: str, *, revision: str, dtype: str, device: str, trust_remote_code: bool
) -> Any:
    """Load a model for inference, without a word on the console.

    Raises:
        OSError: If the model is not found.
        ValueError: If the checkpoint lacks some of the model's weights, which would then be random.
    """
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    loaded, report = auto_class.from_pretrained(
        str(Path(model).expanduser()) if Path(model).expanduser().is_dir() else model,
        revision=revision,
        dtype=getattr(torch, dtype),
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"{model} lacks {len(missing)} weights of {type(loaded).__name__}, {missing[0]} first"
        )
    return loaded.to(choose_device(device)).eval()
