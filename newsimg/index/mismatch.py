"""Says in words which backbone an index was made with, and what to type to have the same one."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NAMED = ("dtype", "decoding")  # told of both sides, beside what differs


def explain_mismatch(
    folder: Path,
    manifest: Mapping[str, Any],
    fingerprint: str,
    description: Mapping[str, Any] | None,
) -> str:
    """Return why an index cannot be searched with a run's backbone.

    Args:
        folder: The index.
        manifest: Its own; `backbone` describes the one that it was made with.
        fingerprint: Of the run's backbone.
        description: See `Backbone.description`.
    """
    own = dict(manifest["backbone"])
    typed = own.pop("typed", [])
    other = dict(description or _read(fingerprint))
    different = [key for key in {**own, **other} if own.get(key) != other.get(key)]
    if "weights" in own and "weights" not in different:  # the same files, elsewhere
        different = [key for key in different if key != "model"]
    shown = [
        key
        for key in {**own, **other}
        if key in (*NAMED, *different) and key not in ("model", "weights", "pixels")
    ]
    return (
        f"{folder} was made with the backbone {_describe(own, shown)}, this run has "
        f"{_describe(other, shown)}: {_advise(own, other, different, typed)}"
    )


def _advise(
    own: Mapping[str, Any], other: Mapping[str, Any], different: list[str], typed: Sequence[str]
) -> str:
    anew = "make the index anew, or leave this backbone out"
    if not {"model", "class"}.isdisjoint(different):
        if typed:
            return "add " + " ".join(map(shlex.quote, typed))
        return f"add backbone.model={own['model']}" if "class" not in different else anew
    if "weights" in different:
        model, _, commit = str(own.get("weights")).rpartition("@")
        if model and model == other.get("model"):
            return f"add backbone.revision={commit}"
        return (
            "the model's files are not those that it was made with; give a folder with those by "
            "backbone.model=FOLDER, or make the index anew"
        )
    if "pixels" in different:
        return "this version of newsimg decodes pictures to other pixels; make the index anew"
    if not different:
        return anew
    settings = [f"backbone.{key}={_to_text(own[key])}" for key in different if key in own]
    return "add " + " ".join(map(shlex.quote, settings)) if settings else anew


def _describe(description: Mapping[str, Any], shown: Sequence[str]) -> str:
    facts = [f"{key} {_to_text(description[key])}" for key in shown if key in description]
    model = str(description.get("model", description.get("class", "of another kind")))
    return f"{model} ({', '.join(facts)})" if facts else model


def _to_text(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


def _read(fingerprint: str) -> dict[str, Any]:
    """Return what a fingerprint says of itself."""
    try:
        facts = json.loads(fingerprint)
    except ValueError:
        facts = None
    return facts if isinstance(facts, dict) else {"model": fingerprint}
