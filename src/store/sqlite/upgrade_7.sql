-- From schema 6 to 7: listings by state, kind and queue, and metrics. Every row stays; jobs enqueued
-- before count as far as they are still there.
DROP INDEX jobq_job_cancel;
DROP INDEX jobq_job_running;
CREATE INDEX jobq_job_running ON jobq_job (runner_id, cancel) WHERE state = 3;
CREATE INDEX jobq_job_state ON jobq_job (state, id) WHERE state = 0 OR state = 1 OR state = 4 OR state = 6 OR state = 7;

CREATE TABLE jobq_block (
    what  INTEGER NOT NULL CHECK (what IN (0, 1)),
    id    INTEGER NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (what, id, block)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO jobq_block (what, id, block) SELECT 0, kind_id, id >> 8 FROM jobq_job;
INSERT OR IGNORE INTO jobq_block (what, id, block) SELECT 1, queue_id, id >> 8 FROM jobq_job;

CREATE TABLE jobq_metric (
    span          INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    queue_id      INTEGER NOT NULL,
    kind_id       INTEGER NOT NULL,
    outcome       INTEGER NOT NULL,
    attempts      INTEGER NOT NULL,
    took          TEXT NOT NULL,
    took_us       INTEGER NOT NULL,
    waited        TEXT NOT NULL,
    waited_ms     INTEGER NOT NULL,
    cpu_ms        INTEGER NOT NULL,
    max_rss_bytes INTEGER NOT NULL,
    PRIMARY KEY (span, at, queue_id, kind_id, outcome)
) STRICT, WITHOUT ROWID;

INSERT INTO jobq_number (what, id, value)
SELECT -3, queue_id << 32 | kind_id, count(*) FROM jobq_job GROUP BY queue_id, kind_id;
