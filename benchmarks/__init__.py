"""Figures that the README and the design quote, each measured by one module; `results/` keeps what was measured."""
