"""task=index and index=saved: rows match their pictures after errors, changes and interruptions."""

import hashlib
import io
import os
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from indexing import IndexMaker, draw, fill, open_clip
from PIL import Image as PILImage

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.datatypes import Accepted, FloatArray, Image, Rejected, ValidationRules
from newsimg.engine.stream import stream_embeddings
from newsimg.index.folder import open_saved_index, read_manifest
from newsimg.index.saved import SavedIndexes
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone
from newsimg.storage.files import hash_files, write_checked_json

ROOT = Path(__file__).parents[2]
RULES = ValidationRules("reject", 1_000_000, 2)


@pytest.fixture(scope="module")
def clip(tiny_clip: Path) -> TransformersBackbone:
    return open_clip(tiny_clip)


@pytest.fixture
def make(clip: TransformersBackbone, tmp_path: Path) -> IndexMaker:
    return IndexMaker(clip, tmp_path)


def read_vectors(folder: Path) -> FloatArray:
    """Return the vectors of a flat index in the order of its ids, by FAISS alone."""
    index = faiss.read_index(str(folder / "vectors.faiss"))
    inner = faiss.downcast_index(index.index)
    rows = np.argsort(faiss.vector_to_array(index.id_map))
    return inner.reconstruct_n(0, inner.ntotal)[rows]


def check_every_row(folder: Path, clip: TransformersBackbone) -> pd.DataFrame:
    """Compare each row's vector and digest with those of its picture."""
    table = pd.read_parquet(folder / "images.parquet")
    vectors = read_vectors(folder)
    assert len(vectors) == len(table)
    assert table["row_id"].is_monotonic_increasing
    images = []
    for row in table.itertuples():
        content = Path(row.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row.digest
        assert row.path.endswith(row.image_id)
        images.append(Image(row.image_id, Path(row.path), truncated=row.truncated))
    np.testing.assert_allclose(vectors, clip.embed_images(images), atol=1e-5)
    return table


def bad_files() -> dict[str, bytes]:
    """Unusable files as in a crawl, by the expected reason of rejection."""
    png = io.BytesIO()
    PILImage.new("L", (1200, 1200)).save(png, "PNG")
    dot = io.BytesIO()
    PILImage.new("RGB", (1, 1)).save(dot, "GIF")
    return {
        "zero bytes": b"",
        "not a picture": b"<html>404</html>",
        "1200x1200: more than 1000000 pixels": png.getvalue(),
        "1x1: less than 2 pixels a side": dot.getvalue(),
        "truncated: image file is truncated": draw(7, (200, 160))[:3000],
    }


def test_rejected_pictures_at_random_positions_shift_no_other_row(
    make: Callable[..., dict[str, float]], clip: TransformersBackbone, tmp_path: Path
) -> None:
    folder = fill(tmp_path / "pictures", 120)
    random = np.random.default_rng(28)
    places = random.choice(120, 25, replace=False)
    planted = {}
    for i, place in enumerate(places):
        reason, content = list(bad_files().items())[i % 5]
        planted[str(folder / f"{place:05}.jpg")] = reason
        (folder / f"{place:05}.jpg").write_bytes(content)
    metrics = make(folder, max_rejected=0.5)
    table = check_every_row(tmp_path / "index", clip)
    assert sorted(table["image_id"]) == sorted(
        f"{i:05}.jpg" for i in range(120) if i not in set(places)
    )
    assert (table["width"] == 24).all()
    assert (table["height"] == 20).all()
    rejected = pd.read_parquet(tmp_path / "index" / "rejected.parquet").set_index("uri")["reason"]
    assert set(rejected.index) == set(planted)
    for uri, reason in planted.items():
        assert rejected[uri].startswith(reason)
    assert metrics["n_rejected"] == 25
    assert metrics["n_images"] == 95


def test_on_bad_image_raise_stops_at_the_first_bad_picture(
    make: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    folder = fill(tmp_path / "pictures", 30)
    (folder / "00007.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cannot use .*00007\.jpg: zero bytes"):
        make(folder, on_bad_image="raise")


def test_a_share_of_bad_pictures_above_max_rejected_fails_and_names_some(
    make: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    folder = fill(tmp_path / "pictures", 38)
    for name in ("x", "y"):
        (folder / f"{name}.jpg").write_bytes(b"")
    make(folder, index_dir="fine")  # two of forty are 5 %
    (folder / "z.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"3 of 41 .* task.max_rejected=0.05 .*\n.*x\.jpg: zero"):
        make(folder)
    assert not (tmp_path / "index" / "manifest.json").exists()


def test_truncated_pictures_are_indexed_only_with_on_truncated_accept(
    make: Callable[..., dict[str, float]], clip: TransformersBackbone, tmp_path: Path
) -> None:
    folder = fill(tmp_path / "pictures", 30)
    (folder / "00003.jpg").write_bytes(draw(3, (200, 160))[:3000])
    make(folder, index_dir="rejecting")
    make(folder, index_dir="accepting", on_truncated="accept")
    make(folder, index_dir="rejecting_again")  # although the cache now holds its embedding
    table = check_every_row(tmp_path / "accepting", clip)
    assert table.set_index("image_id")["truncated"].to_dict()["00003.jpg"]
    assert table["truncated"].sum() == 1
    for name in ("rejecting", "rejecting_again"):
        assert "00003.jpg" not in set(check_every_row(tmp_path / name, clip)["image_id"])


def test_a_corrupt_archive_member_is_rejected_and_no_other(
    clip: TransformersBackbone, tmp_path: Path
) -> None:
    from newsimg.data.collection_zip import ZipDataset

    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(12):
            archive.writestr(f"{i:02}.jpg", draw(i))
        at = archive.getinfo("05.jpg").header_offset + 200
    content = bytearray(path.read_bytes())
    content[at] ^= 255
    path.write_bytes(content)
    dataset = ZipDataset(name="z", folder=str(path), licences=None)
    images = [one for one in dataset.stream_images() if isinstance(one, Image)]
    results = list(stream_embeddings(images, clip, RULES, 2))
    assert [isinstance(one, Accepted) for one in results] == [i != 5 for i in range(12)]
    bad = results.pop(5)
    assert isinstance(bad, Rejected)
    assert "damaged archive member: Bad CRC-32" in bad.reason
    (tmp_path / "loose").mkdir()
    expected = clip.embed_images(
        [Image(str(i), fill(tmp_path / "loose", 12) / f"{i:05}.jpg") for i in range(12) if i != 5]
    )
    rows = np.stack([one.embedding for one in results if isinstance(one, Accepted)])
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_duplicate_pictures_are_embedded_once_and_both_indexed(
    make: Callable[..., dict[str, float]], clip: TransformersBackbone, tmp_path: Path
) -> None:
    folder = fill(tmp_path / "pictures", 40)
    for i in (5, 20, 39):
        (folder / f"copy{i}.jpg").write_bytes(draw(i))
    make(folder)
    table = check_every_row(tmp_path / "index", clip)
    assert len(table) == 43
    vectors = read_vectors(tmp_path / "index")
    for i in (5, 20, 39):
        pair = table.index[table["image_id"].isin([f"{i:05}.jpg", f"copy{i}.jpg"])]
        np.testing.assert_array_equal(vectors[pair[0]], vectors[pair[1]])
    (entry,) = OutputCache(tmp_path / "cache").list_entries()
    assert entry.n_items == 40


def test_a_file_name_that_is_not_utf8_is_rejected_with_a_readable_uri(
    make: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    folder = fill(tmp_path / "pictures", 30)
    with open(os.fsencode(folder) + b"/\xff.jpg", "wb") as file:
        file.write(draw(1))
    assert make(folder)["n_rejected"] == 1
    rejected = pd.read_parquet(tmp_path / "index" / "rejected.parquet")
    assert rejected["uri"][0].endswith("\\udcff.jpg")
    assert rejected["reason"][0] == "its name is not UTF-8"


def test_appending_and_removing_give_the_same_index_as_a_new_build(
    make: Callable[..., dict[str, float]], clip: TransformersBackbone, tmp_path: Path
) -> None:
    folder = fill(tmp_path / "pictures", 50)
    make(folder)
    fill(folder, 20, start=50)
    metrics = make(folder, action="append")
    assert metrics["n_images"] == 70
    assert metrics["recall_at_10"] == 1
    table = check_every_row(tmp_path / "index", clip)
    assert list(table["row_id"]) == list(range(70))
    removed = ["00000.jpg", "00031.jpg", "00069.jpg"]
    assert make(folder, action="remove", image_ids=removed)["n_removed"] == 3
    table = check_every_row(tmp_path / "index", clip)
    assert set(table["image_id"]) == {f"{i:05}.jpg" for i in range(70)} - set(removed)
    # Removed pictures can be appended again, with new row ids.
    make(folder, action="append")
    table = check_every_row(tmp_path / "index", clip)
    assert list(table["row_id"])[-3:] == [70, 71, 72]
    make(folder, index_dir="rebuilt")
    queries = clip.embed_images([Image("q", folder / f"{i:05}.jpg") for i in range(20)])
    found = []
    for name in ("index", "rebuilt"):
        saved = open_saved_index(tmp_path / name, clip.fingerprint)
        scores, rows = saved.search(queries, 5)
        found.append((scores, [[saved.images[row].image_id for row in ranks] for ranks in rows]))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_a_rejected_picture_that_was_repaired_is_appended(
    make: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    folder = fill(tmp_path / "pictures", 40)
    for name in ("a", "b"):
        (folder / f"{name}.jpg").write_bytes(b"")
    make(folder)
    (folder / "a.jpg").write_bytes(draw(77))
    metrics = make(folder, action="append", max_rejected=1)
    assert (metrics["n_images"], metrics["n_rejected"]) == (41, 1)
    rejected = pd.read_parquet(tmp_path / "index" / "rejected.parquet")
    assert [Path(uri).name for uri in rejected["uri"]] == ["b.jpg"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "already holds an index: use task.action=append"),
        ({"action": "remove", "image_ids": ["nobody.jpg"]}, "has no picture 'nobody.jpg'"),
        ({"action": "remove"}, "task.image_ids must be given if and only if task.action=remove"),
        (
            {"action": "grow"},
            "task.action must be one of build, append, remove, import, got 'grow'",
        ),
        ({"on_bad_image": "keep"}, "task.on_bad_image must be one of skip, raise, got 'keep'"),
        ({"max_rejected": 5}, r"task.max_rejected must be in \[0, 1\], got 5"),
        ({"max_pixels": 0}, r"task.max_pixels must be in \[1, 178956970\], got 0"),
        ({"min_side": 0}, "task.min_side must be at least 1, got 0"),
        ({"n_threads": 0}, "task.n_threads must be at least 1, got 0"),
        ({"on_truncated": "x"}, "task.on_truncated must be one of reject, accept, got 'x'"),
    ],
)
def test_invalid_arguments_are_refused_with_a_message(
    changes: dict[str, Any],
    message: str,
    make: Callable[..., dict[str, float]],
    tmp_path: Path,
) -> None:
    folder = fill(tmp_path / "pictures", 12)
    if message.startswith(("already holds", "has")):
        make(folder)
    with pytest.raises(ValueError, match=message):
        make(folder, **changes)


def test_a_second_job_in_the_same_folder_is_refused(
    make: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    folder = fill(tmp_path / "pictures", 3)
    (tmp_path / "index").mkdir()
    with (
        FileLock(tmp_path / "index" / ".lock"),
        pytest.raises(ValueError, match=r"another job is at work in .*index"),
    ):
        make(folder)


def test_an_interrupted_installation_of_the_files_is_completed_by_the_next_job(
    make: Callable[..., dict[str, float]], clip: TransformersBackbone, tmp_path: Path
) -> None:
    folder = fill(tmp_path / "pictures", 12)
    metrics = make(folder)
    staging = tmp_path / "index" / ".building"
    staging.mkdir()
    for name in ("rejected.parquet", "manifest.json"):  # the first two were moved
        (tmp_path / "index" / name).rename(staging / name)
    with pytest.raises(FileNotFoundError, match="no complete index in"):
        open_saved_index(tmp_path / "index", clip.fingerprint)
    assert make(folder) == metrics
    assert not staging.exists()
    check_every_row(tmp_path / "index", clip)


def test_the_pictures_of_a_saved_index_are_accessed_by_position_and_by_slice(
    built: Path, clip: TransformersBackbone
) -> None:
    images = open_saved_index(built, clip.fingerprint).images
    ids = [f"{i:05}.jpg" for i in range(40)]
    assert [image.image_id for image in images] == ids
    assert images[-1].image_id == ids[-1]
    for part in (slice(3, 9), slice(None), slice(30, 99), slice(20, 3, -4), slice(9, 3)):
        assert [image.image_id for image in images[part]] == ids[part]
    with pytest.raises(IndexError):
        images[40]


@pytest.fixture
def built(make: Callable[..., dict[str, float]], tmp_path: Path) -> Path:
    make(fill(tmp_path / "pictures", 40))
    return tmp_path / "index"


@pytest.mark.parametrize("name", ["vectors.faiss", "images.parquet", "rejected.parquet"])
@pytest.mark.parametrize("damage", ["flip", "longer", "missing"])
def test_a_file_that_differs_from_the_manifest_is_named(
    name: str, damage: str, built: Path, clip: TransformersBackbone, tmp_path: Path
) -> None:
    content = bytearray((built / name).read_bytes())
    content[len(content) // 2] ^= 1
    os.utime(built / name, (1, 1))  # an old file, whose hash is cached
    hasher = OutputCache(tmp_path / "hashes").hash_files
    open_saved_index(built, clip.fingerprint, hasher=hasher)
    if damage == "missing":
        (built / name).unlink()
    else:
        (built / name).write_bytes(content + b"x" * (damage == "longer"))
    kind = FileNotFoundError if damage == "missing" else ValueError
    for function in (hasher, hash_files):
        with pytest.raises(kind, match=rf"{name}.*manifest\.json"):
            open_saved_index(built, clip.fingerprint, hasher=function)


def test_an_index_of_another_backbone_is_refused_with_both_names(
    built: Path, clip: TransformersBackbone
) -> None:
    with pytest.raises(
        ValueError, match=r"built with the backbone .*TransformersBack.* uses other"
    ):
        open_saved_index(built, "other")


def test_a_folder_without_a_manifest_is_not_an_index(built: Path) -> None:
    (built / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no complete index in .*manifest\.json"):
        open_saved_index(built, "any")


def test_a_damaged_manifest_is_refused(built: Path, clip: TransformersBackbone) -> None:
    path = built / "manifest.json"
    text = path.read_text()
    for damaged in (text.replace('"n_images": 40', '"n_images": 41'), text[:-9], "[]", "\xff"):
        path.write_text(damaged, encoding="latin-1")
        with pytest.raises(ValueError, match=rf"{path} is damaged: "):
            open_saved_index(built, clip.fingerprint)


def test_rows_shifted_against_the_vectors_are_detected(
    built: Path, clip: TransformersBackbone, tmp_path: Path
) -> None:
    """The fault of the original system: all paths shifted by one row."""
    table = pd.read_parquet(built / "images.parquet")
    for column in ("image_id", "path", "digest"):
        table[column] = np.roll(table[column], 1)
    schema = pq.read_schema(built / "images.parquet")
    pq.write_table(pa.Table.from_pandas(table, schema), built / "images.parquet")
    manifest = read_manifest(built)
    content = (built / "images.parquet").read_bytes()
    manifest["files"]["images.parquet"] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "n_bytes": len(content),
    }
    write_checked_json(built / "manifest.json", manifest)
    backbone = CachedBackbone(clip, OutputCache(tmp_path / "cache"))
    # Among the ten nearest of forty pictures, some are found by chance.
    with pytest.raises(ValueError, match=r"of 40 pictures are found by .* 40 of 40 when the"):
        len(SavedIndexes(folders=[str(built)], backbone=backbone, mapped=False).images)


@pytest.mark.parametrize("mapped", [False, True])
def test_several_indexes_are_searched_as_one(
    make: Callable[..., dict[str, float]], clip: TransformersBackbone, tmp_path: Path, mapped: bool
) -> None:
    complete = fill(tmp_path / "complete", 60)
    # Every third picture, so that the ids of the folders interleave; one picture has a duplicate.
    (complete / "twin.jpg").write_bytes(draw(4))
    parts = []
    for i in range(3):
        part = tmp_path / f"part{i}"
        part.mkdir()
        for path in sorted(complete.iterdir())[i::3]:
            (part / path.name).write_bytes(path.read_bytes())
        make(part, index_dir=f"index{i}")
        parts.append(str(tmp_path / f"index{i}"))
    make(complete)
    backbone = CachedBackbone(clip, OutputCache(tmp_path / "cache"))
    merged = SavedIndexes(folders=parts[::-1], backbone=backbone, mapped=mapped)
    ids = [image.image_id for image in merged.images]
    assert ids == sorted(path.name for path in complete.iterdir())
    in_memory_alone = f"{tmp_path}/index0/vectors.faiss" not in Path("/proc/self/maps").read_text()
    assert in_memory_alone == (not mapped)
    queries = clip.embed_images([Image("q", path) for path in sorted(complete.iterdir())])
    one = SavedIndexes(folders=[str(tmp_path / "index")], backbone=backbone, mapped=False)
    for top_k in (1, 7, 61):
        scores, rows = merged.search(queries, top_k)
        expected = queries @ queries.T
        np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :top_k], atol=1e-6)
        np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, axis=1), atol=1e-6)
        np.testing.assert_array_equal(scores, one.search(queries, top_k)[0])
    _, rows = merged.search(queries[[4, 60]], 2)
    assert [[ids[row] for row in ranks] for ranks in rows] == [["00004.jpg", "twin.jpg"]] * 2
    folders = [parts[0], str(tmp_path / "index")]
    with pytest.raises(ValueError, match=r"index0 and .*index both have a picture"):
        len(SavedIndexes(folders=folders, backbone=backbone, mapped=mapped).images)


def test_a_saved_index_of_the_sample_gives_the_metrics_of_an_index_built_in_the_run(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    options = [*tiny_options, "tracking=none", f"cache.dir={tmp_path / 'cache'}", "folder=runs"]
    others = [option for option in options if not option.startswith("task.")]
    made = newsimg_here(*others, "task=index", f"task.index_dir={tmp_path / 'index'}")
    assert made.code == 0, made.output
    assert "60 of 60" in made.stdout
    folder = f"'index.folders=[{tmp_path / 'index'}]'"
    kept = shlex.join(others)
    assert f"newsimg-search {kept} index=saved {folder}\n" in made.stdout
    assert f'newsimg {kept} task=infer index=saved {folder} query="HEADLINE"\n' in made.stdout
    built = newsimg_here(*options)
    saved = newsimg_here(*options, "index=saved", f"index.folders=[{tmp_path / 'index'}]")
    assert saved.code == 0, saved.output

    def table(outcome: Any) -> list[str]:
        return [line for line in outcome.stdout.splitlines() if "@" in line]

    assert table(saved) == table(built)
    assert len(table(built)) > 3


def test_a_collection_without_headlines_is_not_evaluated(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    fill(tmp_path / "pictures", 3)
    options = [option for option in tiny_options if not option.startswith("data")]
    outcome = newsimg_here(
        *options, "tracking=none", "data=collection", f"data.folder={tmp_path / 'pictures'}"
    )
    assert outcome.code != 0
    assert "has pictures and no headlines: newsimg task=index" in outcome.stderr


@pytest.mark.slow
def test_a_killed_job_is_resumed_and_gives_the_same_files_as_an_uninterrupted_one(
    newsimg: Callable[..., Any], tiny_clip: Path, tmp_path: Path
) -> None:
    n_pictures = 1000
    fill(tmp_path / "pictures", n_pictures)
    (tmp_path / "pictures" / "00100.jpg").write_bytes(b"")

    def options(name: str) -> list[str]:
        return [
            "data=collection",
            f"data.folder={tmp_path / 'pictures'}",
            "task=index",
            f"task.index_dir={tmp_path / name}",
            f"cache.dir={tmp_path / 'cache' / name}",
            f"backbone.model={tiny_clip}",
            "backbone.batch_size=16",
            "index=ivf_flat",
            "tracking=none",
            f"folder={tmp_path / 'runs'}",
        ]

    job = subprocess.Popen(
        [sys.executable, "-m", "newsimg.run", *options("killed")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    parts = tmp_path / "killed" / ".building" / "parts"
    while not (parts.is_dir() and any(parts.glob("0*"))):
        assert job.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    job.wait()
    before = sum(
        entry.n_items for entry in OutputCache(tmp_path / "cache" / "killed").list_entries()
    )
    assert 512 - 1 <= before < n_pictures
    assert not (tmp_path / "killed" / "manifest.json").exists()
    for name in ("killed", "uninterrupted"):  # each in its own process, like the killed job
        outcome = newsimg(*options(name))
        assert outcome.code == 0, outcome.output
    for name in ("vectors.faiss", "images.parquet", "rejected.parquet"):
        ours, theirs = ((tmp_path / one / name).read_bytes() for one in ("killed", "uninterrupted"))
        assert ours == theirs, name
    (entry,) = OutputCache(tmp_path / "cache" / "killed").list_entries()
    assert entry.n_items == n_pictures - 1
    assert not (tmp_path / "killed" / ".building").exists()
