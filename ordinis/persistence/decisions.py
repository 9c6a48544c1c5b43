"""Decisions as they are kept: immutable, with inputs, verdicts and parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from ordinis.domain.canonical import canonical
from ordinis.domain.decisions import Decision, DecisionStatus, Source, Verdict
from ordinis.domain.orders import PlannedOrder, Side
from ordinis.errors import LedgerConflict, NotFound
from ordinis.persistence import chain
from ordinis.persistence.integrity import details_sha
from ordinis.persistence.reading import read
from ordinis.persistence.statements import write
from ordinis.persistence.tables import decision, decision_input, decision_part, risk_check

BY_ID = select(decision).where(decision.c.id == bindparam("id"))
MINE = select(decision).where(decision.c.account == bindparam("account")).order_by(decision.c.seq)
# By instant, not by place: the account's index ends with it.
LATEST = select(decision).where(decision.c.account == bindparam("account")).order_by(decision.c.as_of.desc()).limit(1)
INPUTS = select(decision_input.c.payload).where(decision_input.c.sha == bindparam("sha"))
VERDICTS = (
    select(risk_check).where(risk_check.c.decision_id == bindparam("decision_id")).order_by(risk_check.c.position)
)
PARTS = (
    select(decision_part)
    .where(decision_part.c.decision_id == bindparam("decision_id"))
    .order_by(decision_part.c.source, decision_part.c.symbol)
)
ADD_INPUTS, ADD_VERDICTS, ADD_PARTS = insert(decision_input), insert(risk_check), insert(decision_part)


class SqlDecisions:
    def __init__(self, connection: Connection, account: str) -> None:
        self._connection, self._account = connection, account

    def add(
        self, row: Decision, inputs: str, verdicts: Sequence[Verdict], parts: Sequence[tuple[str, str, float]]
    ) -> None:
        if self.get(row.id) is not None:
            raise LedgerConflict(f"decision {row.id}", "is already stored")
        if not read(self._connection, INPUTS, _payload, sha=row.inputs_sha):
            write(self._connection, ADD_INPUTS, {"sha": row.inputs_sha, "payload": inputs})
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
                "details_sha": details_sha(verdicts, parts),
            },
        )
        if verdicts:
            write(
                self._connection,
                ADD_VERDICTS,
                *[
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
            write(
                self._connection,
                ADD_PARTS,
                *[
                    {"decision_id": row.id, "source": source, "symbol": symbol, "share": share}
                    for source, symbol, share in parts
                ],
            )

    def get(self, decision_id: str) -> Decision | None:
        return _only(read(self._connection, BY_ID, _decision, id=decision_id))

    def latest(self) -> Decision | None:
        return _only(read(self._connection, LATEST, _decision, account=self._account))

    def all(self) -> Sequence[Decision]:
        return read(self._connection, MINE, _decision, account=self._account)

    def inputs(self, inputs_sha: str) -> str:
        found = read(self._connection, INPUTS, _payload, sha=inputs_sha)
        if not found:
            raise NotFound("decision input", inputs_sha)
        return found[0]

    def verdicts(self, decision_id: str) -> Sequence[Verdict]:
        return read(self._connection, VERDICTS, _verdict, decision_id=decision_id)

    def parts(self, decision_id: str) -> Sequence[tuple[str, str, float]]:
        return read(self._connection, PARTS, _part, decision_id=decision_id)


def _only(found: list[Decision]) -> Decision | None:
    return found[0] if found else None


def _payload(row: dict[str, Any]) -> str:
    return str(row["payload"])


def _part(row: dict[str, Any]) -> tuple[str, str, float]:
    return row["source"], row["symbol"], row["share"]


def _verdict(row: dict[str, Any]) -> Verdict:
    return Verdict(row["rule"], row["limit"], row["value"], bool(row["passed"]), row["detail"])


def _decision(row: dict[str, Any]) -> Decision:
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
