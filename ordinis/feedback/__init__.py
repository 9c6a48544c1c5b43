"""What the market answered: how well orders were carried out, read from the book's own rows.

Reports show it, calibration learns costs from it, and sizing is advised by it. Nothing here decides or sends.
"""
