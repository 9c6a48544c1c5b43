"""What a step of a night leaves in Prefect's pages."""

from __future__ import annotations

from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from ordinis.monitoring.artefacts import Artefacts


def publish(made: Artefacts) -> None:
    """Show Markdown, table and pictures under the step's key, and a warning of its own where something is missing."""
    create_markdown_artifact(made.markdown, key=made.key)
    if made.table:
        create_table_artifact(list(made.table), key=f"{made.key}-table")
    for number, (words, address) in enumerate(made.pictures.items(), start=1):
        create_image_artifact(address, key=f"{made.key}-picture-{number}", description=words)
    if made.warning:
        create_markdown_artifact(made.warning, key=f"{made.key}-warning", description="This night is incomplete.")
