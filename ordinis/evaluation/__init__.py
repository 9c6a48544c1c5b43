"""Is it any good? Statistics of a return path, back-tests, and honest comparison.

A claim is a comparison on the same data, costs and dates, out of sample, with a confidence interval. `statistics` are
functions of arrays only: whoever calls decides which path is whose.
"""
