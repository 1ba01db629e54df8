"""The journal in a SQL database: SQLite by default, PostgreSQL by URL."""

from mge_ray.adapters.journal.database import NoDatabaseError, SchemaError, upgrade
from mge_ray.adapters.journal.event_rows import event_page
from mge_ray.adapters.journal.readers import (
    HEARTBEAT_TIMEOUT_S,
    StoredExecution,
    UnreadableJournalError,
    list_executions,
    load_events,
    load_execution,
    load_plan_of,
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
from mge_ray.adapters.journal.upkeep import Pruned, UpkeepError, back_up, prune, restore
from mge_ray.adapters.journal.urls import JournalUrlError, default_url, normalise_url, shown_url

__all__ = [
    "HEARTBEAT_TIMEOUT_S",
    "ControlRequest",
    "JournalUrlError",
    "KeptOfPlan",
    "NoDatabaseError",
    "Pruned",
    "SchemaError",
    "SqlJournal",
    "SqlReuseStore",
    "Standing",
    "StoredExecution",
    "UnreadableJournalError",
    "UpkeepError",
    "back_up",
    "clear_kept",
    "default_url",
    "event_page",
    "kept_by_plan",
    "list_executions",
    "load_events",
    "load_execution",
    "load_plan_of",
    "move_request",
    "normalise_url",
    "open_requests",
    "prune",
    "put_request",
    "read_request",
    "restore",
    "shown_url",
    "upgrade",
]
