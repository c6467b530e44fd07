"""Where runs are tracked, and how to speak of it without its passwords."""

from urllib.parse import urlsplit


def check_address(uri: str) -> None:
    """Refuse the address of a server that names none.

    Raises:
        ValueError: If there is no host, or the port is no number.
    """
    try:
        address = urlsplit(uri)
        broken = address.scheme in ("http", "https") and not address.hostname
        _ = address.port
    except ValueError:
        broken = True
    if broken:
        raise ValueError(f"tracking.uri must be like http://host:5000, got {hide_password(uri)!r}")


def check_no_password(uri: str) -> None:
    """Refuse a URI with a password, without repeating it.

    Raises:
        ValueError: If there is one.
    """
    scheme, _, rest = uri.partition("://")
    login, at, _ = rest.partition("/")[0].rpartition("@")
    if at and (":" in login or scheme in ("http", "https")):  # a server's may be a token
        raise ValueError(
            f"tracking.uri must hold no password, got {hide_password(uri)}: it would be written to "
            "the run's config; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the "
            "whole URI in MLFLOW_TRACKING_URI"
        )


def hide_password(uri: str) -> str:
    """Return a URI with *** for the user and password in it."""
    scheme, mark, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" not in authority:
        return uri
    return f"{scheme}{mark}***@{authority.rpartition('@')[2]}{slash}{path}"


def hide_passwords(text: str, uri: str) -> str:
    """Return a text, such as an error's, without the user and password of a URI."""
    login, at, _ = uri.partition("://")[2].partition("/")[0].rpartition("@")
    return text.replace(f"{login}@", "***@") if at else text
