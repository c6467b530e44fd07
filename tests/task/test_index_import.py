"""Import of a FAISS index and a list of paths that another program wrote."""

import json
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
from indexing import IndexMaker, draw, fill, open_clip

from newsimg.data.collection_list import ListDataset
from newsimg.datatypes import FloatArray, Image
from newsimg.index.building import imported
from newsimg.index.saved import SavedIndexes

N = 40
Made = tuple[IndexMaker, list[str], FloatArray]


@pytest.fixture
def made(tiny_clip: Path, tmp_path: Path) -> Made:
    """Pictures in a random order, and their embeddings."""
    make = IndexMaker(open_clip(tiny_clip), tmp_path)
    folder = fill(tmp_path / "pictures", N)
    names = [f"pictures/{path.name}" for path in sorted(folder.iterdir())]
    order = np.random.default_rng(1).permutation(N)
    names = [names[i] for i in order]
    return make, names, make.backbone.embed_images([Image(n, tmp_path / n) for n in names])


def write(folder: Path, names: list[str], vectors: FloatArray, kind: str = "Flat,IP") -> Path:
    """Write `image_index.faiss` and `image_paths.txt`."""
    factory, _, metric = kind.rpartition(",")
    metrics = {"IP": faiss.METRIC_INNER_PRODUCT, "L2": faiss.METRIC_L2, "L1": faiss.METRIC_L1}
    index = faiss.index_factory(vectors.shape[1], factory, metrics[metric])
    if not index.is_trained:
        index.train(vectors)
    if isinstance(index, faiss.IndexIDMap):
        index.add_with_ids(vectors, np.arange(len(vectors)))
    else:
        index.add(vectors)
    faiss.write_index(index, str(folder / "image_index.faiss"))
    (folder / "image_paths.txt").write_text("\n".join(names) + "\n")
    return folder / "image_index.faiss"


def run_import(make: IndexMaker, path: Path, name: str = "index") -> dict[str, float]:
    data = ListDataset(name="c", path=str(path.parent / "image_paths.txt"))
    return make(data, name, action="import", import_path=str(path))


@pytest.mark.parametrize(
    "kind", ["Flat,IP", "Flat,L2", "IVF2,Flat,IP", "HNSW8,L2", "IDMap,Flat,IP"]
)
def test_an_imported_index_finds_what_an_exact_search_of_its_vectors_finds(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    make, names, vectors = made
    monkeypatch.setattr(imported, "N_AT_ONCE", 7)
    metrics = run_import(make, write(tmp_path, names, vectors, kind))
    assert metrics["n_images"] == N
    saved = SavedIndexes(folders=[str(tmp_path / "index")], backbone=make.backbone, mapped=False)
    queries = make.backbone.embed_texts(["a ferry", "goats in the snow", "storm"])
    scores, rows = saved.search(queries, 10)
    exact = queries @ vectors.T
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :10], atol=1e-6)
    of_names = {name: exact[:, i] for i, name in enumerate(names)}
    for i in range(3):
        found = [of_names[saved.images[int(row)].image_id][i] for row in rows[i]]
        np.testing.assert_allclose(found, scores[i], atol=1e-6)
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text())
    assert manifest["fingerprint"] == make.backbone.fingerprint
    assert manifest["imported"]["n_compared"] == N
    assert manifest["imported"]["lowest_cosine"] > 0.9999
    fill(tmp_path / "more", 2, start=500)
    added = make(tmp_path / "more", action="append")
    assert added["n_images"] == N + 2


def test_a_picture_that_cannot_be_read_is_dropped_with_its_own_vector(
    made: Made, tmp_path: Path
) -> None:
    make, names, vectors = made
    (tmp_path / names[3]).unlink()
    (tmp_path / names[20]).write_bytes(draw(1)[:200])
    metrics = run_import_with(make, write(tmp_path, names, vectors), max_rejected=0.1)
    assert (metrics["n_images"], metrics["n_rejected"]) == (N - 2, 2)
    rejected = pd.read_parquet(tmp_path / "index" / "rejected.parquet")
    assert [Path(uri).name for uri in rejected["uri"]] == [Path(names[i]).name for i in (3, 20)]
    saved = SavedIndexes(folders=[str(tmp_path / "index")], backbone=make.backbone, mapped=False)
    for i in set(range(N)) - {3, 20}:
        scores, rows = saved.search(vectors[i : i + 1], 1)
        assert saved.images[int(rows[0, 0])].image_id == names[i]
        assert scores[0, 0] == pytest.approx(1, abs=1e-5)


def run_import_with(make: IndexMaker, path: Path, **changes: float) -> dict[str, float]:
    data = ListDataset(name="c", path=str(path.parent / "image_paths.txt"))
    return make(data, action="import", import_path=str(path), **changes)


def shift(names: list[str], vectors: FloatArray) -> tuple[list[str], FloatArray]:
    return names, np.delete(vectors, 4, axis=0)


def use_other_model(names: list[str], vectors: FloatArray) -> tuple[list[str], FloatArray]:
    rows = np.random.default_rng(0).standard_normal(vectors.shape).astype(np.float32)
    return names, rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (shift, "Flat,IP", "has 39 vectors, but 40 pictures are listed"),
        (use_other_model, "Flat,IP", r"another backbone .* 40 of 40 compared vectors have a cosi"),
        (lambda n, v: (n, v[:, :-1] / np.linalg.norm(v[:, :-1], axis=1, keepdims=True)), "Flat,IP",
         r"has vectors of \d+ dimensions, the backbone's have \d+: choose the backbone"),
        (lambda n, v: (n, 3 * v), "Flat,IP", "vectors of lengths from 3 to 3, expected 1"),
        (lambda n, v: (n, v), "PQ4x4,L2", "they are not normalised, or compressed"),
        (lambda n, v: (n, v), "Flat,L1", "must compare by inner product or L2"),
        (lambda n, v: ([f"no/{one}" for one in n], v), "Flat,IP",
         r"none of 40 pictures can be read .* relative to data.root"),
        (lambda n, v: ([n[0], *n[:-1]], v), "Flat,IP", "compared vectors have a cosine below"),
    ],
)  # fmt: skip
def test_an_index_whose_rows_are_not_those_of_the_pictures_is_refused(
    made: Made,
    tmp_path: Path,
    change: Callable[[list[str], FloatArray], tuple[list[str], FloatArray]],
    kind: str,
    said: str,
) -> None:
    make, names, vectors = made
    path = write(tmp_path, *change(names, vectors), kind)
    with pytest.raises(ValueError, match=said):
        run_import(make, path)
    assert not (tmp_path / "index" / "manifest.json").exists()


def test_a_file_that_is_no_index_and_wrong_options_are_refused(made: Made, tmp_path: Path) -> None:
    make, names, vectors = made
    path = write(tmp_path, names, vectors)
    path.write_bytes(b"no index")
    with pytest.raises(ValueError, match="is not a FAISS index that can be read"):
        run_import(make, path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no FAISS index at .*image_index.faiss"):
        run_import(make, path)
    with pytest.raises(ValueError, match=r"task.import_path must be given if and only if"):
        make(tmp_path / "pictures", action="import")
    with pytest.raises(ValueError, match=r"task.import_path must be given if and only if"):
        make(tmp_path / "pictures", import_path="x.faiss")


def test_relative_paths_of_a_list_are_relative_to_its_root(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere" / "pictures", 1)
    (tmp_path / "list.txt").write_text("pictures/00000.jpg\n")
    root = str(tmp_path / "elsewhere")
    (image,) = ListDataset(name="c", path=str(tmp_path / "list.txt"), root=root).stream_images()
    assert isinstance(image, Image)
    assert (image.image_id, image.path.is_file()) == ("pictures/00000.jpg", True)
