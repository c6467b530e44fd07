"""Prompts and criteria in files of one's own."""

from pathlib import Path

import pytest

from newsimg.reranker.captions import check_prompt
from newsimg.reranker.vlm_judge import VLMJudgeReranker
from newsimg.storage.text.wording import read_wording


def test_a_text_file_is_the_users_part_of_a_prompt_and_one_question_of_a_judge(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("\ufeffName {num_captions} scenes for: {title}\n", encoding="utf-8")
    prompt = check_prompt({"path": str(path)})
    assert prompt == {"system": "", "user": "Name {num_captions} scenes for: {title}"}
    path.write_text("Does it fit {title}? 1 to 5")
    judge = VLMJudgeReranker(vlm=None, criteria={"path": str(path)}, reading="expected")  # type: ignore[arg-type]
    (criterion,) = judge.criteria
    assert (criterion.name, criterion.question) == ("question", "Does it fit {title}? 1 to 5")


def test_a_yaml_file_has_the_form_of_the_groups_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("system: You are brief.\nuser: 'Scenes for: {title}'\n")
    assert check_prompt({"path": str(path)})["system"] == "You are brief."
    path.write_text("fit:\n  question: 'Fits {title}?'\n  weight: 2\n")
    judge = VLMJudgeReranker(vlm=None, criteria={"path": str(path)}, reading="expected")  # type: ignore[arg-type]
    assert [(one.name, one.weight) for one in judge.criteria] == [("fit", 2.0)]


def test_values_without_a_path_are_unchanged() -> None:
    assert read_wording({"system": "a", "user": "b"}, "prompt") == {"system": "a", "user": "b"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", b"- a\n", "must hold a mapping, as the yaml files of the group prompt do"),
        ("a.yaml", b"a: [", "a.yaml cannot be read: while parsing"),
        ("a.txt", b"Gr\xf6\xdfe {title}", "a.txt must be in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_wording({"path": str(tmp_path / name)}, "prompt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"prompt.path must be a text or YAML file"):
        check_prompt({"path": str(tmp_path / "none.txt")})
