"""Where the journal is: the URLs that are accepted, and how they are shown. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from mge_ray.domain.errors import MgeRayError

SQLITE = "sqlite:///"
POSTGRESQL_DRIVER = "postgresql+psycopg"
_SQLITE_SCHEMES = ("sqlite", "sqlite+pysqlite")
_POSTGRESQL_SCHEMES = ("postgresql", "postgres", POSTGRESQL_DRIVER)
_ADVICE = "give sqlite:///PATH or postgresql://USER@HOST/DATABASE"


class JournalUrlError(MgeRayError, ValueError):
    """A database URL that cannot hold a journal."""


@dataclass(frozen=True, slots=True)
class Location:
    """A place that can hold a journal: a file (`path`, absolute) or a PostgreSQL database."""

    url: URL
    path: Path | None

    @property
    def shown(self) -> str:
        """The place as people may see it: never a password, also not one hidden in the query."""
        if self.path is not None:
            return str(self.path)
        return self.url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)

    @property
    def text(self) -> str:
        """The place as a URL, password included, that `locate` reads back."""
        if self.path is not None:
            return SQLITE + quote(str(self.path), safe="/ :@+,=~!$&'()*;")
        return self.url.render_as_string(hide_password=False)


def locate(text: str) -> Location:
    """Read a database URL; raise JournalUrlError, without echoing it, for one that cannot hold a journal."""
    scheme, separator, _ = text.partition("://")
    if not separator or not scheme.replace("+", "").isalnum():
        raise JournalUrlError(f"the database URL has no scheme; {_ADVICE}")
    if scheme in _SQLITE_SCHEMES:
        return _locate_file(text.partition("://")[2])
    if scheme in _POSTGRESQL_SCHEMES:
        return _locate_postgresql(text)
    raise JournalUrlError(f"databases of the kind {scheme[:40]!r} cannot hold the journal; {_ADVICE}")


def normalise_url(text: str) -> str:
    """Return the URL in the one form the journal uses: absolute SQLite paths, PostgreSQL through psycopg."""
    return locate(text).text


def shown_url(text: str) -> str:
    """Return the place a URL names as people may see it, without its password."""
    return locate(text).shown


def default_url(cwd: Path) -> str:
    """Return the URL of the journal that belongs to the folder `cwd`."""
    return Location(URL.create("sqlite"), (cwd / ".mge" / "journal.db").absolute()).text


def _locate_file(rest: str) -> Location:
    if "?" in rest or "#" in rest:
        raise JournalUrlError("a sqlite URL takes no options here; write a '?' or '#' in a path as %3F or %23")
    name = unquote(rest[1:]) if rest.startswith("/") else ""
    if not name or name.startswith((":memory:", "file:")) or "\0" in name:
        raise JournalUrlError("the journal needs a database file to survive in; give sqlite:///PATH")
    path = Path(name).expanduser().absolute()
    return Location(URL.create("sqlite", database=str(path)), path)


def _locate_postgresql(text: str) -> Location:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise JournalUrlError(f"the postgresql URL cannot be read; {_ADVICE}") from None
    return Location(url.set(drivername=POSTGRESQL_DRIVER), None)
