CREATE TABLE batch (
	id VARCHAR(64) NOT NULL, 
	contract VARCHAR NOT NULL, 
	source VARCHAR NOT NULL, 
	rows INTEGER NOT NULL, 
	clean INTEGER NOT NULL, 
	rejected INTEGER NOT NULL, 
	reasons TEXT NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE calibration (
	account VARCHAR NOT NULL, 
	session DATE NOT NULL, 
	version VARCHAR(64) NOT NULL, 
	promoted BOOLEAN NOT NULL, 
	reason TEXT NOT NULL, 
	numbers TEXT NOT NULL, 
	PRIMARY KEY (account, session)
);

CREATE TABLE consumed (
	account VARCHAR NOT NULL, 
	topic VARCHAR NOT NULL, 
	place INTEGER NOT NULL, 
	mark VARCHAR(64) NOT NULL, 
	PRIMARY KEY (account, topic)
);

CREATE TABLE execution (
	account VARCHAR NOT NULL, 
	order_id VARCHAR(48) NOT NULL, 
	symbol VARCHAR NOT NULL, 
	side VARCHAR NOT NULL, 
	venue VARCHAR NOT NULL, 
	session DATE NOT NULL, 
	asked TEXT NOT NULL, 
	filled TEXT NOT NULL, 
	arrival TEXT NOT NULL, 
	price TEXT, 
	fees TEXT NOT NULL, 
	sent_at VARCHAR(27) NOT NULL, 
	first_fill_at VARCHAR(27), 
	PRIMARY KEY (account, order_id)
);

CREATE TABLE finding (
	account VARCHAR NOT NULL, 
	session DATE NOT NULL, 
	topic VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (account, session, topic)
);

CREATE TABLE job_run (
	job VARCHAR NOT NULL, 
	account VARCHAR NOT NULL, 
	logical_date DATE NOT NULL, 
	status VARCHAR NOT NULL, 
	started_at VARCHAR(27) NOT NULL, 
	finished_at VARCHAR(27), 
	detail TEXT NOT NULL, 
	PRIMARY KEY (job, account, logical_date)
);

CREATE TABLE quarantine (
	batch_id VARCHAR(64) NOT NULL, 
	row_no INTEGER NOT NULL, 
	symbol VARCHAR, 
	session DATE, 
	reasons TEXT NOT NULL, 
	payload TEXT NOT NULL, 
	PRIMARY KEY (batch_id, row_no), 
	FOREIGN KEY(batch_id) REFERENCES batch (id)
);

CREATE TABLE records_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT records_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO "records_version" VALUES('records_0003');

CREATE INDEX ix_batch_at ON batch (at);

CREATE INDEX execution_by_time ON execution (account, sent_at, order_id);
