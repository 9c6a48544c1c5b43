"""From wishes to feasible weights, with a proof.

`projection` moves any vector to the nearest one inside the limits, `certificate` measures afterwards, with other code,
how far inside it is, and the optimisers find the best of all feasible ones: minimum variance as a quadratic program,
mean-CVaR by an interior point on the worst scenarios (`tail_solver`), with a bound that no weights fall below
(`bounds`). Limits come in as `domain.limits.Limits`; symbols that are not in a sector have no sector limit.
"""
