"""Tracking URIs: selection, validation and hidden passwords."""

import os
from pathlib import Path
from urllib.parse import urlsplit


def sqlite_uri(path: Path) -> str:
    """Return the URI of a SQLite file, with special characters quoted.

    Raises:
        ValueError: If the installed SQLAlchemy cannot represent the path.
    """
    if not {"%", "?"} & set(str(path)):
        return f"sqlite:///{path}"
    from sqlalchemy import URL, make_url

    # With the driver's name: for "sqlite:///" MLflow would create a folder with the quoted path.
    uri = URL.create("sqlite+pysqlite", database=str(path)).render_as_string(hide_password=False)
    if make_url(uri).database != str(path):
        raise ValueError(f"the path of a database must not contain ? or %, got {str(path)!r}")
    return uri


def choose_uri(uri: str | None, folder: Path) -> str:
    """Return the configured URI, else MLFLOW_TRACKING_URI, else that of `mlflow.db` in a folder.

    Raises:
        ValueError: If it is malformed, or the configured one contains a password.
    """
    if uri is not None:
        check_no_password(uri)
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(folder / "mlflow.db")
    check_address(uri)
    return uri


def check_address(uri: str) -> None:
    """Check the host and port of a server's URI.

    Raises:
        ValueError: If there is no host, or the port is not a number.
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
    """Check that a URI contains no password; the error message does not repeat it.

    Raises:
        ValueError: If it contains one.
    """
    scheme, _, rest = uri.partition("://")
    login, at, _ = rest.partition("/")[0].rpartition("@")
    if at and (":" in login or scheme in ("http", "https")):  # a user name may be a token
        raise ValueError(
            f"tracking.uri must not contain a password, got {hide_password(uri)}: it would be "
            "written to the run's config; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or the complete URI in MLFLOW_TRACKING_URI"
        )


def hide_password(uri: str) -> str:
    """Return a URI with *** instead of user and password."""
    scheme, mark, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" not in authority:
        return uri
    return f"{scheme}{mark}***@{authority.rpartition('@')[2]}{slash}{path}"


def is_server(uri: str) -> bool:
    """Tell a tracking server from a database."""
    return urlsplit(uri).scheme in ("http", "https")


def strip_login(uri: str) -> str:
    """Return the address of a server without user and password."""
    address = urlsplit(uri)
    return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()


def hide_passwords(text: str, uri: str) -> str:
    """Return a text, e.g. an error message, without the user and password of a URI."""
    login, at, _ = uri.partition("://")[2].partition("/")[0].rpartition("@")
    return text.replace(f"{login}@", "***@") if at else text
