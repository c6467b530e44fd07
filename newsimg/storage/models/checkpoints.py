"""Location, identity and loading of transformers models."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from newsimg.storage.files import hash_file
from newsimg.storage.models.fit import (
    ModelError,
    check_architecture,
    check_image_processor,
    check_tokenizer,
)
from newsimg.storage.models.hub import LIBRARIES, download_config
from newsimg.storage.models.precision import inference
from newsimg.storage.progress import announce
from newsimg.storage.text.suggest import check_choice, refuse_all

log = logging.getLogger(__name__)

DTYPES = ("float32", "tf32", "bfloat16", "float16")
DEVICE = re.compile(r"auto|(cpu|cuda|mps|xpu)(:\d+)?")


def find_config(model: str, revision: str, key: str, file: str = "config.json") -> Path:
    """Return the path of a model's config, in its folder or in the hub's cache.

    Args:
        model: Local folder or hub id.
        revision: Branch, tag or commit, for a hub id.
        key: What to type for the model, for messages, e.g. "backbone.model".
        file: Name of the config, by its library.

    Raises:
        OSError: If the folder does not exist and the hub model cannot be reached.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"{folder} has no {file}: expected a folder written by save_pretrained of the "
                f"{LIBRARIES[file]} library"
            )
        return folder / file
    return download_config(model, revision, key, file)


def identify_model(model: str, revision: str, key: str, file: str = "config.json") -> str:
    """Return what a model's outputs depend on: its files' hash, or its hub id and commit.

    Args:
        model: Local folder or hub id.
        revision: Branch, tag or commit, for a hub id.
        key: What to type for the model, for messages, e.g. "backbone.model".
        file: Name of the config, by its library.

    Raises:
        OSError: If the folder does not exist and the hub model cannot be reached.
    """
    config = find_config(model, revision, key, file)
    folder = Path(model).expanduser()
    if not folder.is_dir():
        # In the hub's cache the folder of a file is named by its commit, also offline.
        return f"{model}@{config.parent.name}"
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{hash_file(path)}\n".encode())
    return f"files:{digest.hexdigest()}"


def choose_device(device: str, key: str = "device") -> str:
    """Return `device`, or for "auto" CUDA where there is one, else the CPU.

    Args:
        device: A torch device, or "auto".
        key: What to type for it, for messages.

    Raises:
        ValueError: If it is CUDA and torch finds no GPU.
    """
    import torch

    has_gpu = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if has_gpu else "cpu"
    if device.startswith("cuda") and not has_gpu:
        raise ValueError(f"{key}={device} needs a GPU, and torch finds none; {key}=cpu does not")
    return device


@dataclass(frozen=True)
class Checkpoint:
    """Source and loading options of a component's model.

    Attributes:
        group: The component's group, for messages.
        model: Hub id or local folder.
        revision: Branch, tag or commit of a hub model.
        dtype: Type of weights and activations: float32, bfloat16 or float16; tf32 is float32 with
            products in TF32 on a GPU, see `inference`.
        device: Torch device, or "auto".
        trust_remote_code: Whether to run Python code from the model's repository.
        architectures: Names of the accepted model classes; None accepts any.
        vocab_size: See `check_architecture`.

    Raises:
        ValueError: If `dtype` or `device` is invalid.
    """

    group: str
    model: str
    revision: str
    dtype: str
    device: str
    trust_remote_code: bool
    architectures: Sequence[str] | None = None
    vocab_size: int | None = None

    def __post_init__(self) -> None:
        check_choice(f"{self.group}.dtype", self.dtype, DTYPES)
        if not DEVICE.fullmatch(self.device):
            raise ValueError(
                f"{self.group}.device must be auto, cpu, cuda or cuda:N, got {self.device!r}"
            )

    @property
    def source(self) -> dict[str, Any]:
        """Arguments of `from_pretrained` that locate the model."""
        folder = Path(self.model).expanduser()
        return {
            "pretrained_model_name_or_path": str(folder) if folder.is_dir() else self.model,
            "revision": self.revision,
            "trust_remote_code": self.trust_remote_code,
        }

    @property
    def _name(self) -> str:
        """The model as the status line shows it: of a folder, the last parts alone."""
        parts = Path(self.model).parts
        return self.model if len(parts) < 3 else "/".join(parts[-2:])

    @property
    def arithmetic(self) -> dict[str, Any]:
        """Precision settings that outputs depend on, for fingerprints."""
        if self.dtype in ("float32", "tf32"):
            return {"dtype": "float32", "tf32": self.dtype == "tf32"}
        return {"dtype": self.dtype}

    def inference(self) -> AbstractContextManager[None]:
        """Return the context manager to run the model in; see `inference`."""
        return inference(self.dtype == "tf32")

    def identify(self) -> str:
        """Return the identity of the model; see `identify_model`.

        Raises:
            OSError: If the model is not found.
            ModelError: If its architecture is not accepted.
        """
        self._check_architecture()
        return identify_model(self.model, self.revision, f"{self.group}.model")

    def describe(self) -> dict[str, str]:
        """Return the model's name and exact revision; see `identify`."""
        identity = self.identify()
        if identity.startswith("files:"):
            return {"model": Path(self.model).expanduser().resolve().name, "revision": identity}
        return {"model": self.model, "revision": identity.rpartition("@")[2]}

    def load_model(self, auto_class: Any, draw_missing: bool = False) -> Any:
        """Load the model for inference, without console output.

        Args:
            auto_class: Class of transformers that loads it.
            draw_missing: Whether weights that the checkpoint lacks are drawn at random, with a
                warning, from torch's generator.

        Raises:
            OSError: If the model is not found.
            ModelError: If its architecture is not accepted, or the checkpoint lacks weights, which
                transformers would initialise randomly, and `draw_missing` is false.
        """
        announce(f"loading {self._name}")
        import torch
        from transformers.utils import logging

        self._check_architecture()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        model, report = auto_class.from_pretrained(
            **self.source, dtype=getattr(torch, self.arithmetic["dtype"]), output_loading_info=True
        )
        if missing := sorted(report["missing_keys"]):
            lacks = f"{self.model} lacks {len(missing)} weights of {type(model).__name__}"
            if not draw_missing:
                raise ModelError(f"{lacks}, the first is {missing[0]}")
            log.warning("%s: they are drawn at random, the first is %s", lacks, missing[0])
        return model.to(choose_device(self.device, f"{self.group}.device")).eval()

    def load_tokenizer(self) -> Any:
        """Load the model's tokenizer.

        Raises:
            ModelError: If it cannot be loaded or does not fit the model; see `check_tokenizer`.
        """
        announce(f"loading the tokenizer of {self._name}")
        from transformers import AutoTokenizer

        tokenizer = self._load("tokenizer", lambda: AutoTokenizer.from_pretrained(**self.source))
        check_tokenizer(tokenizer, self._load_config(), self.model)
        return tokenizer

    def load_image_processor(self) -> Any:
        """Load the model's image processor with the Pillow backend.

        Raises:
            ModelError: If it cannot be loaded or does not fit the model; see
                `check_image_processor`.
        """
        announce(f"loading the image processor of {self._name}")
        from transformers import AutoImageProcessor

        processor = self._load(
            "image processor",
            lambda: AutoImageProcessor.from_pretrained(**self.source, backend="pil"),
        )
        self.check_image_processor(processor)
        return processor

    def check_image_processor(self, processor: Any) -> None:
        """Check that an image processor fits the model; see `check_image_processor`."""
        one_size = self.group == "backbone"  # chat models may take pictures of any size
        check_image_processor(processor, self._load_config(), self.model, one_size)

    def _load_config(self) -> Any:
        # Not cached, because a config class from remote code cannot be pickled.
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(**self.source)

    def _load(self, what: str, load: Callable[[], Any]) -> Any:
        self._check_architecture()
        try:
            return load()
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"the {what} of {self.model} cannot be loaded: {reason}") from error

    def _check_architecture(self) -> None:
        path = find_config(self.model, self.revision, f"{self.group}.model")
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{path} is no JSON: {error}") from error
        check_architecture(self.group, self.model, config, self.architectures, self.vocab_size)


def check_positive(group: str, **numbers: int) -> None:
    """Check that all numbers are at least 1.

    Raises:
        ValueError: If there are some; names each.
    """
    refuse_all(
        f"{group}.{name} must be at least 1, got {number}"
        for name, number in numbers.items()
        if number < 1
    )


def greedy_settings(model: Any, tokenizer: Any, max_new_tokens: int) -> Any:
    """Return settings for greedy decoding, which override the model's generation config."""
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
