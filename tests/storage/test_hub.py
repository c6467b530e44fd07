"""Models that the hub does not give: the reason is told, and the hub is asked once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import serve_refusals

ROOT = Path(__file__).parents[2]
REASONS = {
    "a/gated": "a/gated is gated: accept its terms on {hub}/a/gated, then log in",
    "openai/no-such-clip": "the hub shows no model of this name; if it is private, log in",
    "openai/clip-vit-base-patch23-no-such": "did you mean 'openai/clip-vit-base-patch32'?",
    "a/no-revision": "the hub's a/no-revision has no revision 'main'",
    "a/no-config": "the hub's a/no-config has no config.json",
    "a/teapot": "the hub ({hub}) answers with status 418",
}
CODE = """
import sys
from newsimg.storage.models.hub import download_config
for model in sys.argv[1:]:
    try:
        download_config(model, "main", "backbone.model")
    except FileNotFoundError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str], list[str]]:
    """The hub's address, what is said of each model, and what the hub was asked for."""
    # The library reads where the hub is when it is imported.
    with serve_refusals() as (hub, asked):
        env = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
        env["HF_HOME"] = str(tmp_path_factory.mktemp("hub"))
        done = subprocess.run(
            [sys.executable, "-c", CODE, *REASONS],
            env=os.environ | env,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stderr == ""
    return hub, done.stdout.splitlines(), asked


@pytest.mark.parametrize("model", REASONS)
def test_a_model_that_the_hub_does_not_give_is_told_with_the_reason(
    model: str, refused: tuple[str, list[str], list[str]]
) -> None:
    hub, told, _ = refused
    (line,) = [line for line in told if model in line]
    assert REASONS[model].format(hub=hub) in line
    assert line.endswith("; or backbone.model=FOLDER takes a copy on disk")


def test_the_hub_is_asked_once_for_each(refused: tuple[str, list[str], list[str]]) -> None:
    _, _, asked = refused
    assert asked == [f"/{model}/resolve/main/config.json" for model in REASONS]
