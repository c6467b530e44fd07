"""Loading models of the transformers library: where they are, what identifies them, and quietly."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from newsimg.storage.files import hash_file

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


def choose_device(device: str) -> str:
    """Return `device`, or for "auto" CUDA where there is one, else the CPU."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


@dataclass(frozen=True)
class Checkpoint:
    """Where a component's model comes from, and how it is loaded.

    Attributes:
        group: The component's group, for messages.
        model: Hub id or local folder.
        revision: Branch, tag or commit of a hub model.
        dtype: Of weights and activations: float32, bfloat16 or float16.
        device: A torch device, or "auto".
        trust_remote_code: Whether the model may run Python code that comes with it.

    Raises:
        ValueError: If `dtype` is not one of these.
    """

    group: str
    model: str
    revision: str
    dtype: str
    device: str
    trust_remote_code: bool

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(
                f"{self.group}.dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}"
            )

    @property
    def source(self) -> dict[str, Any]:
        """What `from_pretrained` needs to find a hub model or a local folder."""
        folder = Path(self.model).expanduser()
        return {
            "pretrained_model_name_or_path": str(folder) if folder.is_dir() else self.model,
            "revision": self.revision,
            "trust_remote_code": self.trust_remote_code,
        }

    def load_model(self, auto_class: Any) -> Any:
        """Load the model for inference, without a word on the console.

        Raises:
            OSError: If the model is not found.
            ValueError: If the checkpoint lacks weights of the model, which would then be random.
        """
        import torch
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        model, report = auto_class.from_pretrained(
            **self.source, dtype=getattr(torch, self.dtype), output_loading_info=True
        )
        if missing := sorted(report["missing_keys"]):
            raise ValueError(
                f"{self.model} lacks {len(missing)} weights of {type(model).__name__}, "
                f"{missing[0]} first"
            )
        return model.to(choose_device(self.device)).eval()

    def load_tokenizer(self) -> Any:
        """Load the model's own tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(**self.source)

    def load_image_processor(self) -> Any:
        """Load the model's own resizing, cropping and scaling, in the form that runs on Pillow."""
        from transformers import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(**self.source, backend="pil")


def check_positive(group: str, **numbers: int) -> None:
    """Refuse numbers below 1.

    Raises:
        ValueError: If there is one; names it.
    """
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{group}.{name} must be at least 1, got {number}")


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
