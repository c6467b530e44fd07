"""Looking after the cache from the command line."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from newsimg.storage.cache import OutputCache


@pytest.fixture
def filled(tiny_options, newsimg_here, tmp_path) -> list[str]:
    """Options of a cache that a run has filled."""
    options = [*tiny_options, f"cache.dir={tmp_path / 'cache'}", "tracking=none"]
    assert newsimg_here(*options).code == 0
    return of_any_task(options)


def of_any_task(options: list[str]) -> list[str]:
    return [option for option in options if not option.startswith("task.")]


def entries(options: list[str]) -> dict[str, int]:
    folder = next(option for option in options if option.startswith("cache.dir"))
    return {
        entry.kind: entry.n_items
        for entry in OutputCache(Path(folder.partition("=")[2])).list_entries()
    }


def test_it_lists_what_was_computed(filled, newsimg_here):
    outcome = newsimg_here(*filled, "task=cache")
    assert outcome.code == 0
    assert "TransformersBackbone" in outcome.stdout
    assert " 120 " in outcome.stdout  # sixty headlines, sixty pictures


def test_verifying_sets_damaged_files_aside(filled, newsimg_here, tmp_path):
    path = next((tmp_path / "cache" / "embeddings").rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    outcome = newsimg_here(*filled, "task=cache", "task.action=verify")
    assert outcome.code == 0
    assert "1 damaged files set aside" in outcome.stdout
    assert entries(filled)["embeddings"] < 120


def test_a_damaged_footer_is_named_by_the_listing_set_aside_and_does_not_hinder_pruning(
    filled, newsimg_here, tmp_path
):
    path = next((tmp_path / "cache" / "embeddings").rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[footer : footer + 4] = b"\xff" * 4
    path.write_bytes(content)
    with pytest.raises(OSError, match="thrift"):
        pq.ParquetFile(path)
    listed = newsimg_here(*filled, "task=cache")
    assert listed.code == 0, listed.output
    assert f"{path}; run newsimg task=cache task.action=verify" in " ".join(listed.output.split())
    verified = newsimg_here(*filled, "task=cache", "task.action=verify")
    assert "1 damaged files set aside" in verified.stdout
    assert not path.exists()
    pruned = newsimg_here(
        *filled, "task=cache", "task.action=prune", "task.ask=false", "task.model=Transformers"
    )
    assert pruned.code == 0, pruned.output
    assert entries(filled) == {}


def test_pruning_asks_and_takes_the_end_of_input_for_no(filled, newsimg):
    outcome = newsimg(*filled, "task=cache", "task.action=prune", "task.model=Transformers")
    assert outcome.code == 0
    assert "delete these 1? (y/N)" in outcome.stdout
    assert "nothing deleted" in outcome.stdout
    assert entries(filled) == {"embeddings": 120}


def test_pruning_deletes_the_models_that_it_names_and_no_others(filled, newsimg_here):
    prune = ["task=cache", "task.action=prune", "task.ask=false"]
    assert newsimg_here(*filled, *prune, "task.model=no such model").code == 0
    assert entries(filled) == {"embeddings": 120}
    assert newsimg_here(*filled, *prune, "task.older_than_days=1").code == 0
    assert entries(filled) == {"embeddings": 120}
    assert newsimg_here(*filled, *prune, "task.model=Transformers").code == 0
    assert entries(filled) == {}


def test_pruning_without_a_choice_is_refused(tiny_options, newsimg_here):
    outcome = newsimg_here(
        *of_any_task(tiny_options), "tracking=none", "task=cache", "task.action=prune"
    )
    assert outcome.code != 0
    assert "needs task.model or task.older_than_days" in outcome.stderr
