-- The lean floor: a job's tables with nothing beside what enqueuing, claiming and finishing it needs.
-- It was laid once and does not follow `schema.sql`.
CREATE TABLE job (
    id             INTEGER PRIMARY KEY,
    queue_id       INTEGER NOT NULL,
    kind_id        INTEGER NOT NULL,
    state          INTEGER NOT NULL,
    priority       INTEGER NOT NULL,
    attempt        INTEGER NOT NULL DEFAULT 0,
    retries        INTEGER NOT NULL DEFAULT 0,
    crashes        INTEGER NOT NULL DEFAULT 0,
    max_retries    INTEGER NOT NULL,
    backoff        INTEGER NOT NULL,
    retry_delay_ms INTEGER NOT NULL,
    jitter         INTEGER NOT NULL DEFAULT 1,
    timeout_ms     INTEGER,
    claim          INTEGER,
    no_ahead       INTEGER NOT NULL DEFAULT 0,
    runner_id      INTEGER,
    worker         INTEGER,
    cancel         INTEGER,
    wait_reason    INTEGER,
    run_at         INTEGER,
    wait_fixed     INTEGER,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    started_at     INTEGER,
    finished_at    INTEGER,
    links          INTEGER NOT NULL DEFAULT 0,
    unmet          INTEGER NOT NULL DEFAULT 0,
    parent_id      INTEGER,
    key            TEXT,
    unique_key     TEXT,
    unique_for_ms  INTEGER,
    deadline       INTEGER,
    tenant         TEXT
) STRICT;

CREATE INDEX job_pending ON job (queue_id, kind_id, priority DESC, id) WHERE state = 2;
CREATE INDEX job_due ON job (run_at) WHERE state = 0;
CREATE INDEX job_retrying ON job (kind_id, queue_id) WHERE state = 0 AND wait_reason = 2;
CREATE INDEX job_running ON job (runner_id) WHERE state = 3;
CREATE INDEX job_cancel ON job (runner_id) WHERE cancel = 1;
CREATE INDEX job_final ON job (kind_id, state, finished_at) WHERE state >= 5;
CREATE INDEX job_children ON job (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX job_tenant ON job (tenant, id) WHERE tenant IS NOT NULL;

CREATE TABLE payload (
    job_id  INTEGER PRIMARY KEY,
    payload TEXT NOT NULL
) STRICT;

-- One row when an attempt ends.
CREATE TABLE event (
    id        INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    job_id    INTEGER,
    attempt   INTEGER,
    runner_id INTEGER,
    worker    INTEGER,
    took_us   INTEGER,
    data      ANY
) STRICT;

-- The state counters; in queue 0 the last job id (100), the last event id (101) and the mark of the last commit (102).
CREATE TABLE count (
    queue_id INTEGER NOT NULL,
    state    INTEGER NOT NULL,
    jobs     INTEGER NOT NULL,
    PRIMARY KEY (queue_id, state)
) STRICT, WITHOUT ROWID;

CREATE INDEX count_claimable ON count (queue_id) WHERE state = 2 AND jobs > 0;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta VALUES ('schema_version', 2);
INSERT INTO count VALUES (1, 2, 0), (1, 3, 0), (1, 5, 0), (0, 100, 0), (0, 101, 0), (0, 102, 0);
