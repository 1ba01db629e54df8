"""Who may do what: roles, and whoever calls. Tokens and where they are kept are the adapters' business."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(str, Enum):
    """What a caller may do; each role may do all that the ones before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Return whether whoever has this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: of which tenant (empty: nobody's, as on a machine of one's own), with which role.

    `name` is what the audit says; `token_id` is empty where no token was needed.
    """

    tenant: str
    role: Role
    name: str
    token_id: str = ""
