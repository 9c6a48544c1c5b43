"""What trading costs.

One model serves the optimiser, the simulated broker and the report, so that they cannot disagree: half the
spread, impact that passes and impact that stays, and a commission; for all symbols alike or by liquidity.
"""
