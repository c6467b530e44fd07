"""Folders of the retrieved pictures, one for each headline."""

import os
from pathlib import Path

from newsimg.datatypes import Candidates, Collection, Image, make_image_id
from newsimg.storage.pictures.images import read_image

MAX_NAME = 100  # letters of an id in a file name


def check_folder(folder: str | None) -> Path | None:
    """Check `task.save_pictures` and return it as a path.

    Raises:
        ValueError: If it is not a new or empty folder.
    """
    if folder is None:
        return None
    path = Path(folder).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"task.save_pictures must be a new or empty folder, got {folder!r}")
    return path


def save_pictures(
    folder: Path, collection: Collection, reranked: Candidates, copy: bool = False
) -> int:
    """Write the candidates of each headline to a folder of its own, named by rank.

    The folder of a headline is named by its article id and holds `headline.txt` and pictures such
    as `03_90749.jpg`: links to the files, or copies. Pictures in archives are copied.

    Args:
        folder: Where; see `check_folder`.
        collection: The headlines.
        reranked: Their candidates, best first.
        copy: Whether to copy files instead of linking to them.

    Returns:
        The number of pictures.

    Raises:
        FileNotFoundError: If a picture to be copied does not exist.
        OSError: If a file cannot be written.
    """
    n_pictures = 0
    width = len(str(reranked.rows.shape[1]))
    for query, rows in zip(collection.queries, reranked.rows.tolist(), strict=True):
        own = folder / to_name(query.query_id)
        own.mkdir(parents=True)
        (own / "headline.txt").write_text(f"{query.title}\n", encoding="utf-8")
        for rank, row in enumerate(rows, start=1):
            image = reranked.images[row]
            _save(image, own / f"{rank:0{width}}_{_name_file(image)}", copy)
            n_pictures += 1
    return n_pictures


def to_name(text: str) -> str:
    """Return a text as the name of a file in any folder: slashes and leading dots are escaped."""
    name = make_image_id(text).replace("/", "%2F").replace("\\", "%5C")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _name_file(image: Image) -> str:
    suffix = Path(image.member or image.path.name).suffix
    name = to_name(image.image_id)
    return f"{name.removesuffix(suffix)[-MAX_NAME:]}{suffix}"


def _save(image: Image, path: Path, copy: bool) -> None:
    if image.member is None and not copy:
        path.symlink_to(os.path.abspath(image.path))
    else:
        path.write_bytes(read_image(image))
