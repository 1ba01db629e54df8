"""The journal's tables, as this version reads and writes them. `migrations/` holds how a database gets there."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, String, Table, Text

# The database's schema, oldest first. A database at a revision that is not listed was made by a newer version.
REVISIONS = ("0001", "0002", "0003", "0004")
VERSION_TABLE = "mge_ray_schema_version"
SET_ASIDE = "set aside: "
"""Begins the reason of an execution whose journal cannot be replayed."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

executions = Table(
    "executions",
    metadata,
    Column("execution_id", String(36), primary_key=True),
    Column("masterplan_id", String(36), nullable=False),
    Column("name", Text, nullable=False),
    Column("plan", LargeBinary, nullable=False),  # JSON, zlib
    Column("settings", Text, nullable=False),  # JSON
    Column("status", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("heartbeat_at", Double, nullable=False),
    Column("state", Text, nullable=False),  # JSON
    Column("last_seq", BigInteger, nullable=False),
    Column("owner_host", Text, nullable=False),
    Column("owner_pid", Integer, nullable=False),
    Column("control_address", Text, nullable=True),
    Column("out_dir", Text, nullable=True),
    Column("run_options", Text, nullable=True),  # JSON, of whoever started it
    Column("tenant", String(64), nullable=False),  # empty: nobody's, as on a machine of one's own
)
Index(None, executions.c.created_at)
Index(None, executions.c.tenant, executions.c.created_at)

# No foreign key to executions: every insert updates the execution's row in the same transaction, which is the check.
events = Table(
    "events",
    metadata,
    Column("execution_id", String(36), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("atom_id", Text, nullable=True),
    Column("version", Integer, nullable=False),
    Column("payload", Text, nullable=False),  # JSON
)

# What is asked of an execution's owner by somebody else (ADR 12).
requests = Table(
    "requests",
    metadata,
    Column("request_id", String(36), primary_key=True),
    Column("execution_id", String(36), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("made_at", Double, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("verb", String(20), nullable=False),
    Column("arguments", Text, nullable=False),  # JSON
    Column("standing", String(20), nullable=False),
    Column("answer", Text, nullable=False),
)
Index(None, requests.c.execution_id)

# Code that passed its check, for later executions (ADR 14). May be emptied at any time.
accepted_code = Table(
    "accepted_code",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("atom_id", Text, nullable=False),
    Column("plan_name", Text, nullable=False),
    Column("source", String(36), nullable=False),
    Column("code", LargeBinary, nullable=False),  # UTF-8, zlib
    Column("cost_usd", Double, nullable=False),
    Column("written_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("last_used_at", Double, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
)
Index(None, accepted_code.c.last_used_at)

# Who shares an engine with others, and what all of their executions together may cost (ADR 16).
tenants = Table(
    "tenants",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("limit_usd", Double, nullable=True),  # null: no limit of its own
    Column("since", Double, nullable=False),  # executions created before are not counted
)

# Who may use the service. A token itself is kept nowhere.
api_tokens = Table(
    "api_tokens",
    metadata,
    Column("token_id", String(16), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256, hexadecimal
    Column("tenant", String(64), nullable=False),
    Column("role", String(20), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=True),
    Column("revoked_at", Double, nullable=True),
)

# What a start under an Idempotency-Key became: the same key and body give the same execution.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("execution_id", String(36), nullable=False),
    Column("created_at", Double, nullable=False),
)

# Who changed what by hand: budgets, code, tokens. Rows are only ever added.
audit = Table(
    "audit",
    metadata,
    Column("audit_id", String(36), primary_key=True),
    Column("at", Double, nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("who", Text, nullable=False),
    Column("verb", String(40), nullable=False),
    Column("execution_id", String(36), nullable=True),
    Column("details", Text, nullable=False),  # JSON
)
Index(None, audit.c.tenant, audit.c.at)
