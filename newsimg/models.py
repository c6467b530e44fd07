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


def describe_model(model: str, revision: str) -> dict[str, str]:
    """Return the model's name and what tells its revisions apart, for fingerprints and records."""
    identity = identify_model(model, revision)
    if identity.startswith("files:"):
        return {"model": Path(model).expanduser().resolve().name, "revision": identity}
    return {"model": model, "revision": identity.rpartition("@")[2]}


def hub_arguments(model: str, revision: str, trust_remote_code: bool) -> dict[str, Any]:
    """Return what `from_pretrained` needs to find a hub model or a local folder."""
    folder = Path(model).expanduser()
    return {
        "pretrained_model_name_or_path": str(folder) if folder.is_dir() else model,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
    }


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
        **hub_arguments(model, revision, trust_remote_code),
        dtype=getattr(torch, dtype),
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"{model} lacks {len(missing)} weights of {type(loaded).__name__}, {missing[0]} first"
        )
    return loaded.to(choose_device(device)).eval()


def greedy_settings(model: Any, tokenizer: Any, max_new_tokens: int) -> Any:
    """Return generation settings that take the likeliest token, whatever the model's own say."""
    from transformers import GenerationConfig

    ends = model.generation_config.eos_token_id
    padding = tokenizer.pad_token_id
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        eos_token_id=tokenizer.eos_token_id if ends is None else ends,
        pad_token_id=tokenizer.eos_token_id if padding is None else padding,
    )
