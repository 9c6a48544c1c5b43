"""Prices in: sources, the contracts they must keep, the store of what passed, and the window that a live run sees.

A source delivers a batch; its contract says which rows may be believed; what passes is appended to a store that
never forgets what was known when; what fails is kept apart with its reasons. The live window is the same prices
for a process that may not open a store. Frames stop here: everything after this package sees arrays.
"""
