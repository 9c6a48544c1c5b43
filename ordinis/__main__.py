"""`python -m ordinis` is the `ordinis` command."""

from ordinis.cli import main

main()
