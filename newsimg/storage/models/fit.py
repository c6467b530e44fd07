"""Checks that a model has the expected architecture and that its files fit together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import yaml
from PIL import Image as PILImage

from newsimg.storage.files import CONF_DIR

SPARE_ROWS = 1024  # embedding tables are padded to a multiple of up to this many rows, ...
SPARE_SHARE = 0.1  # ... or by up to this share of the rows
N_WORDS = 200  # words of the vocabulary that are encoded to test the tokenizer
USED_TOKENS = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id")
# Setting of the image processor, and the setting of the model that it must equal.
PATCH_SETTINGS = (
    ("patch_size", "patch_size"),
    ("merge_size", "spatial_merge_size"),
    ("temporal_patch_size", "temporal_patch_size"),
)


class ModelError(ValueError):
    """A model cannot be used as configured, whatever the input."""


def check_architecture(
    group: str,
    model: str,
    config: Mapping[str, Any],
    architectures: Sequence[str] | None,
    vocab_size: int | None,
) -> None:
    """Check that a model has the architecture that its component is configured for.

    Args:
        group: The component's group, for messages.
        model: The model's name or folder, for messages.
        config: The content of its config.json.
        architectures: Names of the accepted model classes; None accepts any.
        vocab_size: Expected size of the token embedding table; None accepts any, and so does a
            config.json without it.

    Raises:
        ModelError: If the architecture differs; names both, and the options that fit.
    """
    found = list(config.get("architectures") or [])
    n_rows = (config.get("text_config") or config).get("vocab_size")
    fits_class = architectures is None or bool(set(found) & set(architectures))
    fits_table = vocab_size is None or n_rows in (None, vocab_size)
    if fits_class and fits_table:
        return
    if not fits_class:
        wanted = " or ".join(architectures or ())
        got = " or ".join(found) or "of unknown architecture"
        anyway = f"{group}.architectures={found or 'null'}".replace("'", "")
    else:
        wanted, got = f"vocab_size {vocab_size}", f"vocab_size {n_rows}"
        anyway = f"{group}.vocab_size={n_rows}"
    options = [f"{group}={option}" for option in find_options(group, found, n_rows)]
    advice = f"options for it: {', '.join(options)}"
    if not options:
        advice = f"no {group} option is for it"
    raise ModelError(
        f"{group}.model must be {wanted}, but {model} is {got}; {advice}; "
        f"'{anyway}' accepts it with the settings of the chosen option"
    )


def find_options(group: str, architectures: Sequence[str], vocab_size: int | None) -> list[str]:
    """Return the options of a config group that accept an architecture."""
    found = []
    for path in sorted((CONF_DIR / group).glob("*.yaml")):
        option = yaml.safe_load(path.read_text(encoding="utf-8"))
        if option.get("adapter"):  # it is for the adapter
            continue
        fits = set(option.get("architectures") or []) & set(architectures)
        if fits and (vocab_size is None or option.get("vocab_size") in (None, vocab_size)):
            found.append(path.stem)
    return found


def check_tokenizer(tokenizer: Any, config: Any, model: str) -> None:
    """Check that a tokenizer is complete and fits its model.

    The vocabulary is not checked if the model's config has no `vocab_size`.

    Args:
        tokenizer: The loaded tokenizer.
        config: The model's config.
        model: The model's name or folder, for messages.

    Raises:
        ModelError: If the vocabulary does not fit, special tokens are missing, or the words of the
            vocabulary cannot be encoded.
    """
    text = config.get_text_config()
    querying = getattr(config, "qformer_config", None)
    if getattr(querying, "use_qformer_text_input", False):  # BLIP-2's matching head reads the text
        text = querying
    n_rows = getattr(text, "vocab_size", None)
    vocabulary = tokenizer.get_vocab()
    if n_rows is not None:
        _check_size(tokenizer, vocabulary, n_rows, model)
        _check_special_tokens(vocabulary, text, n_rows, model)
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {model} has neither a padding nor an end-of-text token: "
            "tokenizer_config.json is missing or from another model"
        )
    words = list(_list_words(tokenizer, vocabulary))
    if len(words) >= N_WORDS // 10 and not any(
        _encodes_as_one(tokenizer, token_id, text) for token_id, text in words
    ):
        raise ModelError(
            f"the tokenizer of {model} encodes none of {len(words)} words of its vocabulary as one "
            f"token, the first is {words[0][1]!r}: its merges (merges.txt or tokenizer.json) are "
            "missing or from another model"
        )


def check_image_processor(processor: Any, config: Any, model: str, one_size: bool) -> None:
    """Check that an image processor produces pictures of the size that the model takes.

    Args:
        processor: The loaded image processor.
        config: The model's config.
        model: The model's name or folder, for messages.
        one_size: Whether the model takes pictures of a single size.

    Raises:
        ModelError: If the sizes differ; names both.
    """
    vision = _to_mapping(getattr(config, "vision_config", None))
    for of_processor, of_model in PATCH_SETTINGS:
        made, wanted = getattr(processor, of_processor, None), vision.get(of_model)
        if isinstance(made, int) and isinstance(wanted, int) and made != wanted:
            raise ModelError(
                f"the image processor of {model} has {of_processor} {made}, the model "
                f"{of_model} {wanted}: preprocessor_config.json is from another model"
            )
    side = vision.get("image_size")
    if side is None or vision.get("patch_size") is None:  # no position embeddings of fixed size
        return
    wanted = (side, side) if isinstance(side, int) else tuple(side)
    made = {_measure(processor, shape) for shape in ((96, 64), (64, 96))}
    if None in made or (len(made) > 1 and not one_size):
        return
    if made != {wanted}:
        sizes = " and ".join("{}x{}".format(*size) for size in sorted(made) if size)
        raise ModelError(
            f"the image processor of {model} makes pictures of {sizes}, the model takes "
            f"{wanted[0]}x{wanted[1]}: preprocessor_config.json is from another model"
        )


def _check_size(tokenizer: Any, vocabulary: Mapping[str, int], n_rows: int, model: str) -> None:
    added = tokenizer.get_added_vocab()
    # A model may have no rows for added tokens that are never used, such as a mask token.
    used = {vocabulary[token] for token in vocabulary.keys() - added.keys()}
    used |= {i for name in USED_TOKENS if (i := getattr(tokenizer, name, None)) is not None}
    n_spare = n_rows - len(vocabulary)
    allowed = min(n_rows / 2, max(SPARE_ROWS, SPARE_SHARE * n_rows))
    if n_spare > allowed or max(used, default=0) >= n_rows:
        raise ModelError(
            f"the tokenizer of {model} has {len(vocabulary)} tokens, ids up to "
            f"{max(used, default=0)}, but the model's table has {n_rows}: tokenizer files are "
            "missing or from another model; copy all of them from the source of the model "
            "(tokenizer.json, tokenizer_config.json, or their equivalents)"
        )


def _check_special_tokens(
    vocabulary: Mapping[str, int], text: Any, n_rows: int, model: str
) -> None:
    known = set(vocabulary.values())
    for name in ("eos_token_id", "pad_token_id"):
        ids = getattr(text, name, None)
        for token_id in [ids] if isinstance(ids, int) else ids or []:
            # Some published configs have ids outside of the table, which are unused.
            if 0 <= token_id < n_rows and token_id not in known:
                raise ModelError(
                    f"the tokenizer of {model} lacks the token {token_id}, the model's {name}: "
                    "tokenizer_config.json or added_tokens.json is missing or from another model"
                )


def _list_words(tokenizer: Any, vocabulary: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    """Yield ids and texts of a sample of alphabetic tokens."""
    added = tokenizer.get_added_vocab()
    ids = sorted(i for token, i in vocabulary.items() if token not in added and len(token) > 2)
    for token_id in ids[:: max(1, len(ids) // N_WORDS)]:
        text = tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
        if len(text.strip()) > 1 and text.strip().isalpha():
            yield token_id, text


def _encodes_as_one(tokenizer: Any, token_id: int, text: str) -> bool:
    return any(
        list(tokenizer(form, add_special_tokens=False)["input_ids"]) == [token_id]
        for form in {text, text.strip()}
    )


def _measure(processor: Any, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Return height and width of the processed picture; None if it is split into patches."""
    made = processor(images=[PILImage.new("RGB", shape)], return_tensors="np")["pixel_values"]
    if isinstance(made, list):
        made = made[0]
    found = np.shape(made)
    return (found[-2], found[-1]) if len(found) >= 4 else None


def _to_mapping(config: Any) -> Mapping[str, Any]:
    if config is None:
        return {}
    return config if isinstance(config, Mapping) else config.to_dict()
