"""How a database gets from one schema to the next; read by Alembic, never imported."""
