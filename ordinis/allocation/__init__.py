"""Answers to "what should I hold now?".

Every allocator is a frozen value with a name, a version and one method, `allocate(view, portfolio)`, and every one ends
in `answer`: projection onto the limits, certificate, Allocation. `naive` needs next to no estimates, `optimal` solves a
program and falls down a ladder when it cannot, `exposure` scales any other to a volatility target.
"""
