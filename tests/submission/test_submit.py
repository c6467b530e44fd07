"""Submissions written from results: file names, pictures and rules."""

import io
import re
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PILImage
from PIL import ImageOps
from submissions import draw, write_results

from newsimg.datatypes import Image
from newsimg.interfaces import RunInfo
from newsimg.submission.check import check_submission
from newsimg.submission.layouts import check_name
from newsimg.submission.rendering import find_box, render_picture
from newsimg.task.submit import SubmitTask

IDS = ("101", "102", "103")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return {f"p{i}": draw(folder / f"p{i}.png", seed=i) for i in range(6)}


def submit(runs: dict[str, Path] | None, **changes: Any) -> dict[str, float]:
    """Run the task with output in `out/` of the working folder."""
    arguments = {
        "submission": "out/team.zip",
        "runs": runs and {approach: str(path) for approach, path in runs.items()},
        "group": "team",
        "layout": 2026,
        "size": "LARGE",
        "subset": None,
        "crop": "center",
        "crops": None,
        "on_duplicate": "next",
        "near_duplicates": None,
        "workers": 2,
        "overwrite": True,
    } | changes
    Path("out").mkdir(exist_ok=True)
    typed: Any = SimpleNamespace(info=RunInfo())
    return SubmitTask(**arguments).run(typed, Path("out"))  # type: ignore[arg-type]


def list_zip(path: str = "out/team.zip") -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def open_zipped(name: str, path: str = "out/team.zip") -> PILImage.Image:
    with zipfile.ZipFile(path) as archive:
        picture = PILImage.open(io.BytesIO(archive.read(name)))
        picture.load()
        return picture


def render_plainly(path: Path) -> np.ndarray:
    """Return a picture rendered with Pillow's `ImageOps`, without reduced decoding."""
    with PILImage.open(path) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    return np.asarray(ImageOps.fit(upright, (460, 260), PILImage.Resampling.LANCZOS), np.float64)


def write_subset(path: str, ids: tuple[str, ...]) -> str:
    pd.DataFrame({"article_id": ids, "article_title": "x"}).to_csv(path, index=False)
    return path


@pytest.fixture
def results(pictures: dict[str, Path]) -> Path:
    ranked = {i: [f"p{n}", f"p{n + 1}", "p5"] for n, i in enumerate(IDS)}
    return write_results(Path("a.parquet"), ranked, pictures)


def test_the_layout_of_2026_has_a_folder_for_each_run(results: Path) -> None:
    submit({"clip": results})
    assert list_zip() == [f"team_clip/{i}_team_clip.png" for i in IDS]


def test_the_layout_of_2025_has_a_group_folder_and_run_folders_with_the_size(results: Path) -> None:
    submit({"clip": results, "judge": results}, layout=2025, size="SMALL")
    names = [f"team/RET_{a}_SMALL/{i}_team_{a}.png" for a in ("clip", "judge") for i in IDS]
    assert list_zip() == names


def test_a_zip_of_2025_can_contain_both_sizes(results: Path) -> None:
    subset = {"SMALL": write_subset("small.csv", IDS[1:2]), "LARGE": None}
    submit({"clip": results}, layout=2025, subset=subset)
    large = [f"team/RET_clip_LARGE/{i}_team_clip.png" for i in IDS]
    assert list_zip() == ["team/RET_clip_SMALL/102_team_clip.png", *large]


def test_each_article_gets_the_picture_of_rank_1(results: Path, pictures: dict[str, Path]) -> None:
    submit({"clip": results})
    for n, article_id in enumerate(IDS):
        shown = np.asarray(open_zipped(f"team_clip/{article_id}_team_clip.png"), np.float64)
        np.testing.assert_array_equal(shown, render_plainly(pictures[f"p{n}"]))


def test_the_zip_does_not_depend_on_the_number_of_workers(results: Path) -> None:
    submit({"clip": results}, workers=1)
    first = Path("out/team.zip").read_bytes()
    submit({"clip": results}, workers=3)
    assert Path("out/team.zip").read_bytes() == first


def test_a_run_can_be_given_by_its_folder(results: Path) -> None:
    results.rename("results.parquet")
    assert submit({"clip": Path()})["n_pictures"] == 3


def test_a_later_run_uses_its_best_picture_that_no_earlier_run_shows(
    pictures: dict[str, Path],
) -> None:
    first = write_results(Path("a.parquet"), {"1": ["p0", "p1"], "2": ["p2", "p1"]}, pictures)
    second = write_results(Path("b.parquet"), {"1": ["p0", "p1"], "2": ["p3", "p1"]}, pictures)
    third = write_results(Path("c.parquet"), {"1": ["p1", "p0", "p4"], "2": ["p4"]}, pictures)
    metrics = submit({"a": first, "b": second, "c": third})
    shown = {"a": ["p0", "p2"], "b": ["p1", "p3"], "c": ["p4", "p4"]}
    for approach, image_ids in shown.items():
        for article_id, image_id in zip("12", image_ids, strict=True):
            found = open_zipped(f"team_{approach}/{article_id}_team_{approach}.png")
            np.testing.assert_array_equal(found, render_plainly(pictures[image_id]))
    assert metrics["n_replaced"] == 2
    replaced = pd.read_csv("out/replacements.csv", dtype=str).to_numpy().tolist()
    assert replaced == [["1", "b", "p0", "a", "2", "p1"], ["1", "c", "p1", "b", "3", "p4"]]


def test_on_duplicate_raise_refuses_runs_that_share_a_picture(results: Path) -> None:
    message = r"runs a and b show the same picture for article '101': p0"
    with pytest.raises(ValueError, match=message):
        submit({"a": results, "b": results}, on_duplicate="raise")
    assert list(Path("out").iterdir()) == []


def test_in_2025_runs_may_share_a_picture(results: Path) -> None:
    assert submit({"a": results, "b": results}, layout=2025)["n_replaced"] == 0


def test_a_copy_with_another_name_is_a_duplicate(pictures: dict[str, Path]) -> None:
    copy = Path("copy.png")
    copy.write_bytes(pictures["p0"].read_bytes())
    known = pictures | {"copy": copy}
    first = write_results(Path("a.parquet"), {"1": ["p0", "p1"]}, known)
    second = write_results(Path("b.parquet"), {"1": ["copy", "p2"]}, known)
    submit({"a": first, "b": second})
    shown = open_zipped("team_b/1_team_b.png")
    np.testing.assert_array_equal(shown, render_plainly(pictures["p2"]))


def test_a_run_without_a_picture_left_is_refused(pictures: dict[str, Path]) -> None:
    only = write_results(Path("a.parquet"), {"1": ["p0"]}, pictures)
    message = r"run b has no picture left for article '1': all 1 are shown by earlier runs"
    with pytest.raises(ValueError, match=message):
        submit({"a": only, "b": only})


def test_near_duplicates_are_treated_as_duplicates_if_configured(pictures: dict[str, Path]) -> None:
    pytest.importorskip("imagehash")
    with PILImage.open(pictures["p0"]) as picture:
        picture.save("near.jpg", quality=60)  # other bytes and pixels, the same picture
    known = pictures | {"near": Path("near.jpg")}
    first = write_results(Path("a.parquet"), {"1": ["p0", "p1"]}, known)
    second = write_results(Path("b.parquet"), {"1": ["near", "p2"]}, known)
    assert submit({"a": first, "b": second})["n_replaced"] == 0
    assert submit({"a": first, "b": second}, near_duplicates=8)["n_replaced"] == 1


def test_credits_in_the_results_are_listed_for_each_file(
    pictures: dict[str, Path],
) -> None:
    results = write_results(
        Path("a.parquet"),
        {"1": ["p0"], "2": ["p1"]},
        pictures,
        author={"p0": "Ada Berg, Émile"},
        licence={"p0": "CC BY 4.0", "p1": "CC0"},
    )
    submit({"a": results})
    rows = pd.read_csv("out/credits.csv", dtype=str, keep_default_na=False).to_numpy().tolist()
    assert rows == [
        ["team_a/1_team_a.png", "1", "p0", "Ada Berg, Émile", "CC BY 4.0"],
        ["team_a/2_team_a.png", "2", "p1", "", "CC0"],
    ]


def test_without_credits_no_credits_csv_is_written(results: Path) -> None:
    submit({"clip": results})
    assert not Path("out/credits.csv").exists()


def test_a_subset_determines_the_articles_and_their_order(results: Path) -> None:
    submit({"clip": results}, subset=write_subset("subset.csv", ("103", "101")))
    assert list_zip() == ["team_clip/103_team_clip.png", "team_clip/101_team_clip.png"]


def test_an_article_of_the_subset_that_is_missing_in_a_run_is_named(results: Path) -> None:
    subset = write_subset("subset.csv", ("101", "999"))
    with pytest.raises(
        ValueError, match=r"run clip lacks 1 of the 2 articles of subset ALL, first: '999'"
    ):
        submit({"clip": results}, subset=subset)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("101", "102"), r"run b lacks 1 of the 3 articles of run a, first: '103'"),
        (("101", "102", "103", "104"), r"run b has 1 articles that run a lacks, first: '104'"),
    ],
)
def test_without_a_subset_all_runs_must_have_the_same_articles(
    ids: tuple[str, ...], message: str, results: Path, pictures: dict[str, Path]
) -> None:
    other = write_results(Path("b.parquet"), {i: ["p4"] for i in ids}, pictures)
    with pytest.raises(ValueError, match=message):
        submit({"a": results, "b": other})


@pytest.mark.parametrize("article_id", ["../../x", "a/b", "a\\b", "", ".hidden", "a b", "ä", "a\0"])
def test_an_id_that_is_not_safe_as_a_file_name_is_refused(
    article_id: str, pictures: dict[str, Path]
) -> None:
    results = write_results(Path("a.parquet"), {article_id: ["p0"]}, pictures)
    with pytest.raises(
        ValueError, match="must be safe as a file name.*got " + re.escape(repr(article_id))
    ):
        submit({"a": results})
    assert not Path("out/team.zip").exists()


def test_names_may_contain_dots_hyphens_and_underscores() -> None:
    assert check_name("task.group", "my-team_2.b") == "my-team_2.b"


def test_ids_that_differ_only_in_case_are_refused(pictures: dict[str, Path]) -> None:
    results = write_results(Path("a.parquet"), {"x1": ["p0"], "X1": ["p1"]}, pictures)
    with pytest.raises(ValueError, match="article ids must not differ only in case"):
        submit({"a": results})


@pytest.mark.parametrize("workers", [1, 3])
def test_no_zip_is_written_if_a_picture_cannot_be_read(
    workers: int, pictures: dict[str, Path]
) -> None:
    broken = Path("broken.png")
    broken.write_bytes(pictures["p0"].read_bytes()[:100])
    ranked = {"1": ["p0"], "2": ["broken"], "3": ["p1"]}
    results = write_results(Path("a.parquet"), ranked, pictures | {"broken": broken})
    message = r"run a, article '2': cannot read the picture broken.png"
    with pytest.raises(ValueError, match=message):
        submit({"a": results}, workers=workers)
    assert list(Path("out").iterdir()) == []


def test_an_existing_zip_is_replaced_only_with_overwrite(results: Path) -> None:
    submit({"clip": results}, overwrite=False)
    before = Path("out/team.zip").read_bytes()
    message = r"out/team.zip already exists: .* task.overwrite=true"
    with pytest.raises(ValueError, match=message):
        submit({"judge": results}, overwrite=False)
    assert Path("out/team.zip").read_bytes() == before
    submit({"judge": results}, overwrite=True)
    assert list_zip()[0].startswith("team_judge/")


def test_an_existing_zip_is_kept_if_the_task_fails(results: Path) -> None:
    submit({"clip": results})
    before = Path("out/team.zip").read_bytes()
    with pytest.raises(ValueError, match="lacks"):
        submit({"clip": results}, subset=write_subset("s.csv", ("7",)))
    assert Path("out/team.zip").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": {}}, r"task.runs must name at least one run"),
        ({"runs": None}, r"task.runs must name at least one run"),
        ({"group": None}, r"task.group must be safe .* got None"),
        ({"group": "a/b"}, r"task.group must be safe .* got 'a/b'"),
        ({"runs": {"../x": "a"}}, r"an approach in task.runs must be safe .* got '../x'"),
        ({"runs": {"x": "a", "X": "a"}}, r"approaches in task.runs must not differ only in case"),
        ({"layout": 2024}, r"task.layout must be one of 2025, 2026, got 2024"),
        ({"size": "HUGE"}, r"task.size must be one of SMALL, LARGE, got 'HUGE'"),
        ({"subset": {"SMALL": None}}, r"task.subset must be a file, or in layout 2025 a mapping"),
        ({"crop": "left"}, r"task.crop must be one of center, saliency, letterbox, got 'left'"),
        ({"on_duplicate": "drop"}, r"task.on_duplicate must be one of next, raise, got 'drop'"),
        ({"near_duplicates": 65}, r"task.near_duplicates must be in \[0, 64\], got 65"),
        ({"workers": 0}, r"task.workers must be at least 1, got 0"),
    ],
)
def test_an_argument_out_of_range_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        submit(**({"runs": {"a": Path("a.parquet")}} | changes))


def test_missing_or_invalid_results_are_named(pictures: dict[str, Path]) -> None:
    with pytest.raises(FileNotFoundError, match=r"no results of task=infer at nowhere"):
        submit({"a": Path("nowhere")})
    Path("text.parquet").write_text("article_id,rank")
    with pytest.raises(ValueError, match=r"text.parquet is not a Parquet file"):
        submit({"a": Path("text.parquet")})
    pd.DataFrame({"article_id": ["1"]}).to_parquet("short.parquet")
    with pytest.raises(ValueError, match=r"short.parquet lacks the column rank; it has article_id"):
        submit({"a": Path("short.parquet")})
    table = pd.read_parquet(write_results(Path("a.parquet"), {"1": ["p0", "p1"]}, pictures))
    table.assign(rank=[1, 1]).to_parquet("twice.parquet")
    with pytest.raises(ValueError, match=r"article '1' has rank 1 twice"):
        submit({"a": Path("twice.parquet")})
    table.assign(rank=[2, 3]).to_parquet("gap.parquet")
    with pytest.raises(ValueError, match=r"ranks of article '1' must be 1 to 2, got 2, 3"):
        submit({"a": Path("gap.parquet")})


# Rendering.


@cache
def photograph(size: tuple[int, int]) -> PILImage.Image:
    """Draw a picture with detail at all scales, like a photograph."""
    random = np.random.default_rng(7)
    layers = [
        np.asarray(
            PILImage.fromarray(random.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(
                size, PILImage.Resampling.BICUBIC
            ),
            np.float32,
        )
        / share
        for n, share in ((4, 2), (16, 4), (64, 8), (256, 8))
    ]
    return PILImage.fromarray(np.sum(layers, axis=0).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "orientation"), [((2000, 1500), 1), ((2000, 1500), 3), ((1500, 2000), 6)]
)
def test_reduced_decoding_differs_from_full_decoding_by_three_grey_levels_at_most(
    size: tuple[int, int], orientation: int, tmp_path: Path
) -> None:
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    photograph(size).save(path, quality=90, exif=exif)
    rendered = PILImage.open(io.BytesIO(render_picture(Image("a", path), "center")))
    difference = np.asarray(rendered, np.float64) - render_plainly(path)
    assert np.abs(difference).max() <= 3
    assert np.mean(difference**2) < 0.5  # a PSNR above 51 dB


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("crop", ["center", "saliency", "letterbox"])
def test_every_mode_is_rendered_as_an_rgb_png_without_metadata(
    mode: str, crop: str, tmp_path: Path
) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        PILImage.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)).save(path)
    else:
        photograph((30, 20)).convert(mode).save(path)
    rendered = PILImage.open(io.BytesIO(render_picture(Image("a", path), crop)))
    assert (rendered.format, rendered.mode, rendered.size) == ("PNG", "RGB", (460, 260))
    assert not rendered.info


def test_transparent_areas_become_white(tmp_path: Path) -> None:
    PILImage.new("RGBA", (46, 26), (0, 0, 0, 0)).save(tmp_path / "a.png")
    rendered = PILImage.open(io.BytesIO(render_picture(Image("a", tmp_path / "a.png"), "center")))
    assert rendered.getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("place", [100, 500, 900, 1300, 1700])
@pytest.mark.parametrize("upright", [False, True])
def test_the_saliency_crop_contains_the_most_salient_region(place: int, upright: bool) -> None:
    pixels = np.asarray(PILImage.linear_gradient("L").rotate(90).resize((2000, 600))).copy()
    pixels[200:400, place : place + 200] = np.random.default_rng(0).integers(0, 256, (200, 200))
    picture = PILImage.fromarray(pixels.T if upright else pixels).convert("RGB")
    left, top, right, bottom = find_box(picture, "saliency")
    start, end = (top, bottom) if upright else (left, right)
    if upright:  # 338 of 2,000 pixels: the 200 must be in them
        assert end - start == pytest.approx(600 * 260 / 460)
    assert start <= place
    assert end >= place + 200
    assert 0 <= left < right <= picture.width
    assert 0 <= top < bottom <= picture.height


def test_a_uniform_picture_is_cropped_at_the_centre() -> None:
    flat = PILImage.new("RGB", (2000, 600), "teal")
    assert find_box(flat, "saliency") == pytest.approx(find_box(flat, "center"))
    assert find_box(flat, "center") == pytest.approx((469.23, 0, 1530.77, 600), abs=0.01)


# The command line.


def test_a_zip_written_on_the_command_line_passes_the_check_until_it_is_modified(
    results: Path, newsimg_here: Callable[..., Any]
) -> None:
    made = newsimg_here(
        "task=submit", "task.group=team", f"task.runs={{clip:{results},b-2:{results}}}",
        "submission=team.zip", "tracking=none",
    )  # fmt: skip
    assert made.code == 0, made.output
    assert "newsimg tracking=none task=check submission=team.zip" in made.stdout
    assert check_submission(Path("team.zip"), 2026, {"ALL": IDS}) == []
    checked = newsimg_here("task=check", "submission=team.zip", "tracking=none")
    assert checked.code == 0, checked.output
    assert "team.zip: no violations" in checked.stdout
    with zipfile.ZipFile("team.zip", "a") as archive:
        archive.writestr("team_clip/notes.txt", "hello")
    checked = newsimg_here("task=check", "submission=team.zip", "tracking=none")
    assert checked.code == 1
    assert "team_clip/notes.txt: is not a picture" in checked.stdout
    assert "team.zip: 2 violations, listed in" in checked.stderr
    assert "Traceback" not in checked.output
    ((listed,),) = [[path for path in Path("multirun").rglob("violations.csv")]]
    assert set(pd.read_csv(listed)["file"]) == {"team_clip/notes.txt"}
