"""The error message for an index that was built with another backbone, with a fix to type."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ALWAYS_SHOWN = ("dtype", "decoding")  # shown even if they do not differ


def explain_mismatch(
    folder: Path,
    manifest: Mapping[str, Any],
    fingerprint: str,
    description: Mapping[str, Any] | None,
) -> str:
    """Return how an index's backbone differs from a run's, and which override to type.

    Args:
        folder: Folder of the index.
        manifest: Manifest of the index; its key `backbone` describes the backbone.
        fingerprint: Fingerprint of the run's backbone.
        description: Description of the run's backbone, see `Backbone.description`.
    """
    own = dict(manifest["backbone"])
    typed = own.pop("typed", [])
    other = dict(description or _parse_fingerprint(fingerprint))
    different = [key for key in {**own, **other} if own.get(key) != other.get(key)]
    if "weights" in own and "weights" not in different:  # the same files at another path
        different = [key for key in different if key != "model"]
    shown = [
        key
        for key in {**own, **other}
        if key in (*ALWAYS_SHOWN, *different) and key not in ("model", "weights", "pixels")
    ]
    return (
        f"{folder} was built with the backbone {_describe(own, shown)}, this run uses "
        f"{_describe(other, shown)}: {_suggest_fix(own, other, different, typed)}"
    )


def _suggest_fix(
    own: Mapping[str, Any], other: Mapping[str, Any], different: list[str], typed: Sequence[str]
) -> str:
    rebuild = "build the index again, or remove this backbone override"
    if not {"model", "class"}.isdisjoint(different):
        if typed:
            return "add " + " ".join(map(shlex.quote, typed))
        return f"add backbone.model={own['model']}" if "class" not in different else rebuild
    if "weights" in different:
        model, _, commit = str(own.get("weights")).rpartition("@")
        if model and model == other.get("model"):
            return f"add backbone.revision={commit}"
        return (
            "the model's files have changed since; set backbone.model=FOLDER to a folder with the "
            "original files, or build the index again"
        )
    if "pixels" in different:
        return (
            "this version of newsimg, or of the library of the model, prepares pictures "
            "differently; build the index again"
        )
    if not different:
        return rebuild
    settings = [f"backbone.{key}={_to_text(own[key])}" for key in different if key in own]
    return "add " + " ".join(map(shlex.quote, settings)) if settings else rebuild


def _describe(description: Mapping[str, Any], shown: Sequence[str]) -> str:
    facts = [f"{key} {_to_text(description[key])}" for key in shown if key in description]
    model = str(description.get("model", description.get("class", "of unknown type")))
    return f"{model} ({', '.join(facts)})" if facts else model


def _to_text(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


def _parse_fingerprint(fingerprint: str) -> dict[str, Any]:
    """Return the settings in a fingerprint; the fingerprint itself as `model` if it has none."""
    try:
        facts = json.loads(fingerprint)
    except ValueError:
        facts = None
    return facts if isinstance(facts, dict) else {"model": fingerprint}
