"""The sample newsroom: reproducible, in the benchmark's format, with the expected statistics."""

import csv
import hashlib
import io
import itertools
import json
import resource
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
from PIL import Image

from newsimg.sample import generator
from newsimg.sample.generator import HEADER, ensure_newsroom, newsroom_story
from newsimg.sample.headlines import Story
from newsimg.sample.pictures import JPEG_QUALITY, draw_picture
from newsimg.sample.scenes import (
    DEFECTS,
    SHOT_POOR_SHARE,
    Scene,
    is_column,
    is_held_out,
    newsroom_scene,
    scene_from_row,
    training_newsroom,
    training_scenes,
)
from newsimg.sample.subjects import SUBJECTS
from newsimg.sample.training.captions import DEFECT_WORDS, caption_words, literal_caption
from newsimg.sample.wording import COLUMNS, EVENTS, THINGS
from newsimg.storage.metadata.reading import read_metadata

N_ARTICLES = 60


@pytest.fixture(scope="module")
def newsroom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small newsroom."""
    return ensure_newsroom(tmp_path_factory.mktemp("cache"), N_ARTICLES, quiet=True)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """All scenes of the newsroom."""
    return [newsroom_scene(generator.DEFAULT_SEED, number) for number in range(4000)]


def read_articles(folder: Path) -> list[dict[str, str]]:
    with (folder / "newsarticles.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def hash_folder(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_generated_files_do_not_depend_on_the_number_of_workers(
    newsroom: Path, tmp_path: Path
) -> None:
    again = ensure_newsroom(tmp_path, N_ARTICLES, n_workers=1, quiet=True)
    assert hash_folder(again) == hash_folder(newsroom)


def test_another_seed_gives_other_articles_and_pictures(newsroom: Path, tmp_path: Path) -> None:
    other = ensure_newsroom(tmp_path, N_ARTICLES, seed=5, quiet=True)
    assert other.name != newsroom.name
    assert not set(hash_folder(other).values()) & set(hash_folder(newsroom).values())


def test_the_folder_has_the_benchmarks_format(newsroom: Path) -> None:
    rows = read_articles(newsroom)
    assert tuple(rows[0]) == HEADER
    assert len(rows) == N_ARTICLES
    names = {path.name for path in (newsroom / "newsimages").iterdir()}
    assert names == {f"{row['image_id']}.jpg" for row in rows}
    assert {path.name for path in newsroom.iterdir()} == {
        "newsarticles.csv", "newsimages", "scenes.csv", "manifest.json",
    }  # fmt: skip
    assert json.loads((newsroom / "manifest.json").read_text())["n_articles"] == N_ARTICLES


def test_ids_are_digits_and_article_ids_never_equal_image_ids(newsroom: Path) -> None:
    rows = read_articles(newsroom)
    article_ids, image_ids = ({row[key] for row in rows} for key in ("article_id", "image_id"))
    assert len(article_ids) == len(image_ids) == N_ARTICLES
    assert not article_ids & image_ids
    assert all(i.isascii() and i.isdigit() for i in article_ids | image_ids)


def test_pictures_are_distinct_rgb_jpegs_of_460_by_260(newsroom: Path) -> None:
    paths = list((newsroom / "newsimages").iterdir())
    assert len({path.read_bytes() for path in paths}) == N_ARTICLES
    with Image.open(paths[0]) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (460, 260))


def test_titles_contain_quotes_commas_and_non_ascii_letters(newsroom: Path) -> None:
    titles = " ".join(row["article_title"] for row in read_articles(newsroom))
    assert '"' in titles
    assert "," in titles
    assert any(ord(letter) > 127 for letter in titles)
    assert "\n" not in titles


def test_tags_are_people_then_organisations() -> None:
    story = Story("Title", ("Åsa Lindqvist", "Omar Sáenz"), ("Fjord Lines",))
    assert story.tags == "Åsa Lindqvist;Omar Sáenz|Fjord Lines"


def test_scenes_csv_contains_the_scenes(newsroom: Path) -> None:
    with (newsroom / "scenes.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["image_id"]: scene_from_row(row) for row in csv.DictReader(file)}
    for number, article in enumerate(read_articles(newsroom)):
        assert rows[article["image_id"]] == newsroom_scene(generator.DEFAULT_SEED, number)


def test_an_existing_newsroom_is_reused(newsroom: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in newsroom.rglob("*")}
    assert ensure_newsroom(newsroom.parent, N_ARTICLES) == newsroom
    assert {path: path.stat().st_mtime_ns for path in newsroom.rglob("*")} == before


def test_only_the_pictures_that_are_needed_are_drawn_and_they_are_those_of_the_whole(
    newsroom: Path, tmp_path: Path
) -> None:
    articles = read_articles(newsroom)
    needed = [row["image_id"] for row in articles[3:5]]
    folder = ensure_newsroom(tmp_path, N_ARTICLES, quiet=True, image_ids=needed)
    drawn = {path.stem: path.read_bytes() for path in (folder / "newsimages").iterdir()}
    assert drawn == {i: (newsroom / "newsimages" / f"{i}.jpg").read_bytes() for i in needed}
    assert read_articles(folder) == articles
    before = [path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))]
    assert ensure_newsroom(tmp_path, N_ARTICLES, quiet=True, image_ids=needed[1:]) == folder
    assert [path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))] == before
    ensure_newsroom(tmp_path, N_ARTICLES, quiet=True)
    assert hash_folder(folder) == hash_folder(newsroom)


def test_an_interrupted_generation_leaves_no_part_of_a_picture_and_is_continued(
    newsroom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(generator, "draw_all", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ensure_newsroom(tmp_path, N_ARTICLES, quiet=True)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [tmp_path / newsroom.name]
    assert list((tmp_path / newsroom.name / "newsimages").iterdir()) == []
    assert hash_folder(ensure_newsroom(tmp_path, N_ARTICLES, quiet=True)) == hash_folder(newsroom)


def test_temporary_files_of_a_killed_process_are_removed(newsroom: Path, tmp_path: Path) -> None:
    (tmp_path / f".{newsroom.name}.abc" / "newsimages").mkdir(parents=True)  # the temporary folder
    (tmp_path / newsroom.name).mkdir()  # a folder without a manifest
    folder = ensure_newsroom(tmp_path, N_ARTICLES, quiet=True)
    assert hash_folder(folder) == hash_folder(newsroom)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]


def test_concurrent_processes_generate_one_newsroom(newsroom: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from newsimg.sample.generator import ensure_newsroom;"
        f"print(ensure_newsroom(Path(sys.argv[1]), {N_ARTICLES}, n_workers=1, quiet=True))"
    )
    root = Path(generator.__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path)]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in "ab"]
    outputs = {start.communicate(timeout=120)[0].strip() for start in starts}
    assert outputs == {str(tmp_path / newsroom.name)}
    assert hash_folder(tmp_path / newsroom.name) == hash_folder(newsroom)


def test_a_failing_worker_is_an_error_and_leaves_no_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RuntimeError, match="drawing pictures"):
        ensure_newsroom(tmp_path, 3, n_workers=1, quiet=True)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert list((folder / "newsimages").iterdir()) == []


def test_a_full_disk_is_named_and_leaves_no_pictures(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: .*newsimages"):
            ensure_newsroom(tmp_path, 3, n_workers=2, quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert list((folder / "newsimages").iterdir()) == []


@pytest.mark.parametrize("n_articles", [0, -1, 100_001])
def test_a_number_of_articles_out_of_range_is_refused(tmp_path: Path, n_articles: int) -> None:
    with pytest.raises(ValueError, match=rf"\[1, 100000\], got {n_articles}"):
        ensure_newsroom(tmp_path, n_articles)


def test_headlines_never_contain_a_literal_caption(scenes: list[Scene]) -> None:
    for number, scene in enumerate(scenes):
        title = newsroom_story(generator.DEFAULT_SEED, number, scene).title.lower()
        assert literal_caption(scene) not in title
        noun = SUBJECTS[scene.subject].singular
        assert f" {scene.colour} {noun}" not in title


def test_news_headlines_mention_only_some_of_the_factors(scenes: list[Scene]) -> None:
    seed = generator.DEFAULT_SEED
    night = [n for n, s in enumerate(scenes) if s.time == "night" and not is_column(seed, n)]
    titles = [newsroom_story(seed, n, scenes[n]).title for n in night]
    n_mentions = sum(
        any(p in t for p in ("after dark", "overnight", "small hours")) for t in titles
    )
    assert 0.5 < n_mentions / len(titles) < 0.7


def test_column_titles_never_occur_in_training(scenes: list[Scene]) -> None:
    column = newsroom_story(generator.DEFAULT_SEED, 0, scenes[0]).title
    titles = [t.split("{")[0] for titles in COLUMNS.values() for t in titles if t[0] != "{"]
    events = " ".join(event for events in EVENTS.values() for event in events)
    assert column
    assert not any(title in events for title in titles)


def test_a_literal_caption_contains_every_factor() -> None:
    scene = Scene("ferry", 2, "red", "dusk", "rain", "far", 1)
    caption = literal_caption(scene)
    assert caption == "two red boats on the sea at dusk in rain, seen from far away"
    assert set(caption.replace(",", "").split()) <= set(caption_words())


def test_the_vocabulary_covers_every_subject() -> None:
    assert set(EVENTS) == set(COLUMNS) == set(THINGS) == set(SUBJECTS)
    assert set(DEFECT_WORDS) == set(DEFECTS)
    assert all("{thing}" in event for events in EVENTS.values() for event in events)


def test_news_articles_have_fewer_poor_pictures_than_columns(
    scenes: list[Scene],
) -> None:
    poor = {False: [], True: []}  # type: dict[bool, list[bool]]
    for number, scene in enumerate(scenes):
        poor[is_column(generator.DEFAULT_SEED, number)].append(scene.is_poor)
    news, columns = (sum(flags) / len(flags) for flags in poor.values())
    assert 0.05 < news < 0.12  # usually the best of four shots
    assert 0.88 < columns < 0.98  # the worst of four shots
    assert 0.28 < sum(scene.is_poor for scene in scenes) / len(scenes) < 0.4 < SHOT_POOR_SHARE


def test_every_subject_and_every_defect_occurs(scenes: list[Scene]) -> None:
    assert min(Counter(scene.subject for scene in scenes).values()) > 100
    assert set(Counter(s.subject for s in scenes)) == set(SUBJECTS)
    poor = Counter(scene.worst_defect for scene in scenes if scene.is_poor)
    assert set(poor) == set(DEFECTS)
    assert min(poor.values()) > 100


def test_no_training_scene_is_a_newsroom_scene(scenes: list[Scene]) -> None:
    seed = generator.DEFAULT_SEED  # even with equal seeds
    training = list(itertools.islice(training_scenes(seed), 4000))
    training += [scene for scene, _ in itertools.islice(training_newsroom(seed), 1000)]
    assert not {scene.detail for scene in scenes} & {scene.detail for scene in training}
    assert not any(is_held_out(scene) for scene in training)
    assert 0.08 < sum(is_held_out(scene) for scene in scenes) / len(scenes) < 0.22


def test_words_are_written_into_pictures_without_changing_their_pixels(newsroom: Path) -> None:
    rows = read_articles(newsroom)
    found = []
    for number, row in enumerate(rows):
        path = newsroom / "newsimages" / f"{row['image_id']}.jpg"
        with Image.open(path) as written:
            buffer = io.BytesIO()
            scene = newsroom_scene(generator.DEFAULT_SEED, number)
            draw_picture(scene).save(buffer, "JPEG", quality=JPEG_QUALITY)
            assert written.tobytes() == Image.open(buffer).tobytes()
        found.append(read_metadata(path.read_bytes()))
    assert all(n_cut == 0 for _, n_cut in found)
    words = [values for values, _ in found if values]
    assert 0.5 * N_ARTICLES < len(words) < 0.9 * N_ARTICLES
    assert {"title", "caption", "keywords", "place", "credit", "author"} <= set(words[0])
    ages = [
        (date.fromisoformat(row["article_date"]) - date.fromisoformat(values["date"])).days
        for row, (values, _) in zip(rows, found, strict=True)
        if "date" in values
    ]
    assert sum(0 <= age < 15 for age in ages) > len(ages) / 3  # news, with its own words
    assert any(age < 0 or age > 15 for age in ages)  # of columns, or of another article
