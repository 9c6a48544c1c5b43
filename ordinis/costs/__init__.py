"""What trading costs.

One model serves the optimiser, the simulated broker and the report, so that they cannot disagree: half the
spread, impact that grows with the square root of participation, and a commission.
"""
