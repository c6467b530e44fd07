"""Pictures in columns of Parquet files, in all supported forms."""

import io
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from indexing import draw
from PIL import Image as PILImage

from newsimg.data.collection_table import TableDataset
from newsimg.datatypes import Image
from newsimg.storage.pictures.column import ParquetPictures
from newsimg.storage.pictures.images import open_image, read_image

# Storage type of `datasets.Image`.
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# Schema metadata as documented by `datasets`.
FEATURES = {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})}
N = 23


def contents() -> list[bytes]:
    return [draw(i) for i in range(N)]


def write(path: Path, columns: dict[str, pa.Array], **options: Any) -> Path:
    table = pa.table(columns).replace_schema_metadata(FEATURES)
    pq.write_table(table, path, row_group_size=10, **options)
    return path


def open_table(path: Path, column: str = "image", id_column: str | None = None) -> TableDataset:
    return TableDataset(name="t", path=str(path), path_column=column, id_column=id_column)


def in_structs(paths: bool = True) -> list[dict[str, Any]]:
    return [
        {"bytes": content, "path": f"{i:04}.jpg" if paths else None}
        for i, content in enumerate(contents())
    ]


COLUMNS: dict[str, tuple[Callable[[], pa.Array], list[str]]] = {
    "structs": (lambda: pa.array(in_structs(), IMAGE), [f"{i:04}.jpg" for i in range(N)]),
    "structs without paths": (
        lambda: pa.array(in_structs(paths=False), IMAGE),
        [f"t.parquet/{i}" for i in range(N)],
    ),
    "bytes": (lambda: pa.array(contents()), [f"t.parquet/{i}" for i in range(N)]),
    "large bytes": (
        lambda: pa.array(contents(), pa.large_binary()),
        [f"t.parquet/{i}" for i in range(N)],
    ),
    "lists of structs": (
        lambda: pa.array([[one] for one in in_structs()], pa.list_(IMAGE)),
        [f"{i:04}.jpg" for i in range(N)],
    ),
    "lists of bytes": (
        lambda: pa.array([contents()[i : i + 2] for i in range(0, N, 2)], pa.list_(pa.binary())),
        [f"t.parquet/{i}/{j}" for i in range(N // 2) for j in (0, 1)] + [f"t.parquet/{N // 2}"],
    ),
}


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("kind", COLUMNS)
def test_pictures_are_read_unchanged_in_any_order(
    kind: str, statistics: bool, tmp_path: Path
) -> None:
    make, ids = COLUMNS[kind]
    path = write(tmp_path / "t.parquet", {"image": make()}, write_statistics=statistics)
    images = list(open_table(path).stream_images())
    assert [image.image_id for image in images] == ids
    assert [read_image(image) for image in images] == contents()
    order = np.random.default_rng(0).permutation(N)
    assert [read_image(images[i]) for i in order] == [contents()[i] for i in order]
    assert images[3].uri.startswith(f"{path}::image/")
    expected = PILImage.open(io.BytesIO(contents()[3])).convert("RGB")
    assert open_image(images[3]).tobytes() == expected.tobytes()
    assert all(image.metadata == {} for image in images)


def test_a_file_is_read_by_many_threads(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"image": pa.array(in_structs(), IMAGE)})
    images = list(open_table(path).stream_images()) * 8
    np.random.default_rng(0).shuffle(images)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(read_image, images))
    expected = dict(zip([f"{i:04}.jpg" for i in range(N)], contents(), strict=True))
    assert read == [expected[image.image_id] for image in images]


def test_a_struct_without_bytes_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(draw(50))
    cells = [*in_structs(), {"bytes": None, "path": "b.jpg"}, {"bytes": b"", "path": "c.jpg"}]
    path = write(tmp_path / "t.parquet", {"image": pa.array(cells, IMAGE)})
    images = list(open_table(path).stream_images())
    assert images[N] == Image("b.jpg", tmp_path / "b.jpg")
    assert [read_image(image) for image in images] == [*contents(), draw(50), b""]
    cells[4] = {"bytes": None, "path": None}
    path = write(tmp_path / "t.parquet", {"image": pa.array(cells, IMAGE)})
    with pytest.raises(ValueError, match=r"t\.parquet: empty image \(row 5\)"):
        list(open_table(path).stream_images())


def test_ids_and_metadata_stay_aligned_with_the_pictures(tmp_path: Path) -> None:
    columns = {
        "image": pa.array([[one] for one in in_structs()[:3]] + [in_structs()[3:5]]),
        "id": pa.array([7.0, 8.0, 1e15, 10.0]),  # as pandas converts integers with nulls
        "licence": pa.array(["CC BY", None, "nan", "CC0"]).dictionary_encode(),
        "author": pa.array([np.nan, np.nan, 4.0, np.nan]),
        "title": pa.nulls(4),
    }
    path = write(tmp_path / "t.parquet", columns)
    images = list(open_table(path, id_column="id").stream_images())
    ids = ["7", "8", "1000000000000000", "10/0", "10/1"]
    assert [image.image_id for image in images] == ids
    assert [image.metadata for image in images] == [
        {"licence": "CC BY"},
        {},
        {"licence": "nan", "author": "4"},
        {"licence": "CC0"},
        {"licence": "CC0"},
    ]


def test_values_of_a_pandas_table_have_no_nan_and_no_decimal_point(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"path": ["a.jpg", "b.jpg"], "id": pd.Series([1, None]).fillna(2), "licence": [None, "CC0"]}
    )
    frame.loc[0, "author"] = np.nan
    frame.to_parquet(tmp_path / "t.parquet")
    images = list(open_table(tmp_path / "t.parquet", "path", "id").stream_images())
    assert [(image.image_id, image.metadata) for image in images] == [
        ("1", {}),
        ("2", {"licence": "CC0"}),
    ]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("path", pa.array([True]), "the column path must be text or pictures, got bool"),
        ("path", pa.array([7]), "the column path must be text or pictures, got int64"),
        ("path", pa.array([["a.jpg"]]), r"the column path must be .* got list<"),
        ("path", pa.array([{"uri": "a.jpg"}]), r"the column path must .* got struct<uri: string"),
        ("id", pa.array([b"a"]), "the column id must be text or numbers, got binary"),
        ("licence", pa.array([[1]]), "the column licence must be text or numbers, got list<"),
        ("author", pa.array([b"x"]), "column author must .* got binary"),
        (
            "id",
            pa.array([2.0**60]),
            "column id has 11529.*not exact",
        ),
        ("id", pa.array([np.nan]), r"t\.parquet: empty id \(row 1\)"),
        ("path", pa.array(["a\0.jpg"]), r"'a\\x00\.jpg' has a NUL character.* \(row 1\)"),
    ],
)
def test_an_unsupported_column_is_rejected_with_name_and_type(
    column: str, values: pa.Array, said: str, tmp_path: Path
) -> None:
    columns = {"path": pa.array(["a.jpg"]), "id": pa.array(["1"])} | {column: values}
    path = write(tmp_path / "t.parquet", columns)
    with pytest.raises(ValueError, match=said) as error:
        list(open_table(path, "path", "id").stream_images())
    assert len(str(error.value)) < 400


def test_an_error_suggests_the_column_with_pictures(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"image": pa.array(in_structs(), IMAGE)})
    with pytest.raises(ValueError, match=r"has no column path: use data\.path_column=image"):
        list(open_table(path, "path").stream_images())


def test_a_damaged_page_affects_only_its_pictures_and_a_damaged_file_is_named(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "t.parquet", {"image": pa.array(contents())}, compression="gzip")
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start = chunk.data_page_offset if chunk.dictionary_page_offset is None else None
    start = start or chunk.dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[start + 60 : start + chunk.total_compressed_size - 20] = b"\xff" * (
        chunk.total_compressed_size - 80
    )
    path.write_bytes(content)
    images = list(open_table(path).stream_images())  # does not read the bytes
    assert [read_image(image) for image in images[:10]] == contents()[:10]
    for image in images[10:20]:
        with pytest.raises(ValueError, match="damaged archive member"):
            read_image(image)
    assert [read_image(image) for image in images[20:]] == contents()[20:]
    path.write_bytes(b"PAR1 is not enough")
    with pytest.raises(ValueError, match=r"damaged archive .*t\.parquet"):
        list(open_table(path).stream_images())


def test_a_missing_member_is_named_in_the_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"image": pa.array([*contents(), None])})
    for member in (f"image/{N + 1}", "image/x", f"image/{N}", "image/1/0", "picture/1", "image"):
        with pytest.raises(FileNotFoundError, match=f"t.parquet has no member {member}"):
            read_image(Image("x", path, member))
    assert ParquetPictures(path).names() == [f"image/{i}" for i in range(N)]


@pytest.mark.slow
def test_from_a_table_of_bytes_to_a_page_and_a_submission(
    newsimg_here: Callable[..., Any], tiny_clip: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "train-00000.parquet", {"image": pa.array(in_structs(), IMAGE)})
    shared = [f"backbone.model={tiny_clip}", "tracking=none", "cache.dir=cache"]
    data = ["data=collection_table", f"data.path={path}", "data.path_column=image"]
    made = newsimg_here("task=index", *data, *shared, "task.index_dir=index")
    assert made.code == 0, made.output
    assert "23 of 23" in made.stdout
    (tmp_path / "asked.csv").write_text("article_id,article_title\n7,Ferry\n8,Bridge\n")
    saved = ["index=saved", "index.folders=[index]", "data=queries", "data.csv_path=asked.csv"]
    inferred = newsimg_here(
        "task=infer", *saved, *shared, "reranker=identity", "hydra.run.dir=found", "top_k=3"
    )
    assert inferred.code == 0, inferred.output
    found = pd.read_parquet("found/results.parquet")
    assert set(found["path"]) == {str(path)}
    assert found["member"].str.fullmatch(r"image/\d+").all()
    page = Path("found/report.html").read_text()
    shown = set(re.findall(r'"(\d+)":\{"id":"[^"]+","thumb":"data:image/webp', page))
    assert len(shown) == len(set(found["image_id"]))  # one thumbnail each
    submitted = newsimg_here(
        "task=submit", "task.group=team", "task.runs={x:found}", "submission=team.zip", *shared[1:]
    )
    assert submitted.code == 0, submitted.output
    checked = newsimg_here("task=check", "submission=team.zip", *shared[1:])
    assert checked.code == 0, checked.output
