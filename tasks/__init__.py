"""What a flow is made of: how often to try, on which machine, and one call into `ordinis` that does the work.

`jobs` keeps the book of what is done for which session, `bars` brings data in, `after_close` is what happens to a
session once it has closed. The body of each task can be run as a plain function with `.fn()`.
"""
