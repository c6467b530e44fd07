"""Damaged CSV files of articles, against a strict parser that shares no code with newsimg's."""

import random
from pathlib import Path

from mutations import mutate
from result import Result

from newsimg.storage.csv_table import read_rows

HEADER = ["article_id", "article_title", "article_tags", "image_id"]
WORDS = ("storm", "ferry", "Räte", "said “no”", 'the "best" plan', "a,b", "two\nlines", "", "选举")
MARKS = ('"', '""', ",", "\n", "\r\n", "\r", "\0", "\ufeff", " ", ";", "\t", "'", "é")
SPECIAL = set('"\n\r,')


def write_row(values: list[str], rng: random.Random) -> str:
    """Return a row with quotes where they are needed, and sometimes where they are not."""
    texts = []
    for value in values:
        quoted = bool(SPECIAL & set(value)) or rng.random() < 0.2
        texts.append('"' + value.replace('"', '""') + '"' if quoted else value)
    return ",".join(texts) + "\r\n"


def write_table(rng: random.Random, n_rows: int) -> str:
    """Return an intact CSV file."""
    rows = [HEADER]
    for i in range(n_rows):
        title = " ".join(rng.choices(WORDS, k=3))
        rows.append([str(i), title, rng.choice(WORDS), f"{i:05d}"])
    return "".join(write_row(row, rng) for row in rows)


def damage(text: str, rng: random.Random, others: list[bytes]) -> bytes:
    """Insert, remove or move marks; one file in four is damaged at the level of bytes."""
    if rng.random() < 0.25:
        return mutate(text.encode(), rng, others)
    letters = list(text)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(letters))
        if rng.random() < 0.6:
            letters.insert(place, rng.choice(MARKS))
        else:
            del letters[place : place + rng.randint(1, 3)]
    return "".join(letters).encode()


def parse(content: bytes) -> list[list[str]] | None:
    """Parse a CSV by the grammar of RFC 4180, or return None if it breaks a rule.

    Rows may end in CR, LF or CRLF; empty rows are skipped; all rows have the length of the first.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    rows: list[list[str]] = []
    row: list[str] = []
    i, end = 0, len(text)
    while i < end:
        value = ""
        if text[i] == '"':
            i += 1
            while True:
                close = text.find('"', i)
                if close < 0:
                    return None
                value += text[i:close]
                i = close + 1
                if i < end and text[i] == '"':
                    value += '"'
                    i += 1
                    continue
                break
            if i < end and text[i] not in ",\r\n":
                return None
        else:
            start = i
            while i < end and text[i] not in ",\r\n":
                i += 1
            value = text[start:i]
        row.append(value)
        if i < end and text[i] == ",":
            i += 1
            if i == end:
                row.append("")
            continue
        i += 2 if text[i : i + 2] == "\r\n" else 1
        rows.append(row)
        row = []
    if row:
        rows.append(row)
    rows = [values for values in rows if any(value.strip() for value in values)]
    return rows if all(len(values) == len(rows[0]) for values in rows) else None


def run(n: int, seed: int, folder: Path) -> Result:
    """Damage CSV files of 10 rows each until `n` rows are read or refused."""
    result = Result("damaged CSV rows")
    rng = random.Random(seed)
    path = folder / "articles.csv"
    intact = [write_table(rng, 10).encode() for _ in range(20)]
    while result.tried < n:
        content = damage(write_table(rng, 10), rng, intact)
        path.write_bytes(content)
        expected = parse(content)
        try:
            found = [values for _, values in read_rows(path)]
        except ValueError as error:
            named = str(path) in str(error)
            kind = "refused" if expected is None else "refused, though valid"
            outcome, fault = (kind, "") if named else ("NO NAME", str(error))
        else:
            same = found == expected
            outcome = "same articles" if same else "OTHER ARTICLES"
            fault = "" if same else f"{content!r}: {found} instead of {expected}"
        for _ in range(10):
            result.add(outcome, fault)
            fault = ""
    return result
