"""Words beside the pictures of an archive: files of the same name, WebDataset's .txt and .json."""

import json
import logging
import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path

from newsimg.storage.metadata.fields import clean_metadata
from newsimg.storage.pictures.archives import read_member_head

log = logging.getLogger(__name__)

SUFFIXES = (".txt", ".json")
MAX_BYTES = 1 << 20


def find_sidecars(pictures: Iterable[str], names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the sidecar files of each picture: member -> suffix -> sidecar's name.

    Args:
        pictures: Names of the pictures in an archive.
        names: Names of all its members.
    """
    found: dict[str, dict[str, str]] = {}
    for name in names:
        stem, suffix = posixpath.splitext(name)
        if suffix.lower() in SUFFIXES:
            found.setdefault(stem, {})[suffix.lower()] = name
    stems = {name: posixpath.splitext(name)[0] for name in pictures}
    return {name: found[stem] for name, stem in stems.items() if stem in found}


def read_sidecars(path: Path, files: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata in a picture's sidecars; the text is the caption.

    A file that is too large, or is no JSON object, is dropped with a warning.

    Args:
        path: The archive.
        files: Suffix -> name of the sidecar.
    """
    values: dict[str, object] = {}
    for suffix, name in sorted(files.items()):  # .json, then .txt
        try:
            content = read_member_head(path, name, MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes")
            text = content.decode("utf-8", "replace").strip()
            if suffix == ".txt":
                values["caption"] = text or values.get("caption")
            else:
                known = json.loads(text)
                if not isinstance(known, dict):
                    raise ValueError("no JSON object")
                values |= {
                    key: value for key, value in known.items() if isinstance(value, str | list)
                }
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s::%s is not used: %s", path, name, error)
    return clean_metadata(values)[0]
