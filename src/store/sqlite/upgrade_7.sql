-- From schema 6 to 7: listings by state, kind and queue. Every row stays.
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
