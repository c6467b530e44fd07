"""Warnings about models of the sample newsroom applied to other pictures.

The models were trained only on the newsroom's drawings. On photographs their rankings are
meaningless, and the results would not show it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from newsimg.datatypes import Image

SAMPLE_DIR = Path(__file__).resolve().parent
NEWSROOM = "sample-newsroom-"  # prefix of the newsroom's folder
# Folder of a model of the sample -> its group, and an option of that group for photographs.
REAL = {
    "clip": ("backbone", "clip_vit_b32"),
    "aesthetics": ("reranker", "aesthetics_vit_b32"),
    "llm": ("llm", "smollm2_360m"),
    "vlm": ("vlm", "smolvlm2_500m"),
}
PLACES = ("folder", "path", "image_dir")  # keys of paths in a data set's config
N_LOOKED_AT = 100


def describe_toys(config: Mapping[str, Any], parts: Sequence[str], is_indexed: bool) -> str:
    """Return a warning about the sample's models in a config; empty if there are none.

    Args:
        config: All values, resolved.
        parts: Config groups that are used.
        is_indexed: Whether the pictures come from a saved index.
    """
    toys = dict.fromkeys(
        _advise(config, place, kind)
        for part in parts
        for place, kind in _find_models(config[part], part)
    )
    if not toys:
        return ""
    groups = dict.fromkeys(advice.partition("=")[0].partition("@")[0] for advice in toys)
    return (
        f"TOY MODEL ({', '.join(groups)}): trained on the sample newsroom's drawings alone, which "
        "these pictures are not. The order of the results means nothing. For photographs add "
        + " ".join(toys)
        + (
            ", and index the pictures anew with that backbone"
            if is_indexed and "backbone" in groups
            else ""
        )
    )


def is_sample(place: Path) -> bool:
    """Return whether a file or folder belongs to the sample newsroom in the cache."""
    return any(part.startswith(NEWSROOM) for part in place.expanduser().absolute().parts)


def is_sample_data(data: Mapping[str, Any]) -> bool:
    """Return whether a data set's config has the path of the sample newsroom."""
    places = [data[key] for key in PLACES if isinstance(data.get(key), str)]
    return bool(places) and all(is_sample(Path(place)) for place in places)


def are_sample(images: Sequence[Image]) -> bool:
    """Return whether pictures belong to the sample newsroom; of many, a sample is checked."""
    step = -(-len(images) // N_LOOKED_AT) or 1
    return all(is_sample(images[row].path) for row in range(0, len(images), step))


def _find_models(config: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield the keys of the sample's models in a config, with their folders.

    Keys below such a key (the backbone of a head) are not listed, nor are members of an ensemble
    with share 0.
    """
    if not isinstance(config, Mapping) or ("reranker" in config and not config.get("weight", 1)):
        return
    if kinds := [kind for value in config.values() if (kind := _find_kind(value))]:
        yield place, kinds[0]
        return
    for key, value in config.items():
        yield from _find_models(value, f"{place}.{key}")


def _find_kind(value: Any) -> str | None:
    """Return the folder of the sample's model that a value is the path of, or None."""
    if not isinstance(value, str) or not Path(value).is_relative_to(SAMPLE_DIR):
        return None
    kind = next(iter(Path(value).relative_to(SAMPLE_DIR).parts), "")
    return kind if kind in REAL else None


def _advise(config: Mapping[str, Any], place: str, kind: str) -> str:
    """Return the override that selects a model for photographs."""
    group, option = REAL[kind]
    value: Any = config
    for key in place.split("."):
        value = value[key]
    return f"{group}={option}" if value == config[group] else f"{group}@{place}={option}"
