"""Models of OpenCLIP."""

import json
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image as PILImage

from newsimg.backbone.batched import BatchedBackbone, find_versions
from newsimg.storage.files import hash_file
from newsimg.storage.models.checkpoints import Checkpoint, choose_device, identify_model
from newsimg.storage.models.fit import ModelError
from newsimg.storage.models.hub import download_config
from newsimg.storage.pictures.images import DECODING
from newsimg.storage.progress import announce
from newsimg.storage.text.suggest import check_choice

if TYPE_CHECKING:
    import torch

LIBRARIES = ("open_clip_torch", "torchvision", "timm")
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
HUB, FOLDER = "hf-hub:", "local-dir:"  # OpenCLIP's prefixes
CONFIG = "open_clip_config.json"
MARGIN = 8  # tokens beyond the model's length, in which the rest of a longer text is seen


class Parts(NamedTuple):
    """A model with what prepares its texts and pictures."""

    model: Any
    tokenizer: Any
    transform: Any


class OpenClipBackbone(BatchedBackbone):
    """A model of OpenCLIP, prepared and run by its own code.

    Cherti et al. (2023), "Reproducible scaling laws for contrastive language-image learning", CVPR.

    Args:
        model: Name of an architecture in OpenCLIP, such as ViT-B-32; a Hub id with the prefix
            hf-hub:; or a folder with open_clip_config.json.
        pretrained: OpenCLIP's tag of weights for a named architecture, or a file of weights; None
            for a Hub id or folder, which has its own.
        dtype: Data type of weights and activations: float32, tf32 (float32 with TF32 products on a
            GPU), bfloat16 or float16; layer norms are in float32.
        device: A torch device, or "auto".
        batch_size: Texts or pictures per forward pass.
        query_template: Template of a query's text, or several; see `DualEncoder`.

    Raises:
        ValueError: If an argument is out of range; names it.
    """

    def __init__(
        self,
        *,
        model: str,
        pretrained: str | None,
        dtype: str,
        device: str,
        batch_size: int,
        query_template: str | list[str],
    ) -> None:
        checkpoint = Checkpoint("backbone", model, "main", dtype, device, False)
        super().__init__(checkpoint, batch_size, query_template)
        folder = Path(model.removeprefix(FOLDER)).expanduser()
        self.has_own_weights = model.startswith((HUB, FOLDER)) or folder.is_dir()
        if self.has_own_weights and pretrained is not None:
            raise ValueError(
                f"backbone.model={model} has its own weights: add backbone.pretrained=null, got "
                f"backbone.pretrained={pretrained}"
            )
        if not self.has_own_weights and pretrained is None:
            raise ValueError(
                f"backbone.model={model} is no folder here: a name of OpenCLIP needs "
                "backbone.pretrained=TAG or FILE, a Hub id is written hf-hub:OWNER/NAME"
            )
        self.name = f"{FOLDER}{folder}" if folder.is_dir() and not model.startswith(HUB) else model
        self.pretrained = pretrained

    @cached_property
    def fingerprint(self) -> str:
        """See `Backbone.fingerprint`; the library prepares pictures and texts.

        The weights of a tag are downloaded, as OpenCLIP may come to give others for it.
        """
        libraries = find_versions(LIBRARIES, "open-clip")
        return json.dumps(
            {
                "class": type(self).__name__,
                "model": self._identify(),
                **self.checkpoint.arithmetic,
                "libraries": libraries,
                "pixels": DECODING,
            }
        )

    def load_model(self) -> Parts:
        """Load the model in inference mode.

        Raises:
            ImportError: If OpenCLIP is not installed.
            ModelError: If it cannot be imported, or the model cannot be loaded.
        """
        _ = self.fingerprint  # checks that there is such a model
        library = _import_library()
        announce(f"loading {Path(self.name).name}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries that it uses
                model, transform = library.create_model_from_pretrained(
                    self.name,
                    self.pretrained,
                    precision=PRECISIONS[self.checkpoint.arithmetic["dtype"]],
                    device=choose_device(self.checkpoint.device, "backbone.device"),
                )
                tokenizer = library.get_tokenizer(self.name)
        except Exception as error:  # of many kinds, from torch.load to a key that is missing
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(
                f"{self.checkpoint.model} cannot be loaded by OpenCLIP: {reason:.400}"
            ) from error
        return Parts(model.eval(), tokenizer, transform)

    def encode_texts(self, texts: Sequence[str]) -> "torch.Tensor":
        """See `BatchedBackbone.encode_texts`."""
        tokens = self.model.tokenizer(list(texts))
        rows: torch.Tensor = self.model.model.encode_text(tokens.to(self._device))
        return rows

    def process_picture(self, picture: PILImage.Image) -> Any:
        """See `BatchedBackbone.process_picture`."""
        return self.model.transform(picture)

    def encode_pictures(self, inputs: Sequence[Any]) -> "torch.Tensor":
        """See `BatchedBackbone.encode_pictures`."""
        import torch

        dtype = getattr(torch, self.checkpoint.arithmetic["dtype"])
        rows: torch.Tensor = self.model.model.encode_image(
            torch.stack(list(inputs)).to(self._device, dtype)
        )
        return rows

    def find_truncated(self, texts: Sequence[str]) -> list[bool]:
        """See `Backbone.find_truncated`.

        A text is truncated if its first tokens change when there is room for more, or if it uses
        that room. An empty text tells padding, and tokens that are always at the end.
        """
        tokenizer = self.model.tokenizer
        length = tokenizer.context_length
        rows = tokenizer(["", *texts], length)
        wide = tokenizer(["", *texts], length + MARGIN)
        is_same = rows[0] == wide[0, :length]
        changed = ((rows != wide[:, :length]) & is_same).any(dim=1)
        longer = (wide[:, length:] != wide[0, length:]).any(dim=1)
        return [bool(flag) for flag in (changed | longer)[1:]]

    @property
    def _device(self) -> Any:
        return next(self.model.model.parameters()).device

    def _identify(self) -> str | dict[str, str]:
        """Return what the weights are: the hash of files, or a Hub id with its commit."""
        if self.name.startswith(HUB):
            found = download_config(self.name.removeprefix(HUB), "main", "backbone.model", CONFIG)
            return (
                f"{self.name}@{found.parent.name}"  # a folder of the cache is named by its commit
            )
        if self.has_own_weights:
            return identify_model(self.name.removeprefix(FOLDER), "main", "backbone.model", CONFIG)
        assert self.pretrained is not None
        path = Path(self.pretrained).expanduser()
        if not path.is_file():
            path = _find_weights(self.checkpoint.model, self.pretrained)
        return {"architecture": self.checkpoint.model, "weights": hash_file(path)}


def _import_library() -> Any:
    try:
        import open_clip
    except Exception as error:  # torchvision of another build than torch's raises RuntimeError
        raise ModelError(
            "OpenCLIP cannot be imported, its torchvision must be of the same build as torch "
            f"(https://pytorch.org/get-started/locally/): {error!s:.200}"
        ) from error
    return open_clip


def _find_weights(model: str, pretrained: str) -> Path:
    """Return the weights of a tag, in OpenCLIP's cache, where they are put if need be.

    Raises:
        ValueError: If there is no such model or tag, or the tag is of another activation.
        ModelError: If the weights cannot be downloaded.
    """
    library = _import_library()
    check_choice("backbone.model", model, library.list_models())
    tags = library.list_pretrained_tags_by_model(model)
    check_choice("backbone.pretrained", pretrained, [*tags, "FILE"])
    found = library.get_pretrained_cfg(model, pretrained)
    config = library.get_model_config(model)
    if bool(found.get("quick_gelu")) != bool(config.get("quick_gelu")):
        other = (
            model.removesuffix("-quickgelu") if config.get("quick_gelu") else f"{model}-quickgelu"
        )
        raise ModelError(
            f"the weights backbone.pretrained={pretrained} were trained with another activation "
            f"than backbone.model={model}: add backbone.model={other}"
        )
    try:
        announce(f"fetching {model} {pretrained}")
        return Path(library.download_pretrained(found))
    except Exception as error:  # of several libraries
        reason = " ".join(str(error).split())
        raise ModelError(
            f"the weights {pretrained} of {model} cannot be downloaded, backbone.pretrained=FILE "
            f"takes a copy on disk: {reason:.300}"
        ) from error
