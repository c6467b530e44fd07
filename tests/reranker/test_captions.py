import json
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsimg.data.editions import read_articles
from newsimg.datatypes import Query
from newsimg.interfaces import LanguageModel
from newsimg.reranker.caption_file import import_captions, read_records
from newsimg.reranker.captions import Captioner, parse_captions

PROMPT = {"system": "You caption.", "user": "{num_captions} for {title}"}
QUERIES = [Query(f"a{i}", f"Headline {i}") for i in range(70)]


class ScriptedLLM(LanguageModel):
    """Answers by a script, and remembers every chat; a real small model is in other tests."""

    def __init__(self, answer=lambda text, seed: f"a picture of {text}", **settings):
        self.answer = answer
        self.settings = {"model": "scripted", "revision": "1"} | settings
        self.calls = []

    @property
    def fingerprint(self):
        return json.dumps(self.settings)

    def generate(self, chats, seed, keep=None):
        texts = [chat[-1]["content"] for chat in chats]
        self.calls.append((texts, seed))
        answers = []
        for i, text in enumerate(texts):
            answers.append(self.answer(text, seed))
            if keep:
                keep(i, answers[-1])
        return answers


def caption(llm, queries=QUERIES, path=None, **changes):
    settings = {"prompt": PROMPT, "num_captions": 5, "seed": None} | changes
    return Captioner(llm=llm, captions_path=path and str(path), **settings).caption(queries)


@pytest.mark.parametrize(
    ("answer", "captions"),
    [
        ("a cow; a dog ;a cat", ["a cow", "a dog", "a cat"]),
        ("1. a cow\n2) a dog\n(3) a cat", ["a cow", "a dog", "a cat"]),
        ("\"a cow\";\n- “a dog”\n* 'a cat'", ["a cow", "a dog", "a cat"]),
        ("Here are 5 captions:\n\n1: a cow\nCaption 2: a dog", ["a cow", "a dog"]),
        ("Storm hits town; storm hits town!; a wave", ["a wave"]),
        ("a cow; A cow.; a dog", ["a cow", "a dog"]),
        (" ; ;;\n\n 3. \n ... ; 17", []),
        ("a cow; " + "moo " * 300, ["a cow"]),
        ("one; two; three; four; five; six", ["one", "two", "three", "four", "five"]),
        ("50 people in a square; 2 cows", ["50 people in a square", "2 cows"]),
    ],
)
def test_an_answer_is_parsed_into_captions(answer, captions):
    assert parse_captions(answer, "Storm hits town", 5) == captions


@given(st.text(), st.text(max_size=20), st.integers(1, 6))
def test_no_answer_makes_a_caption_empty_repeated_or_the_headline(answer, title, num_captions):
    captions = parse_captions(answer, title, num_captions)
    assert len(captions) <= num_captions
    assert len({caption.casefold() for caption in captions}) == len(captions)
    for own in captions:
        assert own == own.strip()
        assert any(letter.isalpha() for letter in own)
        assert ";" not in own
        assert own.casefold() != title.strip().casefold()


def test_a_record_says_what_its_captions_come_from(tmp_path):
    path = tmp_path / "c.jsonl"
    caption(ScriptedLLM(dtype="float32"), QUERIES[:1], path)
    (record,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(record.pop("prompt_hash")) == 64
    assert record == {
        "article_id": "a0",
        "title": "Headline 0",
        "captions": ["a picture of 5 for Headline 0"],
        "model": "scripted",
        "revision": "1",
        "settings": {"dtype": "float32", "num_captions": 5, "seed": None},
    }


def test_what_is_on_disk_is_not_written_again_and_new_articles_are_appended(tmp_path):
    path = tmp_path / "c.jsonl"
    first = caption(ScriptedLLM(), QUERIES[:3], path)
    before = path.read_bytes()
    llm = ScriptedLLM()
    assert caption(llm, QUERIES[:3], path) == first
    assert llm.calls == []
    caption(llm, QUERIES[1:5], path)
    assert llm.calls == [(["5 for Headline 3", "5 for Headline 4"], None)]
    assert path.read_bytes().startswith(before)


def test_a_job_that_breaks_off_goes_on_after_its_last_answer(tmp_path):
    path = tmp_path / "c.jsonl"

    def fail_late(text, seed):
        if text.endswith(" 40"):
            raise RuntimeError("out of memory")
        return "a cow"

    with pytest.raises(RuntimeError, match="out of memory"):
        caption(ScriptedLLM(fail_late), path=path)
    assert [record["article_id"] for record in read_records(path)] == [f"a{i}" for i in range(40)]
    with path.open("ab") as file:  # as a kill in the middle of a line leaves it
        file.write(b'{"article_id": "a40", "tit')
    llm = ScriptedLLM(lambda text, seed: "a cow")
    records = caption(llm, path=path)
    assert sum(len(texts) for texts, _ in llm.calls) == 30
    assert [record["article_id"] for record in records] == [q.query_id for q in QUERIES]
    assert len(read_records(path)) == 70


def test_an_answer_without_captions_is_asked_for_again_by_another_seed_once(tmp_path, caplog):
    def stubborn(text, seed):
        if text.endswith(" 1"):
            return "..." if seed is None else "a dog"
        return ";" if text.endswith(" 2") else "a cow"

    llm = ScriptedLLM(stubborn)
    records = caption(llm, QUERIES[:4], tmp_path / "c.jsonl")
    assert [record["captions"] for record in records] == [["a cow"], ["a dog"], [], ["a cow"]]
    assert [(len(texts), seed) for texts, seed in llm.calls] == [(4, None), (2, 1)]
    assert "2 of 4 answers ('a1', 'a2') hold no caption; asking" in caplog.text
    llm.calls.clear()
    caption(llm, QUERIES[:4], tmp_path / "c.jsonl")
    assert llm.calls == []  # recorded as without captions: not asked for a third time


@pytest.mark.parametrize(
    ("changes", "settings", "difference"),
    [
        ({}, {"model": "other"}, r"model is 'scripted' there, 'other' here"),
        ({}, {"revision": "2"}, r"revision is '1' there, '2' here"),
        ({}, {"top_p": 0.5}, r"settings.top_p is None there, 0.5 here"),
        ({"num_captions": 7}, {}, r"settings.num_captions is 5 there, 7 here"),
        ({"seed": 4}, {}, r"settings.seed is None there, 4 here"),
        (
            {"prompt": {**PROMPT, "system": "Be brief."}},
            {},
            r"prompt_hash is '\w+' there, '\w+' here",
        ),
    ],
)
def test_a_file_of_another_origin_is_refused_with_the_difference(
    tmp_path, changes, settings, difference
):
    path = tmp_path / "c.jsonl"
    caption(ScriptedLLM(), QUERIES[:2], path)
    with pytest.raises(
        ValueError, match=rf"c.jsonl holds captions of another origin: {difference}"
    ):
        caption(ScriptedLLM(**settings), QUERIES[:2], path, **changes)


def test_fewer_captions_than_a_file_was_made_with_are_its_first_and_new_ones_are_asked_as_its_own(
    tmp_path,
):
    path = tmp_path / "c.jsonl"
    script = ScriptedLLM(lambda text, seed: "a cow; a dog; a cat; a hen; a pig")
    caption(script, QUERIES[:2], path)
    kept = path.read_bytes()
    records = caption(script, QUERIES[:2], path, num_captions=2)
    assert [record["captions"] for record in records] == [["a cow", "a dog"]] * 2
    assert path.read_bytes() == kept
    records = caption(script, QUERIES[:3], path, num_captions=2)
    assert [record["captions"] for record in records] == [["a cow", "a dog"]] * 3
    assert script.calls[-1] == (["5 for Headline 2"], None)
    assert len(read_records(path)[2]["captions"]) == 5
    # The file is of one origin still.
    assert caption(script, QUERIES[:3], path)[2]["captions"][-1] == "a pig"


def test_a_file_for_other_articles_is_refused_with_both_titles(tmp_path):
    path = tmp_path / "c.jsonl"
    caption(ScriptedLLM(), QUERIES[:2], path)
    with pytest.raises(ValueError, match=r"title of 'a1' is 'Headline 1', the data's is 'News'"):
        caption(ScriptedLLM(), [QUERIES[0], Query("a1", "News")], path)


def test_the_file_in_the_cache_keeps_data_sets_and_settings_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("NEWSIMG_CACHE", str(tmp_path))
    first = caption(ScriptedLLM(), [Query("a1", "One")])
    other = caption(ScriptedLLM(), [Query("a1", "Another")])
    assert first != other
    llm = ScriptedLLM()
    assert caption(llm, [Query("a1", "One")]) == first
    assert llm.calls == []
    caption(llm, [Query("a1", "One")], num_captions=2)
    assert len(list((tmp_path / "captions").glob("*.jsonl"))) == 2


def test_without_a_model_the_file_is_taken_as_it_is_and_must_be_complete(tmp_path):
    path = tmp_path / "c.jsonl"
    written = caption(ScriptedLLM(), QUERIES[:2], path)
    assert caption(None, QUERIES[:2], path) == written
    with pytest.raises(ValueError, match=r"lacks 1 of 3 articles, 'a2' the first, and llm is null"):
        caption(None, QUERIES[:3], path)
    with pytest.raises(ValueError, match=r"captions_path must name a file where llm is null"):
        caption(None, QUERIES[:3])


def test_a_damaged_line_is_refused_by_its_number(tmp_path):
    path = tmp_path / "c.jsonl"
    caption(ScriptedLLM(), QUERIES[:3], path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:40], lines[2]]) + "\n")
    with pytest.raises(ValueError, match=r"c.jsonl, line 2, is not JSON"):
        read_records(path)
    path.write_text(lines[0].replace('"title"', '"headline"') + "\n")
    with pytest.raises(ValueError, match=r"line 1, must have article_id, title, captions"):
        read_records(path)
    path.write_text(json.dumps({**json.loads(lines[0]), "captions": ["a", " "]}) + "\n")
    with pytest.raises(ValueError, match=r"line 1, has an empty caption"):
        read_records(path)


def test_two_processes_write_every_article_once(tmp_path):
    script = textwrap.dedent(
        """
        import sys, time
        sys.path[:0] = sys.argv[2:]
        from test_captions import QUERIES, ScriptedLLM, caption
        def answer(text, seed):
            time.sleep(0.01)
            return "a cow"
        caption(ScriptedLLM(answer), path=sys.argv[1])
        """
    )
    path = tmp_path / "c.jsonl"
    jobs = [
        subprocess.Popen([sys.executable, "-c", script, str(path), *sys.path]) for _ in range(2)
    ]
    assert [job.wait(60) for job in jobs] == [0, 0]
    assert [record["article_id"] for record in read_records(path)] == [q.query_id for q in QUERIES]


def test_lists_keyed_by_position_become_records_keyed_by_article(tmp_path):
    csv = tmp_path / "articles.csv"
    csv.write_text("article_id,article_title,image_id\nx9, Storm ,1\nx7,Calm,2\n")
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps([["a wave", "", " a  harbour "], ["", ""]]))
    records = import_captions(lists, read_articles(csv).to_dict("records"), csv)
    assert [(r["article_id"], r["title"], r["captions"]) for r in records] == [
        ("x9", "Storm", ["a wave", "a harbour"]),
        ("x7", "Calm", []),
    ]
    lists.write_text(json.dumps([["a wave"]]))
    with pytest.raises(ValueError, match=r"captions for 1 rows, but .*articles.csv has 2"):
        import_captions(lists, read_articles(csv).to_dict("records"), csv)
    lists.write_text(json.dumps({"0": ["a wave"]}))
    with pytest.raises(ValueError, match=r"must hold a list of lists of captions"):
        import_captions(lists, read_articles(csv).to_dict("records"), csv)


def write_original(path, *rows):
    """Write captions as the original system did: title and URL alone in lists."""
    objects = [
        {"article_id": i, "title": [title], "captions": captions, "article_url": [url]}
        for i, title, captions, url in rows
    ]
    path.write_text(json.dumps(objects))


@pytest.fixture
def three_articles(tmp_path):
    csv = tmp_path / "articles.csv"
    csv.write_text(
        "article_id,article_url,article_title\n"
        "x9,http://a/1, Storm \nx7,http://a/2,Calm\nx5,http://a/3,Calm\n"
    )
    return csv


def import_from(lists, csv):
    return import_captions(lists, read_articles(csv).to_dict("records"), csv)


def test_the_original_systems_file_is_matched_by_url_and_title(tmp_path, three_articles, caplog):
    lists = tmp_path / "lists.json"
    write_original(
        lists,
        (0, "Storm", [" a  wave", "", "a harbour"], "http://a/1"),
        (1, "Calm", ["a lake"], "http://a/2"),
        (2, "Calm", ["a sail"], "http://a/3"),
    )
    records = import_from(lists, three_articles)
    assert [(r["article_id"], r["title"], r["captions"]) for r in records] == [
        ("x9", "Storm", ["a wave", "a harbour"]),
        ("x7", "Calm", ["a lake"]),
        ("x5", "Calm", ["a sail"]),
    ]
    assert not caplog.records
    # An article that was left out does not move the captions of the next one to it.
    write_original(
        lists,
        (0, "Storm", ["a wave"], "http://a/1"),
        (1, "Calm", ["a sail"], "http://a/3"),
    )
    records = import_from(lists, three_articles)
    assert [r["captions"] for r in records] == [["a wave"], [], ["a sail"]]
    assert "1 objects have another position" in caplog.text
    assert "1 articles have no object, and so no captions" in caplog.text


def test_without_urls_the_position_decides_between_equal_titles(tmp_path):
    csv, lists = tmp_path / "articles.csv", tmp_path / "lists.json"
    csv.write_text("article_id,article_title\nx9,Storm\nx7,Calm\nx5,Calm\n")
    write_original(lists, (2, "Calm", ["a sail"], "http://a/3"), (0, "Storm", ["s"], ""))
    assert [r["captions"] for r in import_from(lists, csv)] == [["s"], [], ["a sail"]]
    write_original(lists, (9, "Calm", ["a sail"], ""))
    with pytest.raises(ValueError, match=r"object 1, title 'Calm'.* 2 articles of .* have both$"):
        import_from(lists, csv)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [(1, "Storm", ["a"], "http://a/2")],
            r"object 1, title 'Storm', URL 'http://a/2': no articles of .*articles.csv have both; "
            r"at its position 1 there is 'Calm', URL 'http://a/2'$",
        ),
        ([(0, "Gale", ["a"], "http://a/1")], r"'Gale'.* at its position 0 there is 'Storm'"),
        ([(0, "", ["a"], "http://a/1")], r"object 1, must have title and captions, got article_id"),
        ([(0, "Storm", [1], "http://a/1")], r"object 1, must have title and captions"),
        (
            [(0, "Storm", ["a"], "http://a/1"), (1, "Storm", ["b"], "http://a/1")],
            r"object 2, title 'Storm', belongs to the article of an earlier one",
        ),
    ],
)
def test_an_object_that_is_not_of_one_article_is_named(tmp_path, three_articles, rows, message):
    lists = tmp_path / "lists.json"
    write_original(lists, *rows)
    with pytest.raises(ValueError, match=message):
        import_from(lists, three_articles)


def test_a_file_that_is_missing_or_no_json_is_named(tmp_path, three_articles):
    lists = tmp_path / "lists.json"
    with pytest.raises(FileNotFoundError, match=r"no file of captions at .*lists.json"):
        import_from(lists, three_articles)
    lists.write_text("[")
    with pytest.raises(ValueError, match=r"lists.json is not JSON: "):
        import_from(lists, three_articles)


@pytest.mark.parametrize("llm", [None, "scripted"])
def test_a_json_list_in_the_place_of_captions_says_how_it_is_imported(tmp_path, llm):
    lists = tmp_path / "my lists.json"
    write_original(lists, (0, "Storm", ["a wave"], "http://a/1"))
    before = lists.read_bytes()
    message = (
        r"is a JSON list, expected JSON Lines: newsimg task=caption 'task.import_path=.*json' "
    )
    with pytest.raises(ValueError, match=message):
        caption(llm and ScriptedLLM(), QUERIES[:1], lists)
    assert lists.read_bytes() == before


def test_captions_are_kept_for_the_values_that_the_prompt_uses(tmp_path):
    path = tmp_path / "captions.jsonl"
    prompt = {"system": "", "user": "{title} / {lead} / {tags}"}
    leads = {"rain": "rain falls", "wind": "wind blows"}

    def write(lead, **changes):
        query = Query("a", "Storm", ("Ada",), columns=(("lead", leads[lead]), ("other", lead)))
        llm = ScriptedLLM()
        return llm, caption(llm, [query], changes.pop("path", None), prompt=prompt)[0]["captions"]

    llm, captions = write("rain")
    assert captions == ["a picture of Storm / rain falls / Ada"]
    assert len(llm.calls) == 1
    assert not write("rain")[0].calls
    assert write("wind")[1] == ["a picture of Storm / wind blows / Ada"]
    assert write("rain")[1] == captions
    for lead in leads:
        llm, captions = write(lead, path=path)
        assert captions == [f"a picture of Storm / {leads[lead]} / Ada"]
    fields = [json.loads(line)["fields"] for line in path.read_text().splitlines()]
    assert fields == [{"lead": leads[lead], "tags": "Ada"} for lead in leads]
    assert caption(None, [Query("a", "Storm")], path)[0]["captions"] == captions


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"user": "{title}"}, r"prompt must have system and user, got user"),
        (
            {"system": "", "user": "{title} {date}"},
            r"^prompt uses \{date\}, but the headlines have no such column: they have title, tags",
        ),
        (
            {"system": "{", "user": "{title}"},
            r"prompt.system may use \{title\}, \{tags\} and columns of the data, and writes",
        ),
        ({"system": "{title}", "user": "go"}, r"prompt.user must use \{title\}, got 'go'"),
    ],
)
def test_a_prompt_that_cannot_be_filled_is_refused(prompt, message):
    with pytest.raises(ValueError, match=message):
        caption(ScriptedLLM(), prompt=prompt)
