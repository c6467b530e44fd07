"""A config from elsewhere runs no code, and reads no secret."""

import sys

import pytest
from conftest import Outcome
from omegaconf import OmegaConf

CANARY = "canary-4711-swordfish"
MODULE = """
from pathlib import Path
Path("{place}").touch()
class Anything:
    def __init__(self, **kwargs): pass
"""
HOSTILE = {
    "callback": ("hydra: {callbacks: {x: {_target_: evil.Anything}}}", "must be a plugin"),
    "own function": (
        "hydra: {callbacks: {x: {_target_: newsimg.storage.files.fetch_file}}}",
        "hydra.callbacks.x._target_ must be a plugin of Hydra or of a trusted package",
    ),
    "log handler": (
        "hydra: {job_logging: {handlers: {x: {class: evil.Anything}}}}",
        "hydra.job_logging.handlers.x.class must be one of",
    ),
    "log factory": (
        "hydra: {hydra_logging: {handlers: {x: {(): evil.Anything}}}}",
        "hydra.hydra_logging.handlers.x.() must be one of",
    ),
    "log object": (
        "hydra: {job_logging: {handlers: {x: {class: logging.StreamHandler, stream: 'ext://evil'}}}}",
        "hydra.job_logging.handlers.x.stream must be one of",
    ),
    "log file": (
        "hydra: {job_logging: {handlers: {file: {filename: /tmp/outside.log}}}}",
        "handlers.file.filename must be a file in ${hydra.runtime.output_dir}",
    ),
    "own trust": (
        "{trusted_packages: [newsimg, evil], weight: {_target_: evil.Anything}}",
        "trusted_packages runs code, so no config file may set it",
    ),
    "target": ("weight: {_target_: evil.Anything}", "is not of a trusted package (newsimg)"),
    "remote code": ("backbone: {trust_remote_code: true}", "backbone.trust_remote_code runs code"),
    "hidden remote code": (
        "backbone: {trust_remote_code: '${oc.decode:true}'}",
        "backbone.trust_remote_code runs code",
    ),
    "library": (
        "hydra: {job: {env_set: {LD_PRELOAD: /tmp/evil.so}}}",
        "hydra.job.env_set.LD_PRELOAD runs code",
    ),
    "sweep": (
        "hydra: {sweeper: {params: {trusted_packages: '[newsimg,evil]'}}}",
        "trusted_packages runs code",
    ),
    "key": (
        "tags: {note: '${oc.env:OPENAI_API_KEY}'}",
        "must not contain ${oc.env:OPENAI_API_KEY}",
    ),
    "key by default": (
        "tags: {note: '${oc.env:NOTHING,${oc.env:HF_TOKEN}}'}",
        "must not contain ${oc.env:HF_TOKEN}",
    ),
    "password": (
        "tags: {note: '${oc.env:MLFLOW_TRACKING_URI}'}",
        "must not contain ${oc.env:MLFLOW_TRACKING_URI}",
    ),
}


@pytest.fixture
def hostile(tmp_path, monkeypatch, newsimg_here):
    """Run a config with a module beside it that leaves a file when it is imported."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "evil.py").write_text(MODULE.format(place=tmp_path / "RUN"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    for name in ("OPENAI_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:{CANARY}@127.0.0.1:9")

    def run(text: str, *overrides: str) -> Outcome:
        path = tmp_path / "conf" / "experiment" / "hostile.yaml"
        config = OmegaConf.create(text if text.startswith("{") else f"{{{text}}}")
        path.write_text(f"# @package _global_\n{OmegaConf.to_yaml(config)}")
        flags = ["-m"] if "sweeper" in text else []
        return newsimg_here(
            *flags, "--config-dir", "conf", "experiment=hostile", "tracking=none", *overrides
        )

    return run


@pytest.mark.parametrize("name", HOSTILE)
def test_a_config_from_elsewhere_is_refused_before_anything_is_run(name, hostile, tmp_path):
    text, sentence = HOSTILE[name]
    result = hostile(text)
    assert result.code == 2, result.output
    assert sentence in result.output
    assert "Traceback" not in result.output
    assert CANARY not in result.output
    assert not (tmp_path / "RUN").exists()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []


def test_the_command_line_may_trust_a_package(hostile, tmp_path):
    result = hostile("weight: {_target_: evil.Anything}", "trusted_packages=[newsimg,evil]")
    assert "_target_ evil.Anything must be derived from one of" in result.output
    assert (tmp_path / "RUN").exists()


def test_a_config_may_read_what_is_no_secret(hostile, monkeypatch):
    monkeypatch.setenv("TEAM", "night desk")
    result = hostile("tags: {a: '${oc.env:TEAM}', b: '${oc.env:NOTHING,none}'}", "top_k=0")
    assert "top_k must be a whole number of at least 1, got 0" in result.output


@pytest.mark.parametrize(
    "override",
    [
        f"tracking.uri=http://ada:{CANARY}@127.0.0.1:9",
        f"tracking.uri=http://{CANARY}@127.0.0.1:9",
        f"llm.server.base_url=http://ada:{CANARY}@127.0.0.1:9/v1",
        f"data.folder=s3://ada:{CANARY}@bucket/pictures",
        f'reranker.head="https://host/a.pth?v=1&X-Amz-Signature={CANARY}"',
        f'+tags.note="from postgresql://ada:{CANARY}@host/base"',
    ],
)
def test_a_password_in_the_config_is_refused_before_anything_is_written(
    override, newsimg_here, tmp_path
):
    key = override.lstrip("+").partition("=")[0]
    own = ["llm=openai"] if key.startswith("llm") else []
    own += ["data=collection"] if key.startswith("data") else []
    result = newsimg_here(*own, override)
    assert result.code == 2, result.output
    assert f"{key} must not contain a password, got " in result.output
    assert "***" in result.output
    assert CANARY not in result.output
    assert list(tmp_path.iterdir()) == []
