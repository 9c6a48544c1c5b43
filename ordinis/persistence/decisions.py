"""Decisions as they are kept: immutable, with inputs, verdicts and parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select

from ordinis.domain.canonical import canonical
from ordinis.domain.decisions import Decision, DecisionStatus, Source, Verdict
from ordinis.domain.orders import PlannedOrder, Side
from ordinis.errors import LedgerConflict, NotFound
from ordinis.persistence import chain
from ordinis.persistence.tables import decision, decision_input, decision_part, risk_check


class SqlDecisions:
    def __init__(self, connection: Connection, account: str) -> None:
        self._connection, self._account = connection, account

    def add(
        self, row: Decision, inputs: str, verdicts: Sequence[Verdict], parts: Sequence[tuple[str, str, float]]
    ) -> None:
        if self.get(row.id) is not None:
            raise LedgerConflict(f"decision {row.id}", "is already stored")
        known = select(decision_input.c.sha).where(decision_input.c.sha == row.inputs_sha)
        if self._connection.execute(known).first() is None:
            self._connection.execute(insert(decision_input).values(sha=row.inputs_sha, payload=inputs))
        chain.append(
            self._connection,
            decision,
            {
                "id": row.id,
                "account": row.account,
                "source": row.source.value,
                "model_sha": row.model_sha,
                "inputs_sha": row.inputs_sha,
                "limits_sha": row.limits_sha,
                "as_of": row.as_of,
                "expires_at": row.expires_at,
                "weights": canonical(row.weights),
                "orders": canonical(row.orders),
                "status": row.status.value,
                "approved_by": row.approved_by,
                "reason": row.reason,
            },
        )
        if verdicts:
            self._connection.execute(
                insert(risk_check),
                [
                    {
                        "decision_id": row.id,
                        "position": place,
                        "rule": verdict.rule,
                        "limit": verdict.limit,
                        "value": verdict.value,
                        "passed": verdict.passed,
                        "detail": verdict.detail,
                    }
                    for place, verdict in enumerate(verdicts)
                ],
            )
        if parts:
            self._connection.execute(
                insert(decision_part),
                [
                    {"decision_id": row.id, "source": source, "symbol": symbol, "share": share}
                    for source, symbol, share in parts
                ],
            )

    def get(self, decision_id: str) -> Decision | None:
        return self._one(decision.c.id == decision_id)

    def at(self, as_of: datetime) -> Decision | None:
        return self._one((decision.c.account == self._account) & (decision.c.as_of == as_of))

    def all(self) -> Sequence[Decision]:
        rows = select(decision).where(decision.c.account == self._account).order_by(decision.c.seq)
        return [_decision(row) for row in self._connection.execute(rows).mappings()]

    def inputs(self, inputs_sha: str) -> str:
        row = select(decision_input.c.payload).where(decision_input.c.sha == inputs_sha)
        payload = self._connection.execute(row).scalar()
        if payload is None:
            raise NotFound("decision input", inputs_sha)
        return str(payload)

    def verdicts(self, decision_id: str) -> Sequence[Verdict]:
        rows = select(risk_check).where(risk_check.c.decision_id == decision_id).order_by(risk_check.c.position)
        return [
            Verdict(row["rule"], row["limit"], row["value"], bool(row["passed"]), row["detail"])
            for row in self._connection.execute(rows).mappings()
        ]

    def parts(self, decision_id: str) -> Sequence[tuple[str, str, float]]:
        rows = select(decision_part).where(decision_part.c.decision_id == decision_id)
        ordered = rows.order_by(decision_part.c.source, decision_part.c.symbol)
        return [(row["source"], row["symbol"], row["share"]) for row in self._connection.execute(ordered).mappings()]

    def _one(self, condition: Any) -> Decision | None:
        row = self._connection.execute(select(decision).where(condition)).mappings().first()
        return None if row is None else _decision(row)


def _decision(row: RowMapping) -> Decision:
    return Decision(
        id=row["id"],
        account=row["account"],
        source=Source(row["source"]),
        model_sha=row["model_sha"],
        inputs_sha=row["inputs_sha"],
        limits_sha=row["limits_sha"],
        as_of=row["as_of"],
        expires_at=row["expires_at"],
        weights=json.loads(row["weights"]),
        orders=tuple(_planned(item) for item in json.loads(row["orders"])),
        status=DecisionStatus(row["status"]),
        approved_by=row["approved_by"],
        reason=row["reason"],
    )


def _planned(item: dict[str, str]) -> PlannedOrder:
    return PlannedOrder(
        symbol=item["symbol"],
        leg=item["leg"],
        side=Side(item["side"]),
        quantity=Decimal(item["quantity"]),
        reference_price=Decimal(item["reference_price"]),
    )
