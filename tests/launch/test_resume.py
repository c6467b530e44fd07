"""What `resume=true` takes for finished."""

import shutil
from pathlib import Path

from newsimg.launch.job_hash import hash_config


def test_a_job_whose_articles_were_edited_is_run_again(newsimg_here, tiny_options, newsroom):
    table = Path(shutil.copy(newsroom.csv_path, "articles.csv"))
    options = ["-m", *tiny_options, f"data.csv_path={table}", "resume=true", "weight.value=0.1"]

    def was_finished():
        outcome = newsimg_here(*options)
        assert outcome.code == 0, outcome.output
        return "finished before" in outcome.output

    assert [was_finished(), was_finished()] == [False, True]
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("Ferry runs aground", "Ship runs aground"), encoding="utf-8")
    assert [was_finished(), was_finished()] == [False, True]


def test_a_job_whose_index_grew_is_another_job():
    config = {"index": {"folders": ["made"], "mapped": False}, "folder": "here"}
    Path("made").mkdir()
    manifest = Path("made/manifest.json")
    manifest.write_text("{}")
    before = hash_config(config)
    assert hash_config(config | {"folder": "there"}) == before
    manifest.write_text('{"n_images": 1}')
    assert hash_config(config) != before
