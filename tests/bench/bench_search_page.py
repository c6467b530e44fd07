"""Measure the search page in Chromium: start, Enter to pictures, slider steps, bytes.

python tests/bench/bench_search_page.py [OVERRIDE ...]

prints seconds from the command to the page's address, and from opening the page to pictures while
models are being loaded; from the first Enter afterwards, and the median of further headlines, each
to the frame in which all pictures on the screen are drawn; milliseconds of slider steps (script,
layout and next frame) and their bytes; and the bytes of the page with and without the browser's
cache.
"""

import re
import statistics
import subprocess
import sys
import time
from typing import Any

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
SEARCH = [sys.executable, "-c", "from newsimg.run import search; search()"]
HEADLINES = [
    f"{what} {where}"
    for where in ("after the storm", "in the harbour", "as the evening falls", "in heavy snow")
    for what in (
        "Ferry service resumes",
        "Minister visits a camp",
        "Singers bow out",
        "Prices rise",
    )
]
N_STEPS = 100
# The pictures on the screen are those of the headline, and are drawn.
DRAWN = """title => document.title.startsWith(title)
  && document.getElementById("results").getAttribute("aria-busy") === "false"
  && document.querySelectorAll("main img").length > 0
  && [...document.querySelectorAll("main img")].every(image => image.complete
     || image.getBoundingClientRect().top > innerHeight)"""
STEP = """n => new Promise(done => {
  const slider = document.getElementById("weight"), times = [];
  function step(i) {
    if (i === n) return done(times);
    const since = performance.now();
    slider.value = i % 101 / 100;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    document.querySelector(".after li:last-child").getBoundingClientRect();  // layout
    times.push(performance.now() - since);
    requestAnimationFrame(() => setTimeout(() => step(i + 1)));
  }
  step(0);
})"""
BYTES = """() => performance.getEntries().filter(one => "transferSize" in one)
  .map(one => [one.name, one.transferSize])"""


def main() -> None:
    """Start the server, measure, and end it."""
    since = time.perf_counter()
    process = subprocess.Popen([*SEARCH, *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
    try:
        address = next(
            found[1] for line in process.stdout or () if (found := re.match(r"page +(\S+)", line))
        )
        print(f"command to address      {time.perf_counter() - since:6.2f} s")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
            )
            for top_k in (25, 100):
                measure(browser, address, top_k, is_first=top_k == 25)
            browser.close()
    finally:
        process.terminate()
        process.wait()


def measure(browser: Any, address: str, top_k: int, is_first: bool) -> None:
    """Measure a page with `top_k` candidates in a context without cached pictures."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    since = time.perf_counter()
    page.goto(f"{address}/#k={top_k}")
    page.wait_for_function(DRAWN, arg="", polling="raf", timeout=600_000)
    opened = time.perf_counter() - since
    print(f"{top_k} candidates")
    print(f"  opened to pictures    {opened:6.2f} s" + (", models being loaded" * is_first))
    page.wait_for_load_state("networkidle")
    sizes = page.evaluate(BYTES)
    pictures = sum(size for name, size in sizes if name.endswith("thumb.webp"))
    total = sum(size for _, size in sizes)
    print(f"  bytes, first visit    {total:9,}, of which pictures {pictures:,}")
    words = [f"{headline} {top_k}" for headline in HEADLINES]
    seconds = [search(page, headline) for headline in words]
    print(f"  first Enter           {seconds[0]:6.3f} s")
    print(f"  Enter, median         {statistics.median(seconds):6.3f} s, max {max(seconds):.3f}")
    again = [search(page, headline) for headline in words]
    print(f"  Enter again, median   {statistics.median(again):6.3f} s")
    page.wait_for_timeout(1000)  # pictures below the screen are loaded afterwards
    page.evaluate("performance.clearResourceTimings()")
    n_asked: list[str] = []
    page.on("request", lambda request: n_asked.append(request.url))
    times = page.evaluate(STEP, N_STEPS)
    times.sort()
    p95 = times[int(0.95 * len(times))]
    print(f"  slider step           {statistics.median(times):6.2f} ms, 95th percentile {p95:.2f}")
    print(f"  requests of {len(times)} steps {len(n_asked)}")
    page.reload()
    page.wait_for_function(DRAWN, arg="", polling="raf")
    page.wait_for_load_state("networkidle")
    sizes = page.evaluate(BYTES)
    print(f"  bytes, reloaded       {sum(size for _, size in sizes):9,}")
    page.close()


def search(page: Any, headline: str) -> float:
    """Type a headline, press Enter, and return the seconds until its pictures are drawn."""
    page.fill("#headline", headline)
    since = time.perf_counter()
    page.press("#headline", "Enter")
    page.wait_for_function(DRAWN, arg=headline, polling="raf", timeout=60_000)
    return time.perf_counter() - since


if __name__ == "__main__":
    main()
