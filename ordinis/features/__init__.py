"""What the past says, in numbers that the future cannot change.

`view` cuts a price history to what was known before the session that would be traded, `indicators` turn closes and
volumes into causal series, and `regime` names the state of the market on four axes. Back-test and live process call
the same functions on the same window and therefore see the same numbers. NumPy only: the execution actor loads this.
"""
