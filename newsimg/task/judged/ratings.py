"""Import the ratings of a survey and summarise them."""

from pathlib import Path

from newsimg.data.ratings.table import write_ratings
from newsimg.evaluation.metrics import write_qrels
from newsimg.evaluation.ratings.rated import arrange_ratings
from newsimg.evaluation.ratings.runs import measure_runs
from newsimg.interfaces import Components, Survey, Task
from newsimg.reporting.console import print_command, print_table, shorten_path
from newsimg.reporting.judged.ratings import print_ratings, summarize_ratings
from newsimg.reporting.quoting import quote_value, write_command

USED = ["task", "task/survey"]  # overrides that the suggested command leaves out


class RatingsTask(Task):
    """Writes the ratings of a survey as a table for `data.ratings`.

    Also writes `pictures.csv` (mean, number of ratings, spread and grade of each picture),
    `qrels.txt` (graded judgements in TREC's format) and, if the survey says which run chose a
    picture, `runs.csv` (mean rating and strength of each run). People have pseudonyms.

    Args:
        survey: Reads the survey.
        path: Where the ratings are written; None for ratings.csv in the run's folder.
        n_resamples: Number of resamples of articles and people.
        seed: Seed of the resamples.

    Raises:
        ValueError: If `path` is no .csv, or `n_resamples` is below 2.
    """

    parts = ()

    def __init__(self, *, survey: Survey, path: str | None, n_resamples: int, seed: int) -> None:
        if path is not None and Path(path).suffix.lower() != ".csv":
            raise ValueError(f"task.path must be a .csv file, got {path!r}")
        if n_resamples < 2:
            raise ValueError(f"task.n_resamples must be at least 2, got {n_resamples}")
        self.survey = survey
        self.path = None if path is None else Path(path).expanduser()
        self.n_resamples = n_resamples
        self.seed = seed

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `ratings/n_ratings`, `ratings/n_pictures`, `ratings/n_articles`, `ratings/n_raters`,
            `ratings/mean` and, if the people are known, `ratings/alpha` with `_low` and `_high`.

        Raises:
            FileExistsError: If there is a file at `task.path` already.
            ValueError: If there are no ratings.
        """
        ratings = self.survey.read(components.dataset)
        if not ratings:
            raise ValueError("the survey has no ratings")
        path = self.path or output_dir / "ratings.csv"
        if path.exists():
            raise FileExistsError(f"task.path must be a new file, {path} exists")
        write_ratings(ratings, path)
        articles = list(dict.fromkeys(rating.article_id for rating in ratings))
        rated = arrange_ratings(ratings, articles, min(rating.value for rating in ratings))
        rated.describe().to_csv(output_dir / "pictures.csv", index=False)
        write_qrels(rated.to_qrels(), output_dir / "qrels.txt")
        metrics = summarize_ratings(rated, self.seed)
        print_ratings(metrics)
        runs = measure_runs(ratings, self.n_resamples, self.seed)
        if runs is not None:
            runs.to_csv(output_dir / "runs.csv")
            print_table(
                runs.reset_index(), "mean rating and strength of the runs, with 95 % intervals"
            )
        where = quote_value(shorten_path(path))
        print_command(
            "use them", write_command("newsimg", components.info, [f"data.ratings={where}"], USED)
        )
        return metrics
