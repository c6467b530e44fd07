"""Runs to be compared: their candidates, their names and what differs between their configs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from newsimg.reporting.comparing.candidates import (
    RunCandidates,
    find_candidates,
    read_candidates,
)
from newsimg.reporting.sweeps.runs import IGNORED, read_config, write_value
from newsimg.storage.text.suggest import suggest
from newsimg.tracking.params import OTHERS, list_params

MAX_PARTS = 4  # differences in the name of a run; the page lists all
# Keys that say where and how a run was computed, not what it ranks.
UNIMPORTANT = ("task", "device", "trusted_packages", "query", "experiment")
ALWAYS = ("reranker", "normalization", "weight")
TASKS = "task=evaluate or task=infer"


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """A finished run.

    Attributes:
        folder: Its folder.
        params: Its options and values by name; see `list_params`.
        candidates: Its candidates.
        name: What distinguishes it from the other runs.
    """

    folder: Path
    params: Mapping[str, Any]
    candidates: RunCandidates
    name: str = ""


def read_compared(folders: Sequence[Path]) -> list[ComparedRun]:
    """Read runs of task=evaluate or task=infer.

    Args:
        folders: Folders of the runs, or files in them.

    Raises:
        FileNotFoundError: If a folder does not exist.
        ValueError: If a folder is given twice, or is not that of a finished run.
    """
    places = [folder.parent if folder.is_file() else folder for folder in folders]
    for i, place in enumerate(places):
        earlier = [other.resolve() for other in places[:i]]
        if place.resolve() in earlier:
            raise ValueError(f"task.runs must name different runs, got {place} twice")
    runs = [_read(place) for place in places]
    names = name_runs([run.params for run in runs])
    for describe in (lambda i: runs[i].folder.name, lambda i: str(i + 1)):
        names = [
            f"{name} ({describe(i)})" if names.count(name) > 1 else name
            for i, name in enumerate(names)
        ]
    return [
        ComparedRun(run.folder, run.params, run.candidates, name)
        for name, run in zip(names, runs, strict=True)
    ]


def _read(folder: Path) -> ComparedRun:
    if not folder.is_dir():
        nearby = folder.parent.iterdir() if folder.parent.is_dir() else ()
        hint = suggest(folder.name, [path.name for path in nearby])
        raise FileNotFoundError(f"no folder of a run {folder}{hint}")
    path = find_candidates(folder)
    is_run = (folder / "config.yaml").is_file()
    was_begun = is_run or (folder / ".hydra").is_dir()  # Hydra writes its folder first
    if path is None and not was_begun:
        inner = sorted(found.parent for found in folder.glob("*/config.yaml"))
        hint = f"; a run in it is {inner[0]}" if inner else ""
        raise ValueError(f"{folder} is not the folder of a run of {TASKS}{hint}")
    if path is None or not is_run:
        raise ValueError(
            f"{folder} has no candidates, as it was interrupted, is of another task than {TASKS} "
            "or of an older version: run its command again"
        )
    try:
        _, choices, config = read_config(folder, folder)
        params = list_params(config, {"reranker": "", "weight": "", "task": "", **choices}, {})
    except (KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(f"{folder / 'config.yaml'} is damaged: run its command again") from error
    return ComparedRun(folder, params, read_candidates(path))


def list_config_differences(params: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the options and values that differ between runs, formatted: name -> one per run.

    Where the runs have other options of a group, the values of the group are left out.
    """
    plain = [
        {str(name).removeprefix(OTHERS): value for name, value in own.items()} for own in params
    ]
    names = dict.fromkeys(name for own in plain for name in own)
    differing = [name for name in names if len({repr(own.get(name)) for own in plain}) > 1]
    groups = {name.replace("normalization", "weight") for name in differing if "." not in name}
    kept = [
        name
        for name in differing
        if not IGNORED.match(name)
        and "/" not in name  # a default that another option chooses
        and name.split(".")[0] not in UNIMPORTANT
        and not ("." in name and find_group(name) in groups)
    ]
    order = [name for name in ALWAYS if name in kept]
    order += [name for name in kept if name not in order]
    return {name: [write_value(own.get(name)) for own in plain] for name in order}


def find_group(name: str) -> str:
    """Return the group that a value or an option in a component belongs to."""
    return (name.partition("@")[2] or name).split(".")[0]  # backbone@reranker.backbone: reranker


def name_runs(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name runs by their options and the values that differ, such as "nnn, top_k=50"."""
    differences = list_config_differences(params)
    shown = list(differences)[:MAX_PARTS]
    if "reranker" not in shown:
        shown = ["reranker", *shown]

    def write(name: str, i: int) -> str:
        value = differences[name][i] if name in differences else write_value(params[i].get(name))
        if name == "weight":
            return f"weight {value}"
        return value if "." not in name and name != "top_k" else f"{name}={value}"

    parts = [[write(name, i) for name in shown] for i in range(len(params))]
    return [", ".join(filter(None, own)) for own in parts]


def list_pool_differences(differences: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the names of differing values that choose which pictures are searched."""
    chosen = ("data.pool", "data.filter", "data.image_dir", "data.folder", "index.folders")
    return [name for name in differences if name.startswith(chosen)]


def find_common(runs: Sequence[ComparedRun], common: bool) -> list[str]:
    """Return the ids of the headlines to compare, in the order of the first run.

    Args:
        runs: At least two.
        common: Whether headlines that only some of the runs have are left out; else they are an
            error.

    Raises:
        ValueError: If runs have other headlines, or an id belongs to different headlines or
            pictures; names the runs, and what they have in common.
    """
    first = runs[0]
    titles = first.candidates.titles
    ids = [i for i in titles if all(i in run.candidates.titles for run in runs)]
    for run in runs[1:]:
        own = run.candidates.titles
        shared = [i for i in titles if i in own]
        words = f"{describe_source(first)} and {describe_source(run)}"
        if not shared:
            raise ValueError(f"runs must be of the same headlines, got {words}: none in common")
        if other := [i for i in shared if titles[i] != own[i]]:
            raise ValueError(
                f"runs must be of the same data, got {words}: article {other[0]!r} is "
                f"{titles[other[0]][:80]!r} in one and {own[other[0]][:80]!r} in the other"
            )
        if not common and (len(shared) < len(titles) or len(shared) < len(own)):
            lacking = next((i for i in titles if i not in own), None)
            by = run.folder if lacking else first.folder
            lacking = lacking or next(i for i in own if i not in titles)
            raise ValueError(
                f"runs must be of the same headlines, got {words}: {len(shared)} in common, "
                f"{by} lacks article {lacking!r}; task.common=true compares those in common"
            )
        check_pictures(first, run)
    if not ids:
        raise ValueError("runs must be of the same headlines: none is in all of the runs")
    return ids


def check_pictures(first: ComparedRun, second: ComparedRun) -> None:
    """Check that equal ids are equal pictures, as far as their digests are known.

    Raises:
        ValueError: If an id belongs to different pictures.
    """
    known = second.candidates.images
    for image_id, image in first.candidates.images.items():
        digest = known[image_id].digest if image_id in known else None
        if digest and image.digest and digest != image.digest:
            raise ValueError(
                f"runs must be of the same pictures: {image_id!r} has other content in "
                f"{second.folder} than in {first.folder}"
            )


def describe_source(run: ComparedRun) -> str:
    """Return a run's folder with the data, split and number of its headlines."""
    names = [run.params.get("data"), run.params.get("split")]
    source = " ".join(str(name) for name in names if name)
    return f"{run.folder} ({source}, {len(run.candidates.titles):,} headlines)"
