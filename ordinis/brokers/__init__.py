"""Places where orders are filled, behind one door.

The simulated broker is an ordinary broker: it keeps its own book, commits before it replies, charges the project's
cost model, and can run inside the actor's process or as a program of its own that is spoken to over HTTP.
"""
