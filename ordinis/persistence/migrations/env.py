"""Alembic's entry point: migrations run on the connection that `persistence.schema` opened."""

from alembic import context

config = context.config
context.configure(
    connection=config.attributes["connection"],
    version_table=f"{config.attributes['schema']}_version",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
