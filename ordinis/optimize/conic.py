"""Convex programs over a region, for Clarabel, an interior-point solver of cones (Goulart and Chen 2024).

Everything a region limits is written as A x + s = b with s in a cone: rows and bounds as inequalities; a limited sum of
absolute values by splitting w - reference into a rise and a fall, columns that are added behind the weights; what
impact costs by a power cone for each trade, and by the squares of rise and fall. `homogeneous` turns the same region
into the cone over it, for ratios: with kappa a new last column, A x <= b becomes A x - b kappa <= 0 (Charnes and
Cooper 1962).

Clarabel is spoken to directly, since modelling layers cost ten times the solve; its settings are fixed and single-
threaded, so equal inputs give equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import clarabel
import numpy as np
from scipy import sparse

from ordinis.errors import SolverFailed
from ordinis.optimize.region import BoolArray, Prices, Region, TradingCosts
from ordinis.ports import FloatArray

SOLVER = "clarabel"
TOLERANCE = 1e-10
POWER_TOLERANCE = 1e-8
"""Power and exponential cones are solved to this; Clarabel seldom reaches more."""


@dataclass(frozen=True)
class Rows:
    """A x + s = b with s in `cone`."""

    matrix: Any
    bounds: FloatArray
    cone: Any
    of: str = ""
    """Which limits of the region stand here, where they have a price."""


@dataclass(frozen=True)
class Solved:
    """What a solver found."""

    columns: FloatArray
    """(width,)."""
    prices: Prices
    """Of the region's limits."""


@dataclass(frozen=True)
class Conic:
    """minimise x' P x / 2 + q' x over cones, whose first N columns are weights of `region`."""

    region: Region
    width: int
    linear: FloatArray
    """(width,) what the columns behind the weights cost; zero on the weights."""
    square: FloatArray
    """(width,) what their squares cost; zero on the weights."""
    rows: tuple[Rows, ...]
    curved: bool = False

    @property
    def count(self) -> int:
        return self.region.size

    def solve(self, quadratic: FloatArray, linear: FloatArray) -> Solved:
        """The columns that minimise w' `quadratic` w / 2 + `linear`' w and the costs; (N, N) and (N,).

        Raises:
            SolverFailed: Clarabel did not call its answer solved.
        """
        whole = sparse.csc_matrix(np.triu(quadratic))
        if self.width > self.count:
            behind = sparse.diags(2.0 * self.square[self.count :])
            whole = sparse.block_diag([whole, behind], format="csc")
        cost = self.linear.copy()
        cost[: self.count] += linear
        matrix = sparse.vstack([rows.matrix for rows in self.rows], format="csc")
        bounds = np.concatenate([rows.bounds for rows in self.rows])
        cones = [cone for rows in self.rows for cone in rows.cone]
        tolerance = POWER_TOLERANCE if self.curved else TOLERANCE
        solution = clarabel.DefaultSolver(whole, cost, matrix, bounds, cones, _settings(tolerance)).solve()
        if solution.status != clarabel.SolverStatus.Solved:
            raise SolverFailed(SOLVER, str(solution.status))
        return Solved(np.asarray(solution.x, dtype=np.float64), self._prices(np.asarray(solution.z)))

    def _prices(self, multipliers: FloatArray) -> Prices:
        """By Clarabel's multipliers of A x + s = b, positive where s is at its wall."""
        same, above, below = _kinds(self.region)
        rows, sums, at = np.zeros(len(self.region.rows)), {"turnover": 0.0, "leverage": 0.0}, 0
        for block in self.rows:
            own = multipliers[at : at + len(block.bounds)]
            at += len(block.bounds)
            if block.of == "same":
                rows[same] -= own
            elif block.of == "inside":
                rows[above] -= own[: above.sum()]
                rows[below] += own[above.sum() :][: below.sum()]
            elif block.of:
                sums[block.of] = float(own[0])
        return Prices(rows, sums["leverage"], sums["turnover"])

    def homogeneous(self, ratio: FloatArray) -> Conic:
        """The cone over this set, cut where `ratio`' w is one; its last column is kappa, weights are x / kappa."""
        rows = [
            replace(
                each,
                matrix=sparse.hstack([each.matrix, sparse.csc_matrix(-each.bounds[:, None])]),
                bounds=0.0 * each.bounds,
            )
            for each in self.rows
        ]
        cut = np.zeros((1, self.width + 1))
        cut[0, : self.count] = ratio
        kappa = np.zeros((1, self.width + 1))
        kappa[0, -1] = -1.0
        rows.append(Rows(sparse.csc_matrix(cut), np.ones(1), [clarabel.ZeroConeT(1)]))
        rows.append(Rows(sparse.csc_matrix(kappa), np.zeros(1), [clarabel.NonnegativeConeT(1)]))
        linear, square = np.append(self.linear, 0.0), np.append(self.square, 0.0)
        return replace(self, width=self.width + 1, linear=linear, square=square, rows=tuple(rows))

    def with_logarithms(self, shares: FloatArray) -> Conic:
        """With columns t_i <= log w_i that earn `shares` each."""
        count, width = self.count, self.width + self.count
        rows = [
            replace(each, matrix=sparse.hstack([each.matrix, sparse.csc_matrix((len(each.bounds), count))]))
            for each in self.rows
        ]
        # (t, 1, w) in the exponential cone: exp(t) <= w.
        places = np.arange(count)
        matrix = sparse.lil_matrix((3 * count, width))
        matrix[3 * places, self.width + places] = -1.0
        matrix[3 * places + 2, places] = -1.0
        rows.append(Rows(matrix, np.tile([0.0, 1.0, 0.0], count), [clarabel.ExponentialConeT()] * count))
        linear, square = np.concatenate([self.linear, -shares]), np.append(self.square, np.zeros(count))
        return replace(self, width=width, linear=linear, square=square, rows=tuple(rows), curved=True)


def conic(region: Region, costs: TradingCosts | None = None) -> Conic:
    """The weights of `region`, and the columns that its sums of absolute values and `costs` of trading need."""
    count, zero = region.size, np.zeros(region.size)
    free = TradingCosts(zero, zero)
    splits: list[tuple[str, FloatArray, float | None, TradingCosts]] = []
    if costs is not None or region.turnover is not None:
        splits.append(("turnover", region.start, region.turnover, costs or free))
    if region.leverage is not None:
        splits.append(("leverage", zero, region.leverage, free))
    curved = [bool((cost.power > 0.0).any()) for *_, cost in splits]
    width = count + sum(2 * count + count * bend for bend in curved)
    identity, eye = sparse.identity(count, format="csc"), np.eye(count)
    same, above, below = _kinds(region)
    inside = np.vstack([region.rows[above], -region.rows[below], eye, -eye])
    bounds = np.concatenate([region.row_upper[above], -region.row_lower[below], region.upper, -region.lower])
    rows = [
        _rows(width, {0: region.rows[same]}, region.row_upper[same], clarabel.ZeroConeT, "same"),
        _rows(width, {0: inside}, bounds, clarabel.NonnegativeConeT, "inside"),
    ]
    priced, squared, at = np.zeros(width), np.zeros(width), count
    for (name, reference, limit, cost), bend in zip(splits, curved, strict=True):
        rise, fall = at, at + count
        priced[rise : fall + count] = np.tile(cost.linear, 2)
        squared[rise : fall + count] = np.tile(cost.square, 2)
        rows.append(_rows(width, {0: identity, rise: -identity, fall: identity}, reference, clarabel.ZeroConeT))
        rows.append(_rows(width, {rise: -sparse.identity(2 * count)}, np.zeros(2 * count), clarabel.NonnegativeConeT))
        if limit is not None:
            ones = np.ones((1, 2 * count))
            rows.append(_rows(width, {rise: ones}, np.array([limit]), clarabel.NonnegativeConeT, name))
        if bend:
            bent = fall + count
            priced[bent : bent + count] = cost.power
            rows.append(_powers(width, rise, fall, bent, count, cost.exponent))
        at += 2 * count + count * bend
    return Conic(region, width, priced, squared, tuple(row for row in rows if len(row.bounds)), any(curved))


def _kinds(region: Region) -> tuple[BoolArray, BoolArray, BoolArray]:
    """(K,) which rows are equalities, which have a largest and which a smallest value."""
    same = region.row_lower == region.row_upper
    return same, np.isfinite(region.row_upper) & ~same, np.isfinite(region.row_lower) & ~same


def _rows(width: int, parts: dict[int, Any], bounds: FloatArray, cone: Any, of: str = "") -> Rows:
    """Blocks by their first column, zeros between them."""
    blocks, at = [], 0
    for column, part in parts.items():
        if column > at:
            blocks.append(sparse.csc_matrix((len(bounds), column - at)))
        blocks.append(sparse.csc_matrix(part))
        at = column + part.shape[1]
    if width > at:
        blocks.append(sparse.csc_matrix((len(bounds), width - at)))
    matrix = blocks[0] if len(blocks) == 1 else sparse.hstack(blocks, format="csc")
    return Rows(matrix, np.asarray(bounds, dtype=np.float64), [cone(len(bounds))], of)


def _powers(width: int, rise: int, fall: int, bent: int, count: int, exponent: float) -> Rows:
    """(z, 1, rise + fall) in the power cone of 1 / e: z^(1/e) >= |rise + fall|."""
    places = np.arange(count)
    matrix = sparse.lil_matrix((3 * count, width))
    matrix[3 * places, bent + places] = -1.0
    matrix[3 * places + 2, rise + places] = -1.0
    matrix[3 * places + 2, fall + places] = -1.0
    return Rows(matrix.tocsc(), np.tile([0.0, 1.0, 0.0], count), [clarabel.PowerConeT(1.0 / exponent)] * count)


def _settings(tolerance: float) -> Any:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_iter = 200
    settings.max_threads = 1
    settings.direct_solve_method = "qdldl"
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tolerance
    return settings
