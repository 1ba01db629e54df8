"""Tokens of the service: who may use it, as whom. A token is told once and kept nowhere; its SHA-256 is.

A hash without salt is enough: a token holds 256 random bits, which nobody guesses, with or without the table.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select, update

from mge_ray.adapters.journal.audit import AuditEntry, add_audit
from mge_ray.adapters.journal.database import reading, writing
from mge_ray.adapters.journal.tables import api_tokens
from mge_ray.domain.access import Role, checked_tenant
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.generation import whole

TOKEN_PREFIX = "mge_"  # noqa: S105  # what a token begins with, so that scanners of secrets know it
TOKEN_BYTES = 32
MAX_TOKEN_CHARS = 100
MAX_NAME_CHARS = 200


class UnknownTokenError(MgeRayError, LookupError):
    """A token id that the table does not hold, or not for this tenant."""


@dataclass(frozen=True, slots=True)
class StoredToken:
    """What is known of a token: everything but the token. Times are seconds since the epoch."""

    token_id: str
    tenant: str
    role: Role
    name: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def valid(self, now: float) -> bool:
        """Return whether it opens anything: neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def create_token(
    url: str,
    *,
    tenant: str,
    role: Role,
    by: str,
    name: str = "",
    expires_at: float | None = None,
    now: float | None = None,
) -> tuple[str, StoredToken]:
    """Make a token; return it, this once, and what is kept of it. Audited as `token create`."""
    secret = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    token = StoredToken(
        token_id=secrets.token_hex(8),
        tenant=checked_tenant(tenant),
        role=Role(role),
        name=whole(name)[:MAX_NAME_CHARS].replace("\0", ""),
        created_at=time.time() if now is None else now,
        expires_at=expires_at,
    )
    row = {
        "token_id": token.token_id,
        "hash": _hash(secret),
        "tenant": token.tenant,
        "role": token.role.value,
        "name": token.name,
        "created_at": token.created_at,
        "expires_at": expires_at,
        "revoked_at": None,
    }
    with writing(url) as connection:
        connection.execute(insert(api_tokens), row)
        add_audit(connection, _act("token create", token, by, token.created_at))
    return secret, token


def find_token(url: str, secret: str, *, now: float | None = None) -> StoredToken | None:
    """Return what is known of a token that opens something now; None for any other text."""
    if not secret.startswith(TOKEN_PREFIX) or len(secret) > MAX_TOKEN_CHARS or not secret.isascii():
        return None
    wanted = _hash(secret)
    with reading(url) as connection:
        row = connection.execute(select(api_tokens).where(api_tokens.c.hash == wanted)).one_or_none()
    if row is None or not hmac.compare_digest(row.hash, wanted):
        return None
    token = _token(row)
    return token if token.valid(time.time() if now is None else now) else None


def list_tokens(url: str, tenant: str | None = None) -> list[StoredToken]:
    """Return what is known of all tokens, or of one tenant's, the latest first; also of those revoked and expired."""
    wanted = select(api_tokens).order_by(api_tokens.c.created_at.desc(), api_tokens.c.token_id)
    if tenant is not None:
        wanted = wanted.where(api_tokens.c.tenant == tenant)
    with reading(url) as connection:
        return [_token(row) for row in connection.execute(wanted)]


def revoke_token(
    url: str, token_id: str, *, by: str, tenant: str | None = None, now: float | None = None
) -> StoredToken:
    """Make a token open nothing from now on; twice changes nothing. Audited as `token revoke`.

    Raises UnknownTokenError for an id that is not there, or, with `tenant`, that is somebody else's.
    """
    at = time.time() if now is None else now
    wanted = select(api_tokens).where(api_tokens.c.token_id == token_id)
    if tenant is not None:
        wanted = wanted.where(api_tokens.c.tenant == tenant)
    with writing(url) as connection:
        row = connection.execute(wanted.with_for_update()).one_or_none()
        if row is None:
            raise UnknownTokenError(f"no token {token_id[:40]!r}; `mge-ray token list` shows what there is")
        if row.revoked_at is None:
            of_it = update(api_tokens).where(api_tokens.c.token_id == token_id)
            connection.execute(of_it.values(revoked_at=at))
            add_audit(connection, _act("token revoke", _token(row), by, at))
        return _token(connection.execute(wanted).one())


def _act(verb: str, token: StoredToken, by: str, at: float) -> AuditEntry:
    told = {"token_id": token.token_id, "role": token.role.value, "name": token.name, "expires_at": token.expires_at}
    return AuditEntry(verb, by, token.tenant, details=told, at=at)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(row: Row[Any]) -> StoredToken:
    return StoredToken(
        token_id=row.token_id,
        tenant=row.tenant,
        role=Role(row.role),
        name=row.name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
