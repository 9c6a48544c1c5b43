"""How a person meets Ordinis: one command with `--help` that teaches.

Commands are thin: they read settings, call one function of the package and print. Everything heavy is imported
inside the command that needs it, so that help answers at once.
"""

from ordinis.cli.app import main

__all__ = ["main"]
