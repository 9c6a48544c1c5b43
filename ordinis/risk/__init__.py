"""How much could be lost, and where that risk comes from.

Measures of a return path (volatility, drawdown, value at risk, CVaR), covariance estimators, scenarios made from the
past, episodes and shocks, attribution (which factors paid, which positions carry the risk) and rolling regressions.
Pure functions of arrays: nothing here knows a limit or a vendor. Losses are positive numbers.
"""
