"""The build checkpoint: what is resumed after damage."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from newsimg.datatypes import Accepted, Image
from newsimg.engine.listing import Listing, write_listing
from newsimg.index.building.checkpoint import BuildCheckpoint

IDENTITY = {"fingerprint": "a"}


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    images = [Image(f"{i:02d}", tmp_path / f"{i:02d}.jpg") for i in range(9)]
    return write_listing(images, tmp_path / "listing.arrow", 3)


def add(checkpoint: BuildCheckpoint, listing: Listing, numbers: range) -> None:
    for number in numbers:
        rows = np.random.default_rng(number).normal(size=(3, 4)).astype(np.float32)
        images = [one for one in listing.read_chunk(number) if isinstance(one, Image)]
        hashed = [dataclasses.replace(image, digest=image.image_id * 32) for image in images]
        results = [Accepted(*pair) for pair in zip(hashed, (9,) * 3, (8,) * 3, rows, strict=True)]
        checkpoint.add(listing, number, list(results))


@pytest.mark.parametrize(
    ("name", "n_left"),
    [("embeddings.f32", 1), ("parts/000001-*.parquet", 1), ("journal.json", 0)],
)
def test_chunks_from_the_first_damaged_one_are_embedded_again(
    name: str, n_left: int, listing: Listing, tmp_path: Path
) -> None:
    add(BuildCheckpoint(tmp_path / "kept", IDENTITY), listing, range(3))
    (path,) = (tmp_path / "kept").glob(name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # in the second of three chunks
    path.write_bytes(content)
    checkpoint = BuildCheckpoint(tmp_path / "kept", IDENTITY)
    assert checkpoint.resume(listing) == n_left
    add(checkpoint, listing, range(n_left, 3))
    whole = BuildCheckpoint(tmp_path / "whole", IDENTITY)
    whole.resume(listing)
    add(whole, listing, range(3))
    assert np.array_equal(checkpoint.open_embeddings(), whole.open_embeddings())
    assert checkpoint.list_ids() == whole.list_ids() == {f"{i:02d}" for i in range(9)}


def test_an_intact_checkpoint_is_resumed_whole_and_one_of_other_settings_is_not(
    listing: Listing, tmp_path: Path
) -> None:
    add(BuildCheckpoint(tmp_path / "kept", IDENTITY), listing, range(2))
    assert BuildCheckpoint(tmp_path / "kept", IDENTITY).resume(listing) == 2
    assert BuildCheckpoint(tmp_path / "kept", {"fingerprint": "b"}).resume(listing) == 0
