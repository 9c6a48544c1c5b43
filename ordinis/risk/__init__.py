"""How much could be lost, and where that risk comes from.

Measures of a return path (volatility, drawdown, value at risk, CVaR), covariance estimators, and attribution: which
factors paid and which positions carry the risk. Pure functions of arrays: nothing here knows a portfolio, a limit
or a vendor. Losses are positive numbers.
"""
