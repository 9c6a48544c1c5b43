"""What must survive: the ledger of one account, and the records of the flows.

Two databases with two owners. The ledger holds decisions, orders, fills and control rows; the execution actor is
its only writer (the command line adds small control rows beside it). The records hold what flows did: batches,
quarantine, job runs, attribution. Both are SQLAlchemy Core on SQLite or PostgreSQL, exact in Decimal and in UTC,
migrated by Alembic, and written in units of work that roll back unless committed.
"""
