"""List, verify or prune the cache."""

from pathlib import Path

import pandas as pd

from newsimg.interfaces import Components, Task
from newsimg.reporting.console import confirm, console, print_table
from newsimg.storage.cache import OutputCache, find_cache_dir
from newsimg.storage.cache_entries import CacheEntry, verify_entry
from newsimg.storage.text.suggest import check_choice

ACTIONS = ("list", "verify", "prune")


class CacheTask(Task):
    """Lists the models in the cache; verifies or deletes their rows.

    Args:
        dir: Folder of the cache; None for the default.
        action: "list"; "verify" to read every file and rename damaged ones; or "prune" to delete
            the models selected by `model` and `older_than_days`.
        model: Substring of a model's fingerprint; None selects all models.
        older_than_days: Select models without new rows for so many days; None selects any age.
        ask: Whether to ask before deleting.

    Raises:
        ValueError: If `action` is unknown, or pruning has no selection.
    """

    parts = ()

    def __init__(
        self,
        *,
        dir: str | None,
        action: str,
        model: str | None,
        older_than_days: float | None,
        ask: bool,
    ) -> None:
        check_choice("task.action", action, ACTIONS)
        if action == "prune" and model is None and older_than_days is None:
            raise ValueError("task.action=prune needs task.model or task.older_than_days")
        self.dir = dir
        self.action = action
        self.model = model
        self.older_than_days = older_than_days
        self.ask = ask

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            The number of models, items and bytes in the cache after all; damaged files and pruned
            models.
        """
        cache = OutputCache(find_cache_dir(self.dir))
        verify = self.action == "verify"
        damaged = sum(map(verify_entry, cache.list_entries())) if verify else 0
        pruned = self._prune(cache) if self.action == "prune" else 0
        entries = cache.list_entries()
        table = pd.DataFrame(
            [
                (entry.kind, entry.model, entry.n_items, entry.n_bytes, f"{entry.age_days:.1f}")
                for entry in entries
            ],
            columns=["kind", "model", "items", "bytes", "days old"],
        )
        print_table(table, f"cache {cache.folder}")
        if verify:
            console.print(f"{damaged} damaged files set aside")
        return {
            "n_models": len(entries),
            "n_items": sum(entry.n_items for entry in entries),
            "n_bytes": sum(entry.n_bytes for entry in entries),
            "n_damaged": damaged,
            "n_pruned": pruned,
        }

    def _prune(self, cache: OutputCache) -> int:
        chosen = [entry for entry in cache.list_entries() if self._selects(entry)]
        for entry in chosen:
            console.print(f"{entry.kind} {entry.model}: {entry.n_items} items")
        if chosen and self.ask and not confirm(f"delete these {len(chosen)}?"):
            console.print("nothing deleted")
            return 0
        for entry in chosen:
            cache.delete(entry)
        return len(chosen)

    def _selects(self, entry: CacheEntry) -> bool:
        is_model = self.model is None or self.model in entry.model
        is_old = self.older_than_days is None or entry.age_days > self.older_than_days
        return is_model and is_old
