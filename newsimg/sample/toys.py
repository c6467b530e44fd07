"""Tells when models of the sample newsroom meet other pictures.

They were trained on the newsroom's drawings alone. On photographs they rank by chance, and nothing
in the results would show it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from newsimg.datatypes import Image

SAMPLE_DIR = Path(__file__).resolve().parent
NEWSROOM = "sample-newsroom-"  # what the name of a newsroom's folder begins with
# Folder of a model of the sample -> its group, and an option of that group for photographs.
REAL = {
    "clip": ("backbone", "clip_vit_b32"),
    "aesthetics": ("reranker", "aesthetics_vit_b32"),
    "llm": ("llm", "smollm2_360m"),
    "vlm": ("vlm", "smolvlm2_500m"),
}
PLACES = ("folder", "path", "image_dir")  # what a dataset's config calls the place of its pictures
N_LOOKED_AT = 100


def describe_toys(config: Mapping[str, Any], parts: Sequence[str], is_indexed: bool) -> str:
    """Return a warning of the sample's models in some parts of a config; empty without any.

    Args:
        config: All values, resolved.
        parts: The groups that are used.
        is_indexed: Whether the pictures are those of a saved index.
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
    """Tell whether a file or a folder is of the sample newsroom, which is kept in the cache."""
    return any(part.startswith(NEWSROOM) for part in place.expanduser().absolute().parts)


def is_sample_data(data: Mapping[str, Any]) -> bool:
    """Tell whether a dataset's config names pictures of the sample newsroom by their place."""
    places = [data[key] for key in PLACES if isinstance(data.get(key), str)]
    return bool(places) and all(is_sample(Path(place)) for place in places)


def are_sample(images: Sequence[Image]) -> bool:
    """Tell whether pictures are the sample newsroom's; of many, some are looked at."""
    step = -(-len(images) // N_LOOKED_AT) or 1
    return all(is_sample(images[row].path) for row in range(0, len(images), step))


def _find_models(config: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield the places of the sample's models in a config, with their folders in the sample.

    What is below such a place goes with it, as a head's backbone does. A member of an ensemble
    without a share is not asked.
    """
    if not isinstance(config, Mapping) or ("reranker" in config and not config.get("weight", 1)):
        return
    if kinds := [kind for value in config.values() if (kind := _find_kind(value))]:
        yield place, kinds[0]
        return
    for key, value in config.items():
        yield from _find_models(value, f"{place}.{key}")


def _find_kind(value: Any) -> str | None:
    """Return which model of the sample a value is the path of, if it is one."""
    if not isinstance(value, str) or not Path(value).is_relative_to(SAMPLE_DIR):
        return None
    kind = next(iter(Path(value).relative_to(SAMPLE_DIR).parts), "")
    return kind if kind in REAL else None


def _advise(config: Mapping[str, Any], place: str, kind: str) -> str:
    """Return the override that puts a model for photographs in a place of the config."""
    group, option = REAL[kind]
    value: Any = config
    for key in place.split("."):
        value = value[key]
    return f"{group}={option}" if value == config[group] else f"{group}@{place}={option}"
