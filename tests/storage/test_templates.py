"""Templates of query texts and prompts."""

import numpy as np
import pytest

from newsimg.datatypes import FloatArray, Query
from newsimg.storage.models.queries import embed_queries, find_truncated_queries
from newsimg.storage.text.templates import (
    check_prompt_fields,
    fill_prompt,
    render_queries,
    warn_empty,
)

QUERIES = [
    Query("a", "Storm {now}", ("Ada", "Bo"), ("UN",), (("lead", " Roofs are gone. "),)),
    Query("b", "Calm", columns=(("lead", ""),)),
]


@pytest.mark.parametrize(
    ("template", "texts"),
    [
        ("{title}. {tags}", ["Storm {now}. Ada, Bo, UN", "Calm"]),
        ("{title}. {lead}", ["Storm {now}. Roofs are gone.", "Calm"]),
        ("{lead} {title}", ["Roofs are gone. Storm {now}", "Calm"]),
        ("{people} of {organisations}: {title}", ["Ada, Bo of UN: Storm {now}", "Calm"]),
        ("A news photo: {title} ({lead})", [
            "A news photo: Storm {now} (Roofs are gone.)", "A news photo: Calm)",
        ]),
        ("Lead: {lead}", ["Lead: Roofs are gone.", "Calm"]),
        ("{{{title}}}", ["{Storm {now}}", "{Calm}"]),
    ],
)  # fmt: skip
def test_an_empty_value_is_left_out_with_the_text_before_it(
    template: str, texts: list[str]
) -> None:
    assert render_queries(QUERIES, template) == texts


def test_an_unknown_column_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match=r"^query_template uses {laed}, but .* column") as e:
        render_queries(QUERIES, "{title}. {laed}")
    assert str(e.value).endswith(
        "they have title, tags, people, organisations, lead; did you mean 'lead'?"
    )
    with pytest.raises(ValueError, match=r"uses {lead}.*they have title, tags, people, organi"):
        render_queries([*QUERIES, Query("c", "No columns")], "{lead}")


def test_columns_of_a_typed_headline_are_empty_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_empty.cache_clear()
    typed = [Query("q", "Storm", typed=True), Query("r", "Calm", typed=True)]
    for _ in range(2):
        assert render_queries(typed, "{title}. {lead} ({tags})") == ["Storm)", "Calm)"]
        assert fill_prompt("{title}: {lead}{n}", typed[0], {"n": 3}, "prompt") == "Storm: 3"
    assert [record.getMessage() for record in caplog.records] == [
        "query_template uses {lead}, which is empty for a headline that is typed alone",
        "prompt uses {lead}, which is empty for a headline that is typed alone",
    ]
    with pytest.raises(ValueError, match=r"query_template uses {lead}, but the headlines have no"):
        render_queries([*typed, Query("s", "Of data")], "{title}. {lead}")


def test_a_prompt_keeps_its_text_where_a_value_is_empty() -> None:
    prompt = "{title}. Rate it from 1 to 5. Lead: {lead} Tags: {tags} {{n}} {n}"
    assert fill_prompt(prompt, QUERIES[1], {"n": 3}, "prompt") == (
        "Calm. Rate it from 1 to 5. Lead:  Tags:  {n} 3"
    )
    assert check_prompt_fields(prompt, "prompt", ("n",)) == {"title", "lead", "tags"}
    with pytest.raises(ValueError, match=r"prompt.user may use .* writes other braces twice"):
        check_prompt_fields('Answer as {"score": 1} to {title}', "prompt.user")


class Letters:
    """A backbone whose embedding of a text counts its letters."""

    def __init__(self, template: str | list[str]) -> None:
        self.query_template = template
        self.asked: list[str] = []

    def embed_texts(self, texts: list[str]) -> FloatArray:
        self.asked += texts
        counts = np.array([[t.count(c) for c in "abcdeilmort"] for t in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def find_truncated(self, texts: list[str]) -> list[bool]:
        return [len(text) > 25 for text in texts]


def test_the_embedding_of_several_templates_is_the_mean_of_theirs_at_length_1() -> None:
    both = Letters(["{title}", "A news photo: {title} {lead}"])
    found = embed_queries(QUERIES, both)  # type: ignore[arg-type]
    texts = [
        ["Storm {now}", "A news photo: Storm {now} Roofs are gone."],
        ["Calm", "A news photo: Calm"],
    ]
    for row, own in zip(found, texts, strict=True):
        mean = sum(Letters("").embed_texts([text])[0] / 2 for text in own)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)
        assert set(own) <= set(both.asked)
    assert found.dtype == np.float32


def test_one_template_gives_the_backbones_own_embedding() -> None:
    for template in ("{title}", ["{title}"]):
        found = embed_queries(QUERIES, Letters(template))  # type: ignore[arg-type]
        expected = Letters("").embed_texts(["Storm {now}", "Calm"])
        np.testing.assert_array_equal(found, expected)


def test_a_query_is_truncated_if_one_of_its_texts_is(caplog: pytest.LogCaptureFixture) -> None:
    both = Letters(["{title}", "A news photo: {title} {lead}"])
    assert find_truncated_queries(QUERIES, both, "headlines") == (True, False)  # type: ignore[arg-type]
    assert "1 of 2 headlines are longer" in caplog.text
    assert "the first: 'A news photo: Storm {now} Roofs are gone.'" in caplog.text
