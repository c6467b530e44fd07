"""The search page, a Gradio app: candidates of a headline before and after reranking."""

import html
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from newsimg.app.command import Typed
from newsimg.app.session import HeadlineSearch, Scored
from newsimg.datatypes import Candidates, Image
from newsimg.reporting.results import CREDITS
from newsimg.reporting.thumbnails import SCALES, encode_thumbnails

if TYPE_CHECKING:
    import gradio

HOST = "127.0.0.1"
MAX_TOP_K = 100  # pictures on a page
STYLE = Path(__file__).with_suffix(".css")
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")


@dataclass(frozen=True)
class Start:
    """Initial state of the page.

    Attributes:
        headline: Headline; empty for none.
        examples: Example headlines.
        reranker: Name of the run's reranker.
        suited: Reranker -> its default normalisation and weight.
        top_k: Candidates.
        warning: Warning shown first; empty for none.
    """

    headline: str
    examples: Sequence[str]
    reranker: str
    suited: Mapping[str, tuple[str, float]]
    top_k: int
    warning: str = ""


def import_gradio() -> Any:
    """Import Gradio with analytics disabled.

    Raises:
        ImportError: If it is not installed; names the extra.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise ImportError("task=search needs: pip install newsimg[app]") from error
    return gradio


def build_page(search: HeadlineSearch, typed: Typed, start: Start) -> "gradio.Blocks":
    """Build the page without serving it.

    Args:
        search: Searches and scores.
        typed: Writes the command that gives the same result.
        start: What is selected at first.
    """
    gradio = import_gradio()
    show = make_handler(search, typed)
    first = show(start.headline, start.reranker, *start.suited[start.reranker], start.top_k)
    with gradio.Blocks(title="newsimg search", analytics_enabled=False) as page:
        if start.warning:
            gradio.HTML(f'<p role="alert">{html.escape(start.warning)}</p>', elem_id="warning")
        gradio.HTML(
            f"<h1>newsimg</h1><p>{len(search.images):,} pictures. Models run once for a headline "
            "and a reranker; normalisation and weight only sort.</p>",
            elem_id="top",
        )
        with gradio.Row(equal_height=True):
            headline = gradio.Textbox(
                start.headline, label="Headline", max_lines=1, scale=5, elem_id="headline"
            )
            button = gradio.Button("Search", variant="primary", scale=0, min_width=110)
        examples = None
        if start.examples:
            rows = [[example] for example in start.examples]
            examples = gradio.Examples(rows, headline, label="From the data")
        with gradio.Row():
            reranker, weight, value, top_k = add_settings(search, start)
        command = gradio.Textbox(
            first[2],
            label="The same on the command line",
            interactive=False,
            lines=2,
            buttons=["copy"],
            elem_id="command",
        )
        with gradio.Row():
            before = gradio.HTML(first[0], elem_id="before")
            after = gradio.HTML(first[1], elem_id="after")
        chosen = [headline, reranker, weight, value, top_k]
        outcome = [before, after, command]
        options = {"api_visibility": "private", "trigger_mode": "always_last"}
        for event in (value.change, weight.change):  # no model runs: no sign of waiting
            event(show, chosen, outcome, show_progress="hidden", **options)
        for event in (headline.submit, button.click, top_k.release):
            event(show, chosen, outcome, **options)
        reranker.change(start.suited.__getitem__, reranker, [weight, value], **options).then(
            show, chosen, outcome, **options
        )
        if examples:
            examples.load_input_event.then(show, chosen, outcome, **options)
    return page


def make_handler(search: HeadlineSearch, typed: Typed) -> Callable[..., tuple[str, str, str]]:
    """Return the event handler: candidates before and after, and the command."""
    gradio = import_gradio()

    def show(
        headline: str, reranker: str, weight: str, value: float, top_k: int
    ) -> tuple[str, str, str]:
        if not (headline or "").strip():
            return tell("Type a headline."), "", ""
        try:
            scored = search.score(headline, reranker, int(top_k))
            reranked = search.fuse(scored, weight, value)
        except (ValueError, OSError) as error:
            raise gradio.Error(html.escape(str(error)), duration=None) from error
        command = typed.write_command(headline, reranker, weight, value, int(top_k))
        return draw_before(scored.retrieved), draw_after(scored, reranked), command

    return show


def add_settings(search: HeadlineSearch, start: Start) -> tuple[Any, Any, Any, Any]:
    """Add the inputs for reranker, normalisation, weight and number of candidates."""
    gradio = import_gradio()
    weight, value = start.suited[start.reranker]
    most = max(start.top_k, min(MAX_TOP_K, len(search.images)))
    return (
        gradio.Dropdown(
            list(search.rerankers), value=start.reranker, label="Reranker", filterable=False
        ),
        gradio.Dropdown(
            list(search.weights), value=weight, label="Normalisation", filterable=False
        ),
        gradio.Slider(
            *(0, 1, value), step=0.01, label="Weight: the reranker's share", scale=2, buttons=[]
        ),
        gradio.Slider(
            *(1, most, start.top_k), step=1, label="Candidates", min_width=230, buttons=[]
        ),
    )


def open_page(page: "gradio.Blocks", port: int | None, show: bool) -> str:
    """Serve the page on 127.0.0.1 and return its address.

    Args:
        page: Result of `build_page`.
        port: Port; None for a free one.
        show: Whether to open it in the browser.

    Raises:
        OSError: If the port is taken.
    """
    gradio = import_gradio()
    try:
        _, url, _ = page.launch(
            server_name=HOST,
            server_port=port,
            inbrowser=show,
            share=False,
            prevent_thread_lock=True,
            show_error=True,
            quiet=True,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            # By default, fonts come from Google.
            theme=gradio.themes.Base(font=FONTS, font_mono=("ui-monospace", "monospace")),
            css=STYLE.read_text(encoding="utf-8"),
        )
    except OSError as error:
        if port is None:
            raise
        raise OSError(f"task.port must be free, got {port}, which is taken") from error
    return url


def draw_before(retrieved: Candidates) -> str:
    """Return the HTML of the retrieved candidates."""
    lines = [f"{score:.4f}" for score in retrieved.parts["retrieval"][0]]
    return draw_gallery("Before: retrieval", retrieved, lines, [""] * len(lines))


def draw_after(scored: Scored, reranked: Candidates) -> str:
    """Return the HTML of the reranked candidates, with changes of rank."""
    old = {row: rank for rank, row in enumerate(scored.retrieved.rows[0].tolist())}
    rows = reranked.rows[0].tolist()
    lines = [
        f"{fused:.4f} of {retrieval:.4f} and {second:.4f}"
        for fused, retrieval, second in zip(
            reranked.scores[0],
            reranked.parts["retrieval"][0],
            reranked.parts["rerank"][0],
            strict=True,
        )
    ]
    moves = [draw_move(old[row] - rank) for rank, row in enumerate(rows)]
    gallery = draw_gallery("After: fused, of retrieval and reranker", reranked, lines, moves)
    told = next(iter(scored.scores.captions), ())
    captions = "".join(f"<li>{html.escape(caption)}</li>" for caption in told)
    return gallery + (f"<h3>By these captions</h3><ul>{captions}</ul>" if captions else "")


def draw_gallery(
    title: str, candidates: Candidates, lines: Sequence[str], moves: Sequence[str]
) -> str:
    """Return the HTML of candidates, best first, with a line of scores each."""
    images = [candidates.images[row] for row in candidates.rows[0].tolist()]
    thumbs = encode_thumbnails(images, SCALES[0])
    figures = [
        draw_figure(rank, image, thumbs[image], line, move)
        for rank, (image, line, move) in enumerate(zip(images, lines, moves, strict=True), 1)
    ]
    return f'<h2>{title}</h2><div class="candidates">{"".join(figures)}</div>'


def draw_figure(rank: int, image: Image, thumb: str | None, line: str, move: str) -> str:
    """Return the HTML of one candidate; ids and credits are escaped."""
    name = html.escape(image.image_id)
    picture = '<span class="none">cannot be read</span>'
    if thumb is not None:
        picture = f'<img src="data:image/webp;base64,{thumb}" alt="{name}">'
    metadata = image.metadata or {}
    credit = " · ".join(html.escape(metadata[key]) for key in CREDITS if metadata.get(key))
    return (
        f'<figure data-id="{name}"><div class="picture">{picture}<b>{rank}</b></div><figcaption>'
        f'<span class="scores">{line}{move}</span><span class="name" title="{name}">{name}</span>'
        + (f'<span class="credit">{credit}</span>' if credit else "")
        + "</figcaption></figure>"
    )


def draw_move(places: int) -> str:
    """Return the HTML of a change of rank."""
    if not places:
        return '<i class="same">=</i>'
    return (
        f'<i class="{"up" if places > 0 else "down"}">{"▲" if places > 0 else "▼"}{abs(places)}</i>'
    )


def tell(text: str) -> str:
    """Return the HTML of a message."""
    return f'<p class="none">{html.escape(text)}</p>'
