"""Picture captions for headlines: prompting a language model and parsing its answers."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from newsimg.datatypes import Query
from newsimg.interfaces import LanguageModel
from newsimg.reranker.caption_file import CaptionFile, read_records
from newsimg.storage.files import user_cache_dir
from newsimg.storage.progress import Progress
from newsimg.storage.text.templates import (
    check_prompt_fields,
    check_query_fields,
    fill_prompt,
    list_fields,
)
from newsimg.storage.text.wording import read_wording

log = logging.getLogger(__name__)

LIST_MARK = re.compile(
    r"^\s*(?:[-*•–]\s+|\(?\d{1,2}[.):]\s*|captions?\s*\d*\s*:\s*)", re.IGNORECASE
)

N_WRAPPINGS = 8
QUOTES = "\"'“”‘’„‚«»`*"
LONGEST_CAPTION = 1000  # characters; longer texts are repetitions, not captions
OTHERS = {"num_captions"}  # fields of a prompt that are not of the query


class Captioner:
    """Writes captions for headlines with a language model and saves them in a file.

    Args:
        llm: Language model; None to use the captions of the file only.
        prompt: `system` and `user`, with the fields {title}, {num_captions}, {tags} and any column
            of the data; or the `path` of a file, see `read_wording`. Captions are kept for the
            values of these fields.
        num_captions: Number of captions per headline. The prompt requests as many, or as many as
            the file was written with, if that is more; the first ones are used.
        seed: Seed of sampling; None for greedy decoding.
        captions_path: File of captions; None for a file in the cache for this model, prompt and
            settings.

    Raises:
        ValueError: If an argument is invalid; names it.
    """

    def __init__(
        self,
        *,
        llm: LanguageModel | None,
        prompt: Mapping[str, str],
        num_captions: int,
        seed: int | None,
        captions_path: str | None,
    ) -> None:
        if num_captions < 1:
            raise ValueError(f"num_captions must be at least 1, got {num_captions}")
        if llm is None and captions_path is None:
            raise ValueError("captions_path must name a file where llm is null, got null")
        self.llm = llm
        self.prompt = check_prompt(prompt)
        self.fields = list_fields(list(self.prompt.values())) - OTHERS
        self.num_captions = num_captions
        self.seed = seed
        self.captions_path = captions_path

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Reranker.check_queries`: the prompt is not used if there is no model.

        Raises:
            ValueError: If the queries lack a field of the prompt, or the file is damaged or a JSON
                list; says how it is imported.
        """
        if self.captions_path is not None:
            read_records(Path(self.captions_path).expanduser())
        if self.llm is not None:
            check_query_fields(queries, self.fields, "prompt")

    def caption(self, queries: Sequence[Query]) -> list[dict[str, Any]]:
        """Return a record for each query: `article_id`, `title`, `captions` and their origin.

        Headlines in the file are not captioned again; a new record is written to disk immediately.
        An answer without captions is only recorded if the model is deterministic. Each record has
        the first `num_captions` captions, or fewer if the file has fewer.

        Raises:
            ValueError: If the file was made for other articles, by another model, prompt or
                settings, if it lacks articles and there is no model to write captions, or if the
                model leaves articles out.
        """
        self.check_queries(queries)
        file, n_asked = self._open()
        origin = None if self.llm is None else self.describe_origin(self.llm, n_asked)
        found = self._find(file, queries, origin)
        if None in found:
            if self.llm is None or origin is None:
                lacking = [q.query_id for q, f in zip(queries, found, strict=True) if f is None]
                raise ValueError(
                    f"{file.path} lacks {len(lacking)} of {len(queries)} articles, {lacking[0]!r} "
                    "the first, and llm is null"
                )
            with file.lock():  # another process may be captioning the same articles
                found = self._find(file, queries, origin)
                missing = [i for i, record in enumerate(found) if record is None]
                written = self._write(self.llm, [queries[i] for i in missing], file, origin)
            for i in missing:
                found[i] = written.get((queries[i].query_id, queries[i].title))
        records = [record for record in found if record is not None]
        if len(records) < len(queries):
            n_lacking = len(queries) - len(records)
            raise ValueError(f"the language model left out {n_lacking} of {len(queries)} articles")
        n = self.num_captions
        return [record | {"captions": record["captions"][:n]} for record in records]

    def _find(
        self, file: CaptionFile, queries: Sequence[Query], origin: dict[str, Any] | None
    ) -> list[dict[str, Any] | None]:
        values = None if self.llm is None else list(map(self._list_values, queries))
        found = file.find(queries, origin, values)
        if self.llm is None or self.llm.repeatable:
            return found
        return [record if record and record["captions"] else None for record in found]

    def _list_values(self, query: Query) -> dict[str, str]:
        """Return the values that the prompt uses beside the title."""
        return {name: query.fields[name] for name in sorted(self.fields - {"title"})}

    def count(self, captions: Sequence[Sequence[str]]) -> dict[str, float]:
        """Count headlines without captions and with fewer than requested; warn about the latter.

        Args:
            captions: Captions of each headline.

        Returns:
            `captions_missing` and `captions_fewer`.
        """
        n_fewer = sum(0 < len(own) < self.num_captions for own in captions)
        if n_fewer:
            log.warning(
                "%d of %d headlines have fewer captions than the %d asked for",
                n_fewer,
                len(captions),
                self.num_captions,
            )
        n_missing = sum(not own for own in captions)
        return {"captions_missing": n_missing, "captions_fewer": n_fewer}

    def _open(self) -> tuple[CaptionFile, int]:
        """Return the file and the number of captions to request."""
        if self.captions_path is not None:
            file = CaptionFile(Path(self.captions_path).expanduser(), shared=False)
            return file, max(self.num_captions, file.read_n_asked())
        if self.llm is None:
            raise ValueError("captions_path must name a file where llm is null, got null")
        origin = self.describe_origin(self.llm, self.num_captions)
        name = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:24]
        path = user_cache_dir() / "captions" / f"{name}.jsonl"
        return CaptionFile(path, shared=True), self.num_captions

    def describe_origin(self, llm: LanguageModel, n_asked: int) -> dict[str, Any]:
        """Return the origin of captions: model, revision, prompt hash and settings."""
        settings = json.loads(llm.fingerprint)
        return {
            "model": settings.pop("model"),
            "revision": settings.pop("revision", None),
            "prompt_hash": hashlib.sha256(
                json.dumps(self.prompt, sort_keys=True).encode()
            ).hexdigest(),
            "settings": settings | {"num_captions": n_asked, "seed": self.seed},
        }

    def _write(
        self,
        llm: LanguageModel,
        queries: Sequence[Query],
        file: CaptionFile,
        origin: dict[str, Any],
    ) -> dict[tuple[str, str], dict[str, Any]]:
        written: dict[tuple[str, str], dict[str, Any]] = {}
        failed: list[Query] = []
        lacking: list[Query] = []
        n_asked = origin["settings"]["num_captions"]

        def keep(query: Query, answer: str, last: bool = False) -> None:
            captions = parse_captions(answer, query.title, n_asked)
            if not captions and not last:
                failed.append(query)
                return
            record: dict[str, Any] = {
                "article_id": query.query_id,
                "title": query.title,
                "captions": captions,
            }
            if values := self._list_values(query):
                record["fields"] = values
            written[query.query_id, query.title] = record | origin
            if captions or llm.repeatable:
                file.append([record | origin])
            if not captions:
                lacking.append(query)

        self._ask(llm, queries, n_asked, self.seed, keep)
        if failed:
            log.warning(
                "%s hold no caption; asking again with another seed",
                _count_answers(failed, len(queries)),
            )
            self._ask(llm, failed, n_asked, (self.seed or 0) + 1, partial(keep, last=True))
        if lacking:
            log.warning(
                "%s hold no caption again%s",
                _count_answers(lacking, len(queries)),
                "" if llm.repeatable else "; the next run asks for them once more",
            )
        return written

    def _ask(
        self,
        llm: LanguageModel,
        queries: Sequence[Query],
        n_asked: int,
        seed: int | None,
        keep: Callable[[Query, str], None],
    ) -> None:
        others = {"num_captions": n_asked}
        chats = [
            [
                {"role": role, "content": fill_prompt(text, query, others, f"prompt.{role}")}
                for role, text in self.prompt.items()
                if text
            ]
            for query in queries
        ]
        with Progress("Writing captions", len(chats)) as progress:

            def keep_at(i: int, answer: str) -> None:
                keep(queries[i], answer)
                progress.update()

            llm.generate(chats, seed, keep_at)


def _count_answers(queries: Sequence[Query], n_asked: int) -> str:
    named = ", ".join(repr(query.query_id) for query in queries[:3])
    return f"{len(queries)} of {n_asked} answers ({named}{', ...' if len(queries) > 3 else ''})"


def check_prompt(prompt: Mapping[str, str]) -> dict[str, str]:
    """Check a prompt and return it with `system` first.

    A prompt in a text file has no `system`; see `read_wording`.

    Raises:
        FileNotFoundError: If its file does not exist.
        ValueError: If it lacks `system` or `user`, cannot be parsed, or lacks {title}.
    """
    prompt = read_wording(prompt, "prompt")
    if set(prompt) == {"text"}:
        prompt = {"system": "", "user": prompt["text"]}
    if set(prompt) != {"system", "user"}:
        raise ValueError(f"prompt must have system and user, got {', '.join(prompt)}")
    names = {role: check_prompt_fields(prompt[role], f"prompt.{role}", OTHERS) for role in prompt}
    if "title" not in names["user"]:
        raise ValueError(f"prompt.user must use {{title}}, got {prompt['user']!r}")
    return {role: prompt[role] for role in ("system", "user")}


def parse_captions(answer: str, title: str, num_captions: int) -> list[str]:
    """Parse captions from an answer: parts separated by semicolons or newlines.

    Numbering, bullets and quotes are removed. Parts without letters, parts longer than
    `LONGEST_CAPTION`, repetitions of the headline or of an earlier caption, and lines that end in a
    colon are dropped; at most `num_captions` are returned.
    """
    captions: list[str] = []
    seen = {_fold(title)}
    for part in re.split(r"[;\n]", answer):
        if part.rstrip().endswith(":"):
            continue
        caption = clean_caption(part)
        too_long = len(caption) > LONGEST_CAPTION
        if any(map(str.isalpha, caption)) and not too_long and _fold(caption) not in seen:
            seen.add(_fold(caption))
            captions.append(caption)
    return captions[:num_captions]


def clean_caption(part: str) -> str:
    """Strip numbering, quotes and spaces."""
    for _ in range(N_WRAPPINGS):  # markup may be nested
        part = LIST_MARK.sub("", part.strip().strip(QUOTES).strip())
    return " ".join(part.split())


def _fold(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
