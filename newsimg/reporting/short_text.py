"""Texts of any length where there is room for one line."""


def cut_text(text: str, n_letters: int) -> str:
    """Return a text on one line, cut to at most `n_letters` with "…" for the rest.

    What it costs grows with `n_letters`, not with the text.
    """
    line = " ".join(text[: n_letters + 1].split())
    if len(text) <= n_letters + 1 and len(line) <= n_letters:
        return line
    return line[: n_letters - 1].rstrip() + "…"
