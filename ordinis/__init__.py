"""Ordinis runs a portfolio: prices in through contracts, certified allocations out, orders that are never lost.

The packages are the stations of an assembly line, in the order in which data pass them:

    data -> features -> allocation (optimize, risk) -> governance -> execution -> brokers -> persistence
         -> monitoring, evaluation

`domain` holds the nouns, `ports` the doors between stations, and `bootstrap` is the one place where concrete
things are joined. `operations` starts and asks the other processes; `cli` is how a person meets it all.
"""

__version__ = "0.1.0"
