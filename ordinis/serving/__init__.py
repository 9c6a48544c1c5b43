"""The question "what should I hold now?" over HTTP.

`schemas` is the wire format, `advisor` joins a portfolio with the market as it was known and asks the allocator, `app`
is the HTTP application around it, and `deployment` runs that application on Ray Serve. Nothing here can trade: the
service holds no broker's key, and its answer is checked again by whoever asked.
"""
