"""Alembic histories: `ledger` and `records`, one file a version."""
