"""The nouns of the trade, and what is always true of them.

Instruments, bars, orders, fills, positions, decisions and limits as immutable values that use the standard
library only: no database, no array, no clock. Money and quantities are `Decimal`, instants are aware UTC, trading
days are `date`. Everything else in Ordinis speaks in these words.
"""
