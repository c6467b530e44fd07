"""Pick the picture that fits a news story: retrieve, re-rank, and choose the weight.

The command line's work in three lines; everything is loaded at first use:

    import newsimg
    desk = newsimg.load("reranker=aesthetics", "weight.value=0.15")
    desk.search("Ferry service resumes after storm", top_k=5)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from newsimg.launch.desk import Desk, compare, load

__version__ = "0.1.0"
__all__ = ["Desk", "__version__", "compare", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Desk", "compare", "load"):
        from newsimg.launch import desk

        return getattr(desk, name)
    raise AttributeError(f"module 'newsimg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
