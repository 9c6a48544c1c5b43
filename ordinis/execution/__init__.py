"""From a proposal to a book: decide, plan, send, reconcile.

The actor is the only writer of orders. It asks an allocator, passes the answer through the rulebook, fixes a plan,
commits every order before sending it, books what the broker says happened, and compares its ledger with the broker
at every start. Nothing here knows Ray, Prefect or torch.
"""
