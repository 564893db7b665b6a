-- jobq's tables, indexes and views: schema version 1.
--
-- Everything is named jobq_…, so that it can live inside an application's own database file.
-- Times are milliseconds since 1970, UTC; durations say their unit in their name.
-- Codes are small integers, because they are in every row and in the hot indexes; the views at the
-- end give names and RFC 3339 times to a person with any SQLite shell.

-- What the file as a whole knows.
CREATE TABLE jobq_meta (
    key   TEXT PRIMARY KEY,     -- schema_version · created_by · created_at · paused_at · clock_boot · clock_offset_ms
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per queue that was ever named.
CREATE TABLE jobq_queue (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    paused_at INTEGER           -- since when nothing of it is claimed; null: it is not paused
) STRICT;

-- One row per kind that was ever named: the name under which a handler is registered.
CREATE TABLE jobq_kind (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- One row per process that runs or ran jobs.
CREATE TABLE jobq_runner (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL UNIQUE, -- of its lock file beside the database; never reused
    pid          INTEGER NOT NULL,     -- for people only; nothing is decided by it
    host         TEXT NOT NULL,
    workers      INTEGER NOT NULL CHECK (workers > 0),
    kinds        TEXT NOT NULL,        -- JSON array: the kinds it has handlers for
    queues       TEXT,                 -- JSON array: the queues it serves; null: all
    state        INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4), -- 1 running, 2 stopping, 3 stopped, 4 lost
    started_at   INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL,     -- for people only; liveness compares beats
    beat         INTEGER NOT NULL DEFAULT 0, -- grows with each heartbeat
    ended_at     INTEGER,
    CHECK ((state >= 3) = (ended_at IS NOT NULL))
) STRICT;

-- The runners that are alive are few, those that were are many.
CREATE INDEX jobq_runner_alive ON jobq_runner (id) WHERE state <= 2;

-- The hot row: small, rewritten at every change of state. Text of any size lives elsewhere.
CREATE TABLE jobq_job (
    id             INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused; also the age, for the order of claims
    queue_id       INTEGER NOT NULL REFERENCES jobq_queue (id),
    kind_id        INTEGER NOT NULL REFERENCES jobq_kind (id),
    state          INTEGER NOT NULL CHECK (state BETWEEN 0 AND 7),
        -- 0 scheduled, 1 blocked, 2 pending, 3 running, 4 waiting, 5 completed, 6 failed, 7 cancelled
    priority       INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 3), -- 0 low, 1 normal, 2 high, 3 urgent
    attempt        INTEGER NOT NULL DEFAULT 0, -- raised by every claim: the fence
    retries        INTEGER NOT NULL DEFAULT 0, -- spent, of max_retries
    crashes        INTEGER NOT NULL DEFAULT 0, -- runners lost while an attempt ran
    max_retries    INTEGER NOT NULL,
    backoff        INTEGER NOT NULL CHECK (backoff BETWEEN 0 AND 4), -- 0 none, 1 fixed, 2 linear, 3 quadratic, 4 exponential
    retry_delay_ms INTEGER NOT NULL,
    jitter         INTEGER NOT NULL DEFAULT 1 CHECK (jitter IN (0, 1)),
    timeout_ms     INTEGER,     -- of one attempt; null: what the kind or the runner says
    claim          INTEGER,     -- how it is or was last claimed: 0 for a free worker, 1 ahead of one
    no_ahead       INTEGER NOT NULL DEFAULT 0 CHECK (no_ahead IN (0, 1)), -- was claimed ahead by a runner that was lost
    runner_id      INTEGER,     -- who holds it, or held it last
    worker         INTEGER,     -- which of the runner's workers, once known
    cancel         INTEGER CHECK (cancel = 1), -- 1: the running attempt is asked to stop
    wait_reason    INTEGER CHECK (wait_reason BETWEEN 1 AND 3), -- 1 delay, 2 retry, 3 snooze
    run_at         INTEGER,     -- when a scheduled job is due
    wait_fixed     INTEGER,     -- 1: run_at is a moment that was asked for; 0: it came from a duration, and moves with a step of the wall clock
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    started_at     INTEGER,     -- of the latest attempt
    finished_at    INTEGER,
    CHECK (state <> 0 OR (run_at IS NOT NULL AND wait_reason IS NOT NULL AND wait_fixed IS NOT NULL)),
    CHECK (state <> 3 OR (runner_id IS NOT NULL AND started_at IS NOT NULL AND claim IS NOT NULL)),
    CHECK ((state >= 5) = (finished_at IS NOT NULL))
) STRICT;

-- The claim: only what may run now, in the order in which it goes. Kind comes before priority, so
-- that kinds without a handler are left out by the index and not by reading and skipping.
CREATE INDEX jobq_job_pending ON jobq_job (queue_id, kind_id, priority DESC, id) WHERE state = 2;
-- What is due next. A million delayed jobs cost the claim nothing.
CREATE INDEX jobq_job_due ON jobq_job (run_at) WHERE state = 0;
-- What waits for another try: a drain stays for it.
CREATE INDEX jobq_job_retrying ON jobq_job (kind_id, queue_id) WHERE state = 0 AND wait_reason = 2;
-- What a runner holds, for taking over.
CREATE INDEX jobq_job_running ON jobq_job (runner_id) WHERE state = 3;
-- Which running jobs are asked to stop.
CREATE INDEX jobq_job_cancel ON jobq_job (runner_id) WHERE cancel = 1;
-- Retention, and the last failures.
CREATE INDEX jobq_job_final ON jobq_job (state, finished_at) WHERE state >= 5;

-- What the handler gets: JSON.
CREATE TABLE jobq_payload (
    job_id  INTEGER PRIMARY KEY REFERENCES jobq_job (id) ON DELETE CASCADE,
    payload TEXT NOT NULL
) STRICT;

-- What attempts left behind.
CREATE TABLE jobq_outcome (
    job_id INTEGER PRIMARY KEY REFERENCES jobq_job (id) ON DELETE CASCADE,
    result TEXT,                -- JSON, of a successful attempt
    error  TEXT                 -- of the last failed one
) STRICT;

-- How far a job's handler says it is. A new attempt starts without.
CREATE TABLE jobq_progress (
    job_id    INTEGER PRIMARY KEY REFERENCES jobq_job (id) ON DELETE CASCADE,
    attempt   INTEGER NOT NULL,
    percent   REAL,
    processed INTEGER,
    total     INTEGER,
    message   TEXT
) STRICT;

-- The append-only history: appended in the transaction of the change it records. History, live
-- updates, logs and metrics all read this one table.
CREATE TABLE jobq_event (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    kind      INTEGER NOT NULL, -- see the view jobq_history
    job_id    INTEGER,          -- no reference: events are deleted with their job, in small steps
    attempt   INTEGER,
    runner_id INTEGER,
    worker    INTEGER,
    took_us   INTEGER,          -- how long the attempt took, where this ended it
    data      ANY               -- JSON for most kinds; the text itself (a blob where it is no UTF-8) for stdout and stderr
) STRICT;

CREATE INDEX jobq_event_job ON jobq_event (job_id) WHERE job_id IS NOT NULL;

-- How many jobs each queue has in each state: changed with the rows, so that counts are instant at
-- any size. `jobq doctor` recounts.
CREATE TABLE jobq_count (
    queue_id INTEGER NOT NULL,
    state    INTEGER NOT NULL,
    jobs     INTEGER NOT NULL,
    PRIMARY KEY (queue_id, state)
) STRICT, WITHOUT ROWID;

-- Which queues have something to claim, however many queues there are.
CREATE INDEX jobq_count_claimable ON jobq_count (queue_id) WHERE state = 2 AND jobs > 0;

-- Batches by their content, so that the same `jobq run -f` goes on with what it began.
CREATE TABLE jobq_batch (
    digest       TEXT PRIMARY KEY,
    first_job_id INTEGER NOT NULL,
    last_job_id  INTEGER NOT NULL,
    added_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What each writer's last transaction was, so that it can tell after a failed COMMIT whether it landed.
CREATE TABLE jobq_commit (
    slot  INTEGER PRIMARY KEY,  -- 0 to 63, a writer picks one by chance
    token INTEGER NOT NULL
) STRICT;

CREATE VIEW jobq_jobs AS
SELECT j.id, k.name AS kind, q.name AS queue,
       CASE j.state WHEN 0 THEN 'scheduled' WHEN 1 THEN 'blocked' WHEN 2 THEN 'pending' WHEN 3 THEN 'running'
            WHEN 4 THEN 'waiting' WHEN 5 THEN 'completed' WHEN 6 THEN 'failed' WHEN 7 THEN 'cancelled' END AS state,
       CASE j.priority WHEN 0 THEN 'low' WHEN 1 THEN 'normal' WHEN 2 THEN 'high' WHEN 3 THEN 'urgent' END AS priority,
       j.attempt, j.max_retries - j.retries AS retries_left, j.crashes,
       p.payload, o.result, o.error,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.run_at / 1000.0, 'unixepoch') AS run_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.created_at / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.started_at / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.finished_at / 1000.0, 'unixepoch') AS finished_at,
       j.runner_id AS runner, j.worker
FROM jobq_job j
JOIN jobq_kind k ON k.id = j.kind_id
JOIN jobq_queue q ON q.id = j.queue_id
LEFT JOIN jobq_payload p ON p.job_id = j.id
LEFT JOIN jobq_outcome o ON o.job_id = j.id;

CREATE VIEW jobq_history AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') AS at,
       CASE kind WHEN 1 THEN 'job_enqueued' WHEN 2 THEN 'job_started' WHEN 3 THEN 'job_progress'
            WHEN 4 THEN 'job_completed' WHEN 5 THEN 'job_failed' WHEN 6 THEN 'job_retry' WHEN 7 THEN 'job_cancelled'
            WHEN 8 THEN 'job_snoozed' WHEN 9 THEN 'job_returned' WHEN 10 THEN 'job_recovered'
            WHEN 11 THEN 'job_cancel_requested' WHEN 12 THEN 'job_requeued' WHEN 13 THEN 'job_edited'
            WHEN 14 THEN 'job_report_dropped' WHEN 20 THEN 'job_log' WHEN 21 THEN 'job_stdout' WHEN 22 THEN 'job_stderr'
            WHEN 30 THEN 'queue_paused' WHEN 31 THEN 'queue_resumed'
            WHEN 40 THEN 'runner_started' WHEN 41 THEN 'runner_stopped' WHEN 42 THEN 'runner_lost' END AS kind,
       job_id AS job, attempt, runner_id AS runner, worker, took_us / 1000.0 AS took_ms, data
FROM jobq_event;

CREATE VIEW jobq_runners AS
SELECT id, name, pid, host, workers, kinds, queues,
       CASE state WHEN 1 THEN 'running' WHEN 2 THEN 'stopping' WHEN 3 THEN 'stopped' WHEN 4 THEN 'lost' END AS state,
       strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', heartbeat_at / 1000.0, 'unixepoch') AS heartbeat_at
FROM jobq_runner;

CREATE VIEW jobq_queues AS
SELECT q.id, q.name, q.paused_at IS NOT NULL AS paused,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 0), 0) AS scheduled,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 2), 0) AS pending,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 3), 0) AS running,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 5), 0) AS completed,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 6), 0) AS failed,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 7), 0) AS cancelled
FROM jobq_queue q LEFT JOIN jobq_count c ON c.queue_id = q.id
GROUP BY q.id;
