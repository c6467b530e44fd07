"""Whether a model is of the family that it is taken for, and its files belong together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import yaml
from PIL import Image as PILImage

from newsimg.storage.files import CONF_DIR

SPARE_ROWS = 1024  # tables of tokens are padded to a multiple of up to so many rows, ...
SPARE_SHARE = 0.1  # ... or by up to this share of a large table
N_WORDS = 200  # of the vocabulary that are written to see whether the tokenizer can
WRITTEN = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id")
GRIDS = (
    ("patch_size", "patch_size"),
    ("merge_size", "spatial_merge_size"),
    ("temporal_patch_size", "temporal_patch_size"),
)


class ModelError(ValueError):
    """A model that cannot be used as it is asked for; no input is to blame for it."""


def check_architecture(
    group: str,
    model: str,
    config: Mapping[str, Any],
    architectures: Sequence[str] | None,
    vocab_size: int | None,
) -> None:
    """Refuse a model of another family than its component was configured for.

    Args:
        group: The component's group, for messages.
        model: The model's name or folder, for messages.
        config: Its config.json.
        architectures: Names of the classes that it may be of; None for any.
        vocab_size: Rows that its table of tokens must have; None for any. A config.json that says
            nothing of them passes.

    Raises:
        ModelError: If it is another one; names both, and the options that fit.
    """
    found = list(config.get("architectures") or [])
    n_rows = (config.get("text_config") or config).get("vocab_size")
    fits_class = architectures is None or bool(set(found) & set(architectures))
    fits_table = vocab_size is None or n_rows in (None, vocab_size)
    if fits_class and fits_table:
        return
    if not fits_class:
        wanted, got = " or ".join(architectures or ()), " or ".join(found) or "of no architecture"
        anyway = f"{group}.architectures={found or 'null'}".replace("'", "")
    else:
        wanted, got = f"vocab_size {vocab_size}", f"vocab_size {n_rows}"
        anyway = f"{group}.vocab_size={n_rows}"
    options = [f"{group}={option}" for option in find_options(group, found, n_rows)]
    advice = f"made for it: {', '.join(options)}"
    if not options:
        advice = f"no {group} option is made for it"
    raise ModelError(
        f"{group}.model must be {wanted}, but {model} is {got}; {advice}; "
        f"'{anyway}' takes it with the settings of the chosen option"
    )


def find_options(group: str, architectures: Sequence[str], vocab_size: int | None) -> list[str]:
    """Return the options of a group that are for a model's family."""
    found = []
    for path in sorted((CONF_DIR / group).glob("*.yaml")):
        option = yaml.safe_load(path.read_text(encoding="utf-8"))
        fits = set(option.get("architectures") or []) & set(architectures)
        if fits and (vocab_size is None or option.get("vocab_size") in (None, vocab_size)):
            found.append(path.stem)
    return found


def check_tokenizer(tokenizer: Any, config: Any, model: str) -> None:
    """Refuse a tokenizer that is not the model's, or lacks files.

    A model whose config does not tell the size of its table of tokens is not checked for it.

    Args:
        tokenizer: As it was loaded.
        config: The model's.
        model: The model's name or folder, for messages.

    Raises:
        ModelError: If its vocabulary does not fit, it lacks special tokens, or it cannot write the
            words of its vocabulary.
    """
    text = config.get_text_config()
    n_rows = getattr(text, "vocab_size", None)
    vocabulary = tokenizer.get_vocab()
    if n_rows is not None:
        _check_size(tokenizer, vocabulary, n_rows, model)
        _check_special_tokens(vocabulary, text, n_rows, model)
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {model} knows neither padding nor the end of a text: "
            "tokenizer_config.json is missing or of another model"
        )
    words = list(_list_words(tokenizer, vocabulary))
    if len(words) >= N_WORDS // 10 and not any(
        _writes_as_one(tokenizer, token_id, text) for token_id, text in words
    ):
        raise ModelError(
            f"the tokenizer of {model} writes none of {len(words)} words of its vocabulary as one "
            f"token, {words[0][1]!r} the first: its merges (merges.txt or tokenizer.json) are "
            "missing or of another model"
        )


def check_image_processor(processor: Any, config: Any, model: str, one_size: bool) -> None:
    """Refuse an image processor that makes pictures of another size than the model takes.

    Args:
        processor: As it was loaded.
        config: The model's.
        model: The model's name or folder, for messages.
        one_size: Whether the model takes pictures of one size alone.

    Raises:
        ModelError: If they do not fit; names both sizes.
    """
    vision = _to_mapping(getattr(config, "vision_config", None))
    for of_processor, of_model in GRIDS:
        made, wanted = getattr(processor, of_processor, None), vision.get(of_model)
        if isinstance(made, int) and isinstance(wanted, int) and made != wanted:
            raise ModelError(
                f"the image processor of {model} has {of_processor} {made}, the model "
                f"{of_model} {wanted}: preprocessor_config.json is of another model"
            )
    side = vision.get("image_size")
    if side is None or vision.get("patch_size") is None:  # no table of positions to fit into
        return
    wanted = (side, side) if isinstance(side, int) else tuple(side)
    made = {_measure(processor, shape) for shape in ((96, 64), (64, 96))}
    if None in made or (len(made) > 1 and not one_size):
        return
    if made != {wanted}:
        sizes = " and ".join("{}x{}".format(*size) for size in sorted(made) if size)
        raise ModelError(
            f"the image processor of {model} makes pictures of {sizes}, the model takes "
            f"{wanted[0]}x{wanted[1]}: preprocessor_config.json is of another model"
        )


def _check_size(tokenizer: Any, vocabulary: Mapping[str, int], n_rows: int, model: str) -> None:
    added = tokenizer.get_added_vocab()
    # A model may do without rows for added tokens that nobody writes, such as a mask.
    written = {vocabulary[token] for token in vocabulary.keys() - added.keys()}
    written |= {i for name in WRITTEN if (i := getattr(tokenizer, name, None)) is not None}
    n_spare = n_rows - len(vocabulary)
    allowed = min(n_rows / 2, max(SPARE_ROWS, SPARE_SHARE * n_rows))
    if n_spare > allowed or max(written, default=0) >= n_rows:
        raise ModelError(
            f"the tokenizer of {model} has {len(vocabulary)} tokens, ids up to "
            f"{max(written, default=0)}, but the model's table has {n_rows}: tokenizer files are "
            "missing or of another model; copy all of them from where the model comes from "
            "(tokenizer.json, tokenizer_config.json, or what its kind has instead)"
        )


def _check_special_tokens(
    vocabulary: Mapping[str, int], text: Any, n_rows: int, model: str
) -> None:
    known = set(vocabulary.values())
    for name in ("eos_token_id", "pad_token_id"):
        ids = getattr(text, name, None)
        for token_id in [ids] if isinstance(ids, int) else ids or []:
            # Configs are known to name ids outside of their tables, which then mean nothing.
            if 0 <= token_id < n_rows and token_id not in known:
                raise ModelError(
                    f"the tokenizer of {model} lacks the token {token_id}, the model's {name}: "
                    "tokenizer_config.json or added_tokens.json is missing or of another model"
                )


def _list_words(tokenizer: Any, vocabulary: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    """Yield some tokens of several letters, with their texts."""
    added = tokenizer.get_added_vocab()
    ids = sorted(i for token, i in vocabulary.items() if token not in added and len(token) > 2)
    for token_id in ids[:: max(1, len(ids) // N_WORDS)]:
        text = tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
        if len(text.strip()) > 1 and text.strip().isalpha():
            yield token_id, text


def _writes_as_one(tokenizer: Any, token_id: int, text: str) -> bool:
    return any(
        list(tokenizer(form, add_special_tokens=False)["input_ids"]) == [token_id]
        for form in {text, text.strip()}
    )


def _measure(processor: Any, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Return height and width of what a picture becomes; None if that is no picture any more."""
    made = processor(images=[PILImage.new("RGB", shape)], return_tensors="np")["pixel_values"]
    if isinstance(made, list):
        made = made[0]
    found = np.shape(made)
    return (found[-2], found[-1]) if len(found) >= 4 else None


def _to_mapping(config: Any) -> Mapping[str, Any]:
    if config is None:
        return {}
    return config if isinstance(config, Mapping) else config.to_dict()
