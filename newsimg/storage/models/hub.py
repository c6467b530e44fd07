"""Models of the Hugging Face hub: one try to reach it, and a sentence on why a model is missing."""

from pathlib import Path

import yaml

from newsimg.storage.files import CONF_DIR
from newsimg.storage.text.suggest import suggest

TIMEOUT = 5.0  # seconds without an answer, after which the hub counts as out of reach
BUSY = 429  # this status, and those of a server's faults, are worth the library's own retries
LIBRARIES = {
    "config.json": "transformers",
    "modules.json": "sentence-transformers",
    "open_clip_config.json": "OpenCLIP",
    "adapter_config.json": "peft",
}


def download_config(model: str, revision: str, key: str, file: str = "config.json") -> Path:
    """Return the path of a hub model's config in the hub's cache, where it is put if need be.

    Args:
        model: Hub id.
        revision: Branch, tag or commit.
        key: What to type for the model, for messages, e.g. "backbone.model".
        file: Name of the config, by its library.

    Raises:
        OSError: If the hub does not answer, or has no such model for this user.
    """
    from huggingface_hub import (
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        kept = try_to_load_from_cache(model, file, revision=revision)
        if not isinstance(kept, str):
            # The library tries for half a minute to fetch what it does not have.
            try:
                url = hf_hub_url(model, file, revision=revision)
                get_hf_file_metadata(url, timeout=TIMEOUT)
            except HfHubHTTPError as error:
                if error.response.status_code < 500 and error.response.status_code != BUSY:
                    raise
        return Path(hf_hub_download(model, file, revision=revision, etag_timeout=TIMEOUT))
    except HFValidationError as error:
        raise FileNotFoundError(f"{key} must be a folder or a hub id, got {model}") from error
    except Exception as error:  # the libraries below have no base class for what goes wrong
        reason = _explain(error, model, revision, key, file)
        raise FileNotFoundError(f"{reason}; or {key}=FOLDER takes a copy on disk") from error


def _explain(error: Exception, model: str, revision: str, key: str, file: str) -> str:
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{model} is no folder here, and"
    if isinstance(error, GatedRepoError):
        return (
            f"{model} is gated: accept its terms on {ENDPOINT}/{model}, then log in with "
            "'hf auth login'"
        )
    if isinstance(error, RepositoryNotFoundError):
        hint = suggest(model, _list_models(key.partition(".")[0]))
        return (
            f"{where} the hub shows no model of this name{hint}; if it is private, log in with "
            "'hf auth login'"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"the hub's {model} has no revision {revision!r}"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{where} HF_HUB_OFFLINE=1 forbids to ask the hub"
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return f"the hub's {model} has no {file}, so it is no model of {LIBRARIES[file]}"
    if isinstance(error, HfHubHTTPError):
        return f"{where} the hub ({ENDPOINT}) answers with status {error.response.status_code}"
    detail = " ".join(str(error).split()) or type(error).__name__
    return f"{where} the hub ({ENDPOINT}) does not answer ({detail}): is there a connection?"


def _list_models(group: str) -> list[str]:
    """Return the models that a group's options name."""
    options = map(Path.read_text, sorted((CONF_DIR / group).glob("*.yaml")))
    return [str(option.get("model")) for option in map(yaml.safe_load, options) if option]
