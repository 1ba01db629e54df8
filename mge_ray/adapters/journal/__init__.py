"""The journal in a SQL database: SQLite by default, PostgreSQL by URL."""

from mge_ray.adapters.journal.audit import AuditEntry, put_audit, read_audit
from mge_ray.adapters.journal.database import NoDatabaseError, SchemaError, upgrade
from mge_ray.adapters.journal.event_rows import event_page
from mge_ray.adapters.journal.idempotency import IdempotencyKeyError, claim
from mge_ray.adapters.journal.readers import (
    HEARTBEAT_TIMEOUT_S,
    StoredExecution,
    UnreadableJournalError,
    list_executions,
    load_events,
    load_execution,
    load_plan_of,
    unfinished_of,
)
from mge_ray.adapters.journal.requests import (
    ControlRequest,
    Standing,
    move_request,
    open_requests,
    put_request,
    read_request,
)
from mge_ray.adapters.journal.reuse_store import KeptOfPlan, SqlReuseStore, clear_kept, kept_by_plan
from mge_ray.adapters.journal.sql_journal import SqlJournal
from mge_ray.adapters.journal.tenants import (
    SqlTenantBooks,
    list_tenants,
    set_tenant_limit,
    tenant_limits,
    tenant_standing,
)
from mge_ray.adapters.journal.tokens import (
    StoredToken,
    UnknownTokenError,
    create_token,
    find_token,
    list_tokens,
    revoke_token,
)
from mge_ray.adapters.journal.upkeep import Pruned, UpkeepError, back_up, prune, restore
from mge_ray.adapters.journal.urls import JournalUrlError, default_url, normalise_url, shown_url

__all__ = [
    "HEARTBEAT_TIMEOUT_S",
    "AuditEntry",
    "ControlRequest",
    "IdempotencyKeyError",
    "JournalUrlError",
    "KeptOfPlan",
    "NoDatabaseError",
    "Pruned",
    "SchemaError",
    "SqlJournal",
    "SqlReuseStore",
    "SqlTenantBooks",
    "Standing",
    "StoredExecution",
    "StoredToken",
    "UnknownTokenError",
    "UnreadableJournalError",
    "UpkeepError",
    "back_up",
    "claim",
    "clear_kept",
    "create_token",
    "default_url",
    "event_page",
    "find_token",
    "kept_by_plan",
    "list_executions",
    "list_tenants",
    "list_tokens",
    "load_events",
    "load_execution",
    "load_plan_of",
    "move_request",
    "normalise_url",
    "open_requests",
    "prune",
    "put_audit",
    "put_request",
    "read_audit",
    "read_request",
    "restore",
    "revoke_token",
    "set_tenant_limit",
    "shown_url",
    "tenant_limits",
    "tenant_standing",
    "unfinished_of",
    "upgrade",
]
