"""What is watched, and by whom.

Machines watch counters and latencies that a scraper collects; people watch the book: what it returned, held, traded
and paid, which limits acted, and where its risk comes from. Everything here looks at what others have written down,
mostly the ledger, read-only, and decides nothing.
"""
