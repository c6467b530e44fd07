"""Task that generates captions for headlines with a language model, or imports captions."""

import logging
from collections.abc import Mapping
from pathlib import Path

from newsimg.data.editions import read_articles
from newsimg.interfaces import Components, LanguageModel, Task
from newsimg.reporting.console import console
from newsimg.reranker.caption_file import CaptionFile, import_captions
from newsimg.reranker.captions import Captioner

log = logging.getLogger(__name__)


class CaptionTask(Task):
    """Writes `captions.jsonl` with the captions of all headlines.

    Args:
        llm: See `Captioner`.
        prompt: See `Captioner`.
        num_captions: See `Captioner`.
        seed: See `Captioner`.
        captions_path: See `Captioner`.
        import_path: A JSON file of captions to be converted instead of generating captions; see
            `import_captions`.
        import_csv: The articles of `import_path`, in the same order.

    Raises:
        ValueError: If only one of `import_path` and `import_csv` is given, or an argument of the
            captioner is out of range.
    """

    parts = ()

    def __init__(
        self,
        *,
        llm: LanguageModel | None,
        prompt: Mapping[str, str],
        num_captions: int,
        seed: int | None,
        captions_path: str | None,
        import_path: str | None,
        import_csv: str | None,
    ) -> None:
        if (import_path is None) != (import_csv is None):
            raise ValueError(
                "task.import_path and task.import_csv must be given together, "
                f"got {import_path} and {import_csv}"
            )
        self.source = (
            (Path(import_path).expanduser(), Path(import_csv).expanduser())
            if import_path and import_csv
            else None
        )
        self.captioner = Captioner(
            llm=llm,
            prompt=prompt,
            num_captions=num_captions,
            seed=seed,
            captions_path=captions_path,
        )

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `n_articles`, `captions_missing` (articles without captions), `captions_fewer` (articles
            with at least one but fewer than `num_captions`) and `captions_per_article`.
        """
        if self.source:
            lists_path, csv_path = self.source
            articles = read_articles(csv_path).to_dict("records")
            records = import_captions(lists_path, articles, csv_path)
        else:
            records = self.captioner.caption(components.dataset.load().queries)
        path = output_dir / "captions.jsonl"
        CaptionFile(path, shared=False).append(records)
        counts = [len(record["captions"]) for record in records]
        metrics = {
            "n_articles": len(counts),
            **self.captioner.count([record["captions"] for record in records]),
            "captions_per_article": sum(counts) / len(counts),
        }
        console.print(
            f"{sum(counts)} captions for {len(counts)} articles (requested: "
            f"{self.captioner.num_captions} each) in {path}"
        )
        if counts.count(0):
            log.warning("%d of %d articles have no captions", counts.count(0), len(counts))
        return metrics
