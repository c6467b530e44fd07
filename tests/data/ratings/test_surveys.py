"""Surveys in files of the shape of the public ones."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest

from newsimg.data.newsimages import NewsImagesDataset
from newsimg.data.ratings.newsimages23 import NewsImages23Survey
from newsimg.data.ratings.simulated import SimulatedSurvey
from newsimg.data.ratings.wide import WideSurvey
from newsimg.datatypes import Rating
from newsimg.launch.compose import compose_config
from newsimg.sample.raters import RaterModel, measure_appeal, read_scenes

PERSONAL = ["12/8/2023", "100", "R_secret", "EN", "I agree"]
NAMES = ["Rating_1", "Q26_1", "Q48_1", "Q220_1", "Q35_1", "Q39_1", "Q42_1", "Q223_1"]


def settings(option: str, **changes: Any) -> dict[str, Any]:
    config = compose_config(["task=ratings", f"task/survey={option}", "task.survey.path=x.csv"])
    values = dict(config["task"]["survey"]) | changes
    del values["_target_"]
    return values


def write_replies(rows: list[list[str]]) -> str:
    """Write a CSV as Qualtrics does: three header rows, two articles of four pictures."""
    names = ["StartDate", "Progress", "ResponseId", "UserLanguage", "Consent"]
    header = [*names, *NAMES, "PROLIFIC_PID"]
    questions = [*names, *["I think, this image fits."] * 8, "PROLIFIC_PID"]
    imports = [f'{{"ImportId":"{name}"}}' for name in header]
    with Path("replies.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [header, questions, imports, *([*PERSONAL, *row, "6527f0a7"] for row in rows)]
        )
    return "replies.csv"


def test_the_survey_of_2023_becomes_ratings_of_the_pictures_by_article_and_source() -> None:
    path = write_replies(
        [
            ["", "", "", "", "Agree", "Strongly disagree", "Neither agree nor disagree", "agree"],
            ["Strongly agree", "Somewhat agree", "Somewhat disagree", "Disagree", *[""] * 4],
        ]
    )
    Path("questions.csv").write_text("Question,ID,url\n2,BEEF,u\n1,CAFE,u\n")
    survey = NewsImages23Survey(
        **settings("newsimages23", path=path, questions_path="questions.csv")
    )
    assert survey.read(None) == [  # type: ignore[arg-type]
        Rating("BEEF", "baseline_02", 6, "r1", "baseline"),
        Rating("BEEF", "stock_02", 1, "r1", "stock"),
        Rating("BEEF", "ai_02", 4, "r1", "ai"),
        Rating("BEEF", "clip_02", 6, "r1", "clip"),
        Rating("CAFE", "baseline_01", 7, "r2", "baseline"),
        Rating("CAFE", "stock_01", 5, "r2", "stock"),
        Rating("CAFE", "ai_01", 3, "r2", "ai"),
        Rating("CAFE", "clip_01", 2, "r2", "clip"),
    ]


def test_an_answer_off_the_scale_of_2023_names_row_and_column() -> None:
    path = write_replies([["Agree", "Maybe", *[""] * 6]])
    with pytest.raises(ValueError, match=r"line 4, column G \(Q26_1\): an answer must be .*Maybe"):
        NewsImages23Survey(**settings("newsimages23", path=path)).read(None)  # type: ignore[arg-type]


def test_columns_that_are_no_multiple_of_the_pictures_are_rejected() -> None:
    Path("x.csv").write_text("Rating_1,Q2_1,Other\na,b,c\n1,2,3\n")
    with pytest.raises(ValueError, match=r"4 columns of answers for each article.*got 2"):
        NewsImages23Survey(**settings("newsimages23")).read(None)  # type: ignore[arg-type]


def write_excel(rows: list[list[Any]], name: str = "wide.xlsx") -> str:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in rows:
        book.active.append(row)
    book.save(name)
    return name


def test_a_wide_sheet_with_a_row_for_each_article_is_read_without_its_other_columns() -> None:
    path = write_excel(
        [
            ["Survey results", None, None, None],
            ["article_id", "title", "Team A_RUN 1", "BASELINE", "n", "Email"],
            [76, "A title", 3.25, 4, 300, "a@x.org"],
            [238, "Another", None, 2, 301, "b@x.org"],
        ]
    )
    assert WideSurvey(**settings("newsimages25", path=path)).read(None) == [  # type: ignore[arg-type]
        Rating("76", "76_Team%20A_RUN%201", 3.25, "", "Team A_RUN 1"),
        Rating("76", "76_BASELINE", 4.0, "", "BASELINE"),
        Rating("238", "238_BASELINE", 2.0, "", "BASELINE"),
    ]


def test_raters_of_a_wide_sheet_get_pseudonyms() -> None:
    path = write_excel(
        [["article_id", "who", "A"], ["1", "zoe@x.org", 5], ["2", "ada", 4], ["2", "zoe@x.org", 3]]
    )
    survey = WideSurvey(**settings("newsimages25", path=path, rater_column="who"))
    found = survey.read(None)  # type: ignore[arg-type]
    assert [(r.article_id, r.value, r.rater) for r in found] == [
        ("1", 5, "r1"),
        ("2", 4, "r2"),
        ("2", 3, "r1"),
    ]


def test_a_sheet_with_a_column_for_each_picture_is_read_by_its_file_names() -> None:
    path = write_excel(
        [["Name", "76_CERTH-ITI_RUN_3.png", "76_BASELINE"], ["Zoë", 5, 1], ["Ada", None, 2]]
    )
    assert WideSurvey(**settings("newsimages25", path=path)).read(None) == [  # type: ignore[arg-type]
        Rating("76", "76_CERTH-ITI_RUN_3", 5, "r1", "CERTH-ITI_RUN_3"),
        Rating("76", "76_BASELINE", 1, "r1", "BASELINE"),
        Rating("76", "76_BASELINE", 2, "r2", "BASELINE"),
    ]


def test_wrong_values_of_a_wide_sheet_name_row_and_column() -> None:
    path = write_excel([["article_id", "A", "B"], ["1", 3, 6], ["2", 4, 2]])
    with pytest.raises(ValueError, match=r"row 2, column C \(B\): a rating must be in \[1, 5\]"):
        WideSurvey(**settings("newsimages25", path=path, runs=["A", "B"])).read(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must have the column BB once"):
        WideSurvey(**settings("newsimages25", path=path, runs=["BB"])).read(None)  # type: ignore[arg-type]
    Path("no.xlsx").write_text("not a zip")
    with pytest.raises(ValueError, match=r"is not an \.xlsx file"):
        WideSurvey(**settings("newsimages25", path="no.xlsx")).read(None)  # type: ignore[arg-type]
    Path("y.csv").write_text("Article,A\n1,2\n")
    with pytest.raises(ValueError, match=r"task\.survey\.article_column=NAME"):
        WideSurvey(**settings("newsimages25", path="y.csv")).read(None)  # type: ignore[arg-type]


IMPORTS = [f'{{"ImportId":"QID{i}"}}' for i in range(3)]


def test_the_header_rows_of_qualtrics_are_no_answers() -> None:
    questions = ["Your name", "How well does this picture fit?", "How well does this picture fit?"]
    by_person = write_excel(
        [["Name", "76_A_RUN", "76_BASELINE"], questions, IMPORTS, ["Zoë", 5, 1]], "person.xlsx"
    )
    found = WideSurvey(**settings("newsimages25", path=by_person)).read(None)  # type: ignore[arg-type]
    assert [(r.image_id, r.value) for r in found] == [("76_A_RUN", 5), ("76_BASELINE", 1)]
    by_article = write_excel([["article_id", "A", "B"], questions, IMPORTS, ["76", 2, 3]])
    found = WideSurvey(**settings("newsimages25", path=by_article)).read(None)  # type: ignore[arg-type]
    assert [(r.image_id, r.value) for r in found] == [("76_A", 2), ("76_B", 3)]


@pytest.mark.parametrize(
    ("rows", "found", "way"),
    [
        (
            [["article_id", "image", "rating"], [76, "76_A.png", 4], [76, "76_B.png", 2]],
            "has a row for each answer, by its column rating",
            "data.ratings=FILE reads a .csv or .parquet table with a row for each answer",
        ),
        (
            [["image", "mean"], ["76_A_RUN_1.png", 3.2], ["76_B_RUN_2.png", 2.7]],
            "has a row for each picture",
            "a row for each article with a column article_id and a column for each run, or a row",
        ),
        (
            [["question", "mean"], ["first", 3.2]],
            "its first row is question, mean",
            "task.survey.article_column=NAME names the column of articles",
        ),
        ([[]], "its first row is empty", "task.survey.sheet=NAME another sheet"),
        (
            [["article_id", "title", "n"], [76, "A title", 40]],
            "has no column of ratings in [1, 5], it has article_id, title, n",
            "expected is a row for each article",
        ),
    ],
)
def test_a_table_of_another_form_is_one_sentence_with_what_it_has_and_what_is_expected(
    rows: list[list[Any]], found: str, way: str
) -> None:
    survey = WideSurvey(**settings("newsimages25", path=write_excel(rows)))
    with pytest.raises(ValueError, match=r"\.xlsx") as caught:
        survey.read(None)  # type: ignore[arg-type]
    assert found in str(caught.value)
    assert way in str(caught.value)


def test_a_column_of_which_some_values_are_no_ratings_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = write_excel([["article_id", "A", "B", "n"], [1, 3, 4, 20], [2, 4, "n/a", 30]])
    found = WideSurvey(**settings("newsimages25", path=path)).read(None)  # type: ignore[arg-type]
    assert {rating.run for rating in found} == {"A"}
    assert "column C (B) of wide.xlsx is not read: row 3 has 'n/a'" in caplog.text
    assert "column D" not in caplog.text  # no value is a rating: something else


def sample(newsroom: Path, split: str = "val") -> NewsImagesDataset:
    return NewsImagesDataset(
        name="sample",
        csv_path=str(newsroom / "newsarticles.csv"),
        image_dir=str(newsroom / "newsimages"),
        split=split,
        subset=None,
        seed=28,
        pool="split",
    )


def simulate(**changes: Any) -> SimulatedSurvey:
    values = {
        "splits": ["val"],
        "n_raters": 6,
        "n_pictures": 5,
        "n_ratings": 3,
        "runs": [],
        "depth": 2,
        "strictness": 0.5,
        "noise": 0.7,
        "seed": 1,
    }
    return SimulatedSurvey(**(values | changes))


def test_simulated_people_rate_the_pictures_that_fit_best_three_times_each(
    sample_newsroom: Path,
) -> None:
    data = sample(sample_newsroom)
    ratings = simulate().read(data)
    assert len(ratings) == len(data.load().queries) * 5 * 3
    pairs = {(r.article_id, r.image_id, r.rater) for r in ratings}
    assert len(pairs) == len(ratings)  # nobody rates a picture twice
    assert {r.value for r in ratings} <= {1, 2, 3, 4, 5}
    assert ratings == simulate().read(data) != simulate(seed=2).read(data)


def test_without_strictness_and_noise_a_rating_is_the_rounded_appeal(sample_newsroom: Path) -> None:
    scenes = read_scenes(sample_newsroom)
    data = sample(sample_newsroom)
    qrels = data.load().qrels or {}
    for rating in simulate(strictness=0, noise=0).read(data)[:200]:
        (own,) = qrels[rating.article_id]
        appeal = measure_appeal(scenes[own], scenes[rating.image_id])
        assert rating.value == min(max(round(appeal), 1), 5)


def test_the_first_pictures_of_runs_are_rated_as_well(sample_newsroom: Path) -> None:
    data = sample(sample_newsroom)
    query, image = data.load().queries[0].query_id, data.load().images[-1].image_id
    Path("ran").mkdir()
    Path("ran/reranked.run").write_text(f"{query} Q0 {image} 2 0.5 x\n{query} Q0 none 3 0.4 x\n")
    ratings = simulate(n_pictures=0, runs=["ran"]).read(data)
    assert {(r.article_id, r.image_id) for r in ratings} == {(query, image)}
    with pytest.raises(FileNotFoundError, match="no run of task=evaluate"):
        simulate(runs=["."]).read(data)


def test_the_expected_rating_is_the_mean_of_many() -> None:
    model = RaterModel(strictness=0.5, noise=0.7)
    random = np.random.default_rng(0)
    for appeal in (0.2, 1.4, 3.0, 4.8):
        strictness = model.draw_strictness(200_000, random)
        mean = model.rate(np.full(200_000, appeal), strictness, random).mean()
        assert float(model.expect(np.array(appeal))) == pytest.approx(mean, abs=0.01)
