"""Loading of models of sentence-transformers, with checks that their parts fit together."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from newsimg.storage.models.checkpoints import Checkpoint, choose_device
from newsimg.storage.models.fit import ModelError, check_image_processor, check_tokenizer

PACKAGE = "sentence_transformers."


def load_sentence_transformer(checkpoint: Checkpoint) -> Any:
    """Load a SentenceTransformer for inference, without console output.

    Raises:
        ModelError: If it cannot be loaded, lacks weights, is an adapter of another model, or its
            tokenizer or image processor does not fit.
    """
    model = _load(checkpoint)
    for module in list(model)[1:]:  # saved in float32, whatever the first one runs in
        module.to(model.dtype)
    _check_parts(model, checkpoint.model)
    return model.eval()


def _load(checkpoint: Checkpoint) -> Any:
    import torch

    folder = Path(checkpoint.model).expanduser()
    if not checkpoint.trust_remote_code:
        _check_modules(folder / "modules.json")
    with _collect_warnings() as reports:
        try:
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(
                str(folder) if folder.is_dir() else checkpoint.model,
                revision=checkpoint.revision,
                device=choose_device(checkpoint.device, "backbone.device"),
                trust_remote_code=checkpoint.trust_remote_code,
                model_kwargs={"dtype": getattr(torch, checkpoint.arithmetic["dtype"])},
            )
        except (OSError, ValueError, ImportError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{checkpoint.model} cannot be loaded by sentence-transformers: {reason:.400}"
            ) from error
    if lacking := [report for report in reports if "MISSING" in report]:
        names = [
            line.split("|")[0].strip() for line in lacking[0].splitlines() if "MISSING" in line
        ]
        raise ModelError(f"{checkpoint.model} lacks weights, the first is {names[0]}")
    return model


def _check_modules(path: Path) -> None:
    """Check that the modules of a local folder are the library's, some versions of which run any.

    Raises:
        ModelError: If one is code of the folder.
    """
    modules = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    own = [one["type"] for one in modules if not one["type"].startswith(PACKAGE)]
    if own:
        raise ModelError(
            f"{path} must name classes of sentence_transformers, got {own[0]}: code in a model's "
            "folder is not run without backbone.trust_remote_code=true"
        )


@contextmanager
def _collect_warnings() -> Iterator[list[str]]:
    """Collect what transformers warns of while it loads, instead of printing it."""
    from transformers.utils import logging as transformers_logging

    reports: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reports.append(record.getMessage())

    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_warning()
    logger, collector = transformers_logging.get_logger(), Collector()
    handlers, logger.handlers = logger.handlers, [collector]
    try:
        yield reports
    finally:
        logger.handlers = handlers
        transformers_logging.set_verbosity_error()


def _check_parts(model: Any, name: str) -> None:
    """Check that tokenizer and image processor fit, as those of `DualEncoder` are."""
    from transformers import PreTrainedTokenizerBase

    config = model.config
    if config is None:
        return
    if getattr(model.transformers_model, "_hf_peft_config_loaded", False):
        raise ModelError(
            f"{name} is an adapter of another model, whose files newsimg would not know: expected "
            "a model with the adapter merged (merge_and_unload of peft)"
        )
    if isinstance(tokenizer := model.tokenizer, PreTrainedTokenizerBase):
        check_tokenizer(tokenizer, config, name)
    processor = getattr(getattr(model[0], "processor", None), "image_processor", None)
    if processor is not None:
        check_image_processor(processor, config, name, "message" not in model.modalities)
