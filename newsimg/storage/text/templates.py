"""Templates of query texts and prompts, filled with the fields of a query."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from string import Formatter

from newsimg.datatypes import QUERY_FIELDS, Query
from newsimg.storage.text.suggest import suggest

log = logging.getLogger(__name__)

NAME = re.compile(r"[\w -]+")  # of a column
Parts = list[tuple[str, str]]


def split_template(template: str) -> tuple[Parts, str]:
    """Return each field of a template with the text before it, and the text after the last one.

    Raises:
        ValueError: If a brace is unmatched, or a field is not just a name.
    """
    parts: Parts = []
    text = ""
    for before, name, form, conversion in Formatter().parse(template):
        text += before
        if name is None:
            continue
        if form or conversion or not NAME.fullmatch(name):
            raise ValueError(f"{{{name}}} must be the name of a field")
        parts.append((text, name))
        text = ""
    return parts, text


def list_fields(template: str | Sequence[str]) -> set[str]:
    """Return the names of the fields of one template or several.

    Raises:
        ValueError: See `split_template`.
    """
    templates = [template] if isinstance(template, str) else template
    return {name for one in templates for _, name in split_template(one)[0]}


def check_template(template: str | list[str]) -> str | list[str]:
    """Check that a query template, or each of several, has a field; return it.

    Whether the data have the fields is checked when they are loaded, see `check_query_fields`.

    Raises:
        ValueError: If there is none, one has no valid field, or two are equal.
    """
    known = ", ".join(f"{{{name}}}" for name in QUERY_FIELDS)
    templates = [template] if isinstance(template, str) else template
    if not templates or len(set(templates)) < len(templates):
        raise ValueError(f"query_template must be one or several different ones, got {template}")
    for one in templates:
        try:
            is_valid = bool(list_fields(one))
        except ValueError:
            is_valid = False
        if not is_valid:
            raise ValueError(
                f"query_template must use one or more of {known} or a column of the data, "
                f"got {one!r}"
            )
    return template


def check_prompt_fields(template: str, key: str, others: Collection[str] = ()) -> set[str]:
    """Return the fields of a query that a prompt uses.

    Args:
        template: The prompt.
        key: Its key, for messages, e.g. "prompt.user".
        others: Fields of the prompt that are not of the query.

    Raises:
        ValueError: If it cannot be parsed.
    """
    try:
        return list_fields(template) - set(others)
    except ValueError as error:
        raise ValueError(
            f"{key} may use {{title}}, {{tags}} and columns of the data, and writes other braces "
            f"twice: {error}"
        ) from error


def check_query_fields(queries: Sequence[Query], names: Collection[str], key: str) -> None:
    """Check that all queries have these fields.

    Those that a typed headline lacks are empty, and a warning says so once.

    Args:
        queries: The queries.
        names: Names of fields.
        key: What uses them, for messages, e.g. "query_template".

    Raises:
        ValueError: If one is missing; names the fields that exist.
    """
    wanted = set(names) - set(QUERY_FIELDS)
    if not wanted:
        return
    for columns, typed in {
        (tuple(name for name, _ in query.columns), query.typed): None for query in queries
    }:
        if missing := sorted(wanted - set(columns)):
            if typed:
                warn_empty(key, ", ".join(f"{{{name}}}" for name in missing))
                continue
            known = [*QUERY_FIELDS, *columns]
            raise ValueError(
                f"{key} uses {{{missing[0]}}}, but the headlines have no such column: they have "
                f"{', '.join(known)}{suggest(missing[0], known)}"
            )


@cache
def warn_empty(key: str, names: str) -> None:
    """Warn once that a typed headline leaves fields empty."""
    log.warning("%s uses %s, which is empty for a headline that is typed alone", key, names)


def render_queries(queries: Sequence[Query], template: str) -> list[str]:
    """Fill a query template for each query.

    An empty value is left out with the text between it and the value before it, so that "{title}.
    {lead}" is the title alone where there is no lead. If all are empty, the text is the title.

    Raises:
        ValueError: If the queries lack a field.
    """
    parts, end = split_template(template)
    check_query_fields(queries, [name for _, name in parts], "query_template")
    return [_join(parts, end, query.fields) for query in queries]


def _join(parts: Parts, end: str, fields: Mapping[str, str]) -> str:
    filled = [(text, fields[name]) for text, name in parts if fields[name]]
    if not filled:
        return fields["title"]
    rest = "".join(text + value for text, value in filled[1:])
    return (parts[0][0] + filled[0][1] + rest + end).strip()


def fill_prompt(template: str, query: Query, others: Mapping[str, object], key: str) -> str:
    """Fill a prompt; an empty value leaves nothing in its place, the text around it stays.

    Args:
        template: The prompt.
        query: Query with the values.
        others: Further fields and their values.
        key: See `check_prompt_fields`.

    Raises:
        ValueError: If the query lacks a field.
    """
    parts, end = split_template(template)
    check_query_fields([query], {name for _, name in parts} - set(others), key)
    fields = query.fields
    values = [others[name] if name in others else fields[name] for _, name in parts]
    return "".join(f"{text}{value}" for (text, _), value in zip(parts, values, strict=True)) + end
