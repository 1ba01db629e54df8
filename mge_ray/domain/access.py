"""Whose an execution is, and what somebody may do: names of tenants, and roles. Tokens are the adapters' matter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.events import TENANT_PATTERN

_TENANT = re.compile(TENANT_PATTERN.removeprefix("^").removesuffix("$"))


class Role(str, Enum):
    """What a token may do. Each role may do all that those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, needed: Role) -> bool:
        """Return whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class TenantError(MgeRayError, ValueError):
    """A name that no tenant can have."""


def checked_tenant(name: str) -> str:
    """Return the name; raise TenantError for one that no tenant can have. Empty: nobody's in particular."""
    if not _TENANT.fullmatch(name):
        raise TenantError(
            f"{name[:80]!r} is no tenant's name: up to 64 letters, digits and . _ -, beginning with a letter or digit"
        )
    return name


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: of which tenant (empty: nobody's in particular), with which role.

    `name` is what the audit says; `token_id` is empty where no token was needed.
    """

    tenant: str
    role: Role
    name: str
    token_id: str = ""
