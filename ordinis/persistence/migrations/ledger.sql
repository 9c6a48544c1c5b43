CREATE TABLE approval (
	seq INTEGER NOT NULL, 
	account VARCHAR NOT NULL, 
	sha VARCHAR(64) NOT NULL, 
	limits TEXT NOT NULL, 
	"by" VARCHAR NOT NULL, 
	reason TEXT NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	expires_at VARCHAR(27), 
	prev_hash VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (seq)
);

CREATE TABLE balance (
	account VARCHAR NOT NULL, 
	cash TEXT NOT NULL, 
	watermark VARCHAR(27), digest VARCHAR(64) DEFAULT '' NOT NULL, 
	PRIMARY KEY (account)
);

CREATE TABLE control (
	seq INTEGER NOT NULL, 
	scope VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	reason TEXT NOT NULL, 
	"by" VARCHAR NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	prev_hash VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (seq)
);

CREATE TABLE decision (
	seq INTEGER NOT NULL, 
	id VARCHAR(64) NOT NULL, 
	account VARCHAR NOT NULL, 
	source VARCHAR NOT NULL, 
	model_sha VARCHAR NOT NULL, 
	inputs_sha VARCHAR(64) NOT NULL, 
	limits_sha VARCHAR(64) NOT NULL, 
	as_of VARCHAR(27) NOT NULL, 
	expires_at VARCHAR(27) NOT NULL, 
	weights TEXT NOT NULL, 
	orders TEXT NOT NULL, 
	status VARCHAR NOT NULL, 
	approved_by VARCHAR NOT NULL, 
	reason TEXT NOT NULL, 
	prev_hash VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, details_sha VARCHAR(64) DEFAULT '' NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (account, as_of), 
	UNIQUE (id), 
	FOREIGN KEY(inputs_sha) REFERENCES decision_input (sha)
);

CREATE TABLE decision_input (
	sha VARCHAR(64) NOT NULL, 
	payload TEXT NOT NULL, 
	PRIMARY KEY (sha)
);

CREATE TABLE decision_part (
	decision_id VARCHAR(64) NOT NULL, 
	source VARCHAR NOT NULL, 
	symbol VARCHAR NOT NULL, 
	share FLOAT NOT NULL, 
	PRIMARY KEY (decision_id, source, symbol), 
	FOREIGN KEY(decision_id) REFERENCES decision (id)
);

CREATE TABLE fill (
	account VARCHAR NOT NULL, 
	exec_id VARCHAR NOT NULL, 
	coid VARCHAR(48), 
	symbol VARCHAR NOT NULL, 
	side VARCHAR NOT NULL, 
	qty TEXT NOT NULL, 
	price TEXT NOT NULL, 
	fee TEXT NOT NULL, 
	ts VARCHAR(27) NOT NULL, 
	reverses VARCHAR, 
	PRIMARY KEY (account, exec_id)
);

CREATE TABLE lease (
	name VARCHAR NOT NULL, 
	holder VARCHAR NOT NULL, 
	fence INTEGER NOT NULL, 
	expires_at VARCHAR(27) NOT NULL, 
	PRIMARY KEY (name)
);

CREATE TABLE ledger_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT ledger_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO "ledger_version" VALUES('ledger_0007');

CREATE TABLE movement (
	seq INTEGER NOT NULL, 
	account VARCHAR NOT NULL, 
	activity_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	symbol VARCHAR, 
	qty TEXT NOT NULL, 
	cash TEXT NOT NULL, 
	ts VARCHAR(27) NOT NULL, 
	prev_hash VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (account, activity_id)
);

CREATE TABLE order_cancel (
	seq INTEGER NOT NULL, 
	coid VARCHAR(48) NOT NULL, 
	number INTEGER NOT NULL, 
	reason TEXT NOT NULL, 
	"by" VARCHAR NOT NULL, 
	requested_at VARCHAR(27) NOT NULL, 
	prev_hash VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (coid, number), 
	FOREIGN KEY(coid) REFERENCES order_intent (coid)
);

CREATE TABLE order_event (
	seq INTEGER NOT NULL, 
	coid VARCHAR(48) NOT NULL, 
	source VARCHAR NOT NULL, 
	event_key VARCHAR NOT NULL, 
	ts_event VARCHAR(27) NOT NULL, 
	ts_recv VARCHAR(27) NOT NULL, 
	payload TEXT NOT NULL, 
	prev_hash VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, change TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (event_key)
);

CREATE TABLE order_intent (
	coid VARCHAR(48) NOT NULL, 
	seq INTEGER NOT NULL, 
	decision_id VARCHAR(64) NOT NULL, 
	account VARCHAR NOT NULL, 
	symbol VARCHAR NOT NULL, 
	leg VARCHAR NOT NULL, 
	attempt INTEGER NOT NULL, 
	side VARCHAR NOT NULL, 
	qty TEXT NOT NULL, 
	type VARCHAR NOT NULL, 
	limit_price TEXT, 
	tif VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	fence INTEGER NOT NULL, 
	broker_order_id VARCHAR, 
	ib_order_id INTEGER, 
	filled_qty TEXT NOT NULL, 
	reference_price TEXT NOT NULL, 
	reserved_notional TEXT NOT NULL, 
	sent_at VARCHAR(27), 
	version INTEGER NOT NULL, 
	PRIMARY KEY (coid), 
	UNIQUE (decision_id, symbol, leg, attempt), 
	UNIQUE (seq), 
	FOREIGN KEY(decision_id) REFERENCES decision (id), 
	UNIQUE (broker_order_id)
);

CREATE TABLE override (
	seq INTEGER NOT NULL, 
	account VARCHAR NOT NULL, 
	symbol VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	value TEXT, 
	"by" VARCHAR NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	expires_at VARCHAR(27) NOT NULL, 
	prev_hash VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, reason TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (seq)
);

CREATE TABLE position (
	account VARCHAR NOT NULL, 
	symbol VARCHAR NOT NULL, 
	qty TEXT NOT NULL, 
	last_fill VARCHAR(27), 
	PRIMARY KEY (account, symbol)
);

CREATE TABLE risk_check (
	decision_id VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	rule VARCHAR NOT NULL, 
	"limit" FLOAT NOT NULL, 
	value FLOAT NOT NULL, 
	passed BOOLEAN NOT NULL, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (decision_id, position), 
	FOREIGN KEY(decision_id) REFERENCES decision (id)
);

CREATE TABLE valuation (
	seq INTEGER NOT NULL, 
	account VARCHAR NOT NULL, 
	session DATE NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	equity TEXT NOT NULL, 
	cash TEXT NOT NULL, 
	gross TEXT NOT NULL, 
	peak_equity TEXT NOT NULL, 
	prev_hash VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (account, session)
);

CREATE TABLE valuation_mark (
	seq INTEGER NOT NULL, 
	account VARCHAR NOT NULL, 
	session DATE NOT NULL, 
	movements INTEGER NOT NULL, 
	prev_hash VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (account, session)
);

CREATE TABLE valuation_told (
	seq INTEGER NOT NULL, 
	account VARCHAR NOT NULL, 
	session DATE NOT NULL, 
	events INTEGER NOT NULL, 
	prev_hash VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (account, session)
);

CREATE UNIQUE INDEX one_live_intent_per_symbol ON order_intent (account, symbol) WHERE state IN ('INTENT', 'PARTIAL', 'PENDING_CANCEL', 'SENDING', 'SUSPENDED', 'UNKNOWN', 'WORKING');

CREATE INDEX ix_order_event_coid ON order_event (coid);

CREATE INDEX ix_fill_coid ON fill (coid);

CREATE TRIGGER decision_input_no_update BEFORE UPDATE ON decision_input BEGIN SELECT RAISE(ABORT, 'decision_input is append-only'); END;

CREATE TRIGGER decision_input_no_delete BEFORE DELETE ON decision_input BEGIN SELECT RAISE(ABORT, 'decision_input is append-only'); END;

CREATE TRIGGER decision_part_no_update BEFORE UPDATE ON decision_part BEGIN SELECT RAISE(ABORT, 'decision_part is append-only'); END;

CREATE TRIGGER decision_part_no_delete BEFORE DELETE ON decision_part BEGIN SELECT RAISE(ABORT, 'decision_part is append-only'); END;

CREATE TRIGGER risk_check_no_update BEFORE UPDATE ON risk_check BEGIN SELECT RAISE(ABORT, 'risk_check is append-only'); END;

CREATE TRIGGER risk_check_no_delete BEFORE DELETE ON risk_check BEGIN SELECT RAISE(ABORT, 'risk_check is append-only'); END;

CREATE TRIGGER fill_no_update BEFORE UPDATE ON fill BEGIN SELECT RAISE(ABORT, 'fill is append-only'); END;

CREATE TRIGGER fill_no_delete BEFORE DELETE ON fill BEGIN SELECT RAISE(ABORT, 'fill is append-only'); END;

CREATE TRIGGER decision_no_update BEFORE UPDATE ON decision BEGIN SELECT RAISE(ABORT, 'decision is append-only'); END;

CREATE TRIGGER decision_no_delete BEFORE DELETE ON decision BEGIN SELECT RAISE(ABORT, 'decision is append-only'); END;

CREATE TRIGGER order_event_no_update BEFORE UPDATE ON order_event BEGIN SELECT RAISE(ABORT, 'order_event is append-only'); END;

CREATE TRIGGER order_event_no_delete BEFORE DELETE ON order_event BEGIN SELECT RAISE(ABORT, 'order_event is append-only'); END;

CREATE TRIGGER movement_no_update BEFORE UPDATE ON movement BEGIN SELECT RAISE(ABORT, 'movement is append-only'); END;

CREATE TRIGGER movement_no_delete BEFORE DELETE ON movement BEGIN SELECT RAISE(ABORT, 'movement is append-only'); END;

CREATE TRIGGER control_no_update BEFORE UPDATE ON control BEGIN SELECT RAISE(ABORT, 'control is append-only'); END;

CREATE TRIGGER control_no_delete BEFORE DELETE ON control BEGIN SELECT RAISE(ABORT, 'control is append-only'); END;

CREATE TRIGGER override_no_update BEFORE UPDATE ON override BEGIN SELECT RAISE(ABORT, 'override is append-only'); END;

CREATE TRIGGER override_no_delete BEFORE DELETE ON override BEGIN SELECT RAISE(ABORT, 'override is append-only'); END;

CREATE INDEX control_by_scope ON control (scope, seq);

CREATE INDEX fill_by_time ON fill (account, ts, exec_id);

CREATE TRIGGER valuation_no_update BEFORE UPDATE ON valuation BEGIN SELECT RAISE(ABORT, 'valuation is append-only'); END;

CREATE TRIGGER valuation_no_delete BEFORE DELETE ON valuation BEGIN SELECT RAISE(ABORT, 'valuation is append-only'); END;

CREATE TRIGGER order_cancel_no_update BEFORE UPDATE ON order_cancel BEGIN SELECT RAISE(ABORT, 'order_cancel is append-only'); END;

CREATE TRIGGER order_cancel_no_delete BEFORE DELETE ON order_cancel BEGIN SELECT RAISE(ABORT, 'order_cancel is append-only'); END;

CREATE INDEX override_by_wish ON override (account, symbol, kind, seq);

CREATE INDEX order_by_sending ON order_intent (sent_at, account);

CREATE INDEX approval_by_account ON approval (account, seq);

CREATE TRIGGER approval_no_update BEFORE UPDATE ON approval BEGIN SELECT RAISE(ABORT, 'approval is append-only'); END;

CREATE TRIGGER approval_no_delete BEFORE DELETE ON approval BEGIN SELECT RAISE(ABORT, 'approval is append-only'); END;

CREATE TRIGGER valuation_mark_no_update BEFORE UPDATE ON valuation_mark BEGIN SELECT RAISE(ABORT, 'valuation_mark is append-only'); END;

CREATE TRIGGER valuation_mark_no_delete BEFORE DELETE ON valuation_mark BEGIN SELECT RAISE(ABORT, 'valuation_mark is append-only'); END;

CREATE TRIGGER valuation_told_no_update BEFORE UPDATE ON valuation_told BEGIN SELECT RAISE(ABORT, 'valuation_told is append-only'); END;

CREATE TRIGGER valuation_told_no_delete BEFORE DELETE ON valuation_told BEGIN SELECT RAISE(ABORT, 'valuation_told is append-only'); END;
