"""What may be held, whoever proposes it.

The rulebook is a file with named profiles; its rules see every proposal after the allocator and before any order.
A rule may shrink a position or refuse, never enlarge one, and each verdict is stored with its numbers.
"""
