"""Hash of a job: its config, input files and code."""

import hashlib
import json
import marshal
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import CodeType
from typing import Any

from newsimg.storage.files import (
    PACKAGE_DIR,
    read_checked_json,
    user_cache_dir,
    write_checked_json,
)

PLACES = ("folder", "cache", "tracking", "resume")  # where a run is kept, not what it finds
OUTPUTS = (*PLACES, "task", "submission")  # what may name files that runs write
FOLDER_KEY = re.compile(r"(folder|dir|path|model)s?$")  # what a folder is given as
MAX_FILES = 100_000  # of a folder, which takes a second; hours would not do for a tag
CODE_HASHES, N_CODE_HASHES = "code_hashes.json", 20
MANIFEST = "manifest.json"  # written last, with the hashes of the files beside it


def hash_config(config: dict[str, Any]) -> str:
    """Return the hash of all that a job's results depend on: code, config and input files.

    A file that the config names is known by its size and its time of change, so that no table,
    model or picture has to be read; so is every file below a folder that it names (the first
    100,000 of them), but for the folders of runs and of the cache. Of a saved index it is the
    manifest, which holds the hashes of the others. A file whose bytes change under the same size
    and time goes unnoticed, and one whose time alone changes counts as changed.
    """
    kept = {key: value for key, value in config.items() if key not in PLACES}
    sources = {key: value for key, value in config.items() if key not in OUTPUTS}
    written = [config.get("folder"), (config.get("cache") or {}).get("dir")]
    skipped = {os.path.realpath(os.path.expanduser(path)) for path in written if path}
    code = hash_code(tuple(config.get("trusted_packages") or (PACKAGE_DIR.name,)))
    digest = hashlib.sha256(f"{code}{json.dumps(kept, sort_keys=True, default=str)}".encode())
    for path in sorted(set(_find_paths(sources))):
        for entry in islice(_describe(path, skipped), MAX_FILES):
            digest.update(json.dumps(entry).encode())
    return digest.hexdigest()


def _find_paths(value: Any, key: str = "") -> Iterator[str]:
    """Yield the existing files and folders named in a config.

    A text such as `split: test` does not refer to a folder of that name.
    """
    if isinstance(value, dict):
        for name, part in value.items():
            # Where a language model writes captions, the file only keeps them.
            if not (name == "captions_path" and value.get("llm") is not None):
                yield from _find_paths(part, str(name))
    elif isinstance(value, list):
        for part in value:
            yield from _find_paths(part, key)
    elif isinstance(value, str):
        path = os.path.expanduser(value)
        is_meant = FOLDER_KEY.search(key) is not None or (os.sep in value and value != os.sep)
        if os.path.isfile(path) or (is_meant and os.path.isdir(path)):
            yield path


def _describe(path: str, skipped: set[str]) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and modification time of a file, or of the files in a folder, sorted."""
    if os.path.isfile(path):
        status = os.stat(path)
        yield path, status.st_size, status.st_mtime_ns
    elif os.path.isfile(os.path.join(path, MANIFEST)):
        yield from _describe(os.path.join(path, MANIFEST), skipped)
    else:
        yield from _walk(path, skipped, frozenset())


def _walk(folder: str, skipped: set[str], above: frozenset[str]) -> Iterator[tuple[str, int, int]]:
    """Yield the files in a folder; links are followed, except circular ones."""
    real = os.path.realpath(folder)
    if real in skipped or real in above:
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:  # whoever reads the folder says why it cannot be read
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a link to itself: who reads the folder lists it
            continue
        if is_folder:
            yield from _walk(entry.path, skipped, above | {real})
        elif is_file:
            yield from _describe(entry.path, skipped)


def hash_code(packages: Sequence[str]) -> str:
    """Return the hash of the packages' code without comments and docstrings.

    It is kept in the user's cache for as long as sizes and times of the files are the same, as
    compiling them takes half a second.

    Args:
        packages: Names of packages or modules that components come from.
    """
    files = [(path, path.stat()) for name in packages for path in _list_sources(name)]
    facts = [sys.version, *((str(path), s.st_size, s.st_mtime_ns) for path, s in files)]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    kept = user_cache_dir() / CODE_HASHES
    try:
        known = read_checked_json(kept)
    except (OSError, ValueError):
        known = {}
    if key in known:
        return str(known[key])
    digest = hashlib.sha256()
    for path, status in files:
        digest.update(_hash_source(path, status.st_size, status.st_mtime_ns))
    latest = dict([*known.items(), (key, digest.hexdigest())][-N_CODE_HASHES:])
    with suppress(OSError):  # computed again next time
        write_checked_json(kept, latest)
    return digest.hexdigest()


@cache
def _list_sources(name: str) -> list[Path]:
    if name == PACKAGE_DIR.name:
        return sorted(PACKAGE_DIR.rglob("*.py"))
    spec = find_spec(name)
    if spec is None:  # building a component of it says so
        return []
    folders = map(Path, spec.submodule_search_locations or [])
    found = [path for folder in folders for path in folder.rglob("*.py")]
    return sorted(found) or [Path(spec.origin)] if spec.has_location and spec.origin else found


@cache
def _hash_source(path: Path, size: int, time: int) -> bytes:
    source = path.read_bytes()
    try:
        # Compiled it has neither comments nor, optimised, docstrings; that takes 2 ms a file.
        code = compile(source, "", "exec", dont_inherit=True, optimize=2)
    except (SyntaxError, ValueError):  # not every .py of a package is made to be imported
        return hashlib.sha256(source).digest()
    return hashlib.sha256(marshal.dumps(_drop_places(code), 2)).digest()


def _drop_places(code: CodeType) -> CodeType:
    """Return the code without line numbers."""
    constants = [_drop_places(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.replace(
        co_filename="", co_firstlineno=1, co_linetable=b"", co_consts=tuple(constants)
    )
