-- From schema 5 to 6: the history in the tables that it is read by, ids and counters on one page, and slots by
-- their name. Every row stays. Foreign keys are off meanwhile.
PRAGMA legacy_alter_table = ON;

DROP VIEW jobq_jobs;
DROP VIEW jobq_history;
DROP VIEW jobq_queues;

CREATE TABLE jobq_number (
    what  INTEGER NOT NULL,
    id    INTEGER NOT NULL,
    value INTEGER NOT NULL,
    text  TEXT,
    PRIMARY KEY (what, id)
) STRICT, WITHOUT ROWID;

INSERT INTO jobq_number (what, id, value) SELECT state, queue_id, jobs FROM jobq_count WHERE jobs <> 0;
INSERT INTO jobq_number (what, id, value, text) SELECT -2, 0, 0, file_id FROM jobq_commit WHERE slot = 64;
INSERT INTO jobq_number (what, id, value) SELECT -2, 1, max(coalesce((SELECT max(id) FROM jobq_job), 0),
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobq_job'), 0));
INSERT INTO jobq_number (what, id, value) SELECT -2, 2, max(coalesce((SELECT max(id) FROM jobq_event), 0),
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobq_event'), 0));
INSERT INTO jobq_number (what, id, value) SELECT -1, slot, token FROM jobq_commit WHERE slot < 64;
DROP TABLE jobq_count;
DROP TABLE jobq_commit;

CREATE TABLE jobq_attempt (
    job_id        INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    outcome       INTEGER NOT NULL,
    started_at    INTEGER,
    started_event INTEGER,
    ended_at      INTEGER NOT NULL,
    ended_event   INTEGER NOT NULL,
    runner_id     INTEGER,
    worker        INTEGER,
    took_us       INTEGER,
    error         TEXT,
    exit_code     INTEGER,
    cpu_ms        INTEGER,
    max_rss_bytes INTEGER,
    run_at        INTEGER,
    PRIMARY KEY (job_id, attempt)
) STRICT, WITHOUT ROWID;

INSERT OR REPLACE INTO jobq_attempt (job_id, attempt, outcome, started_at, started_event, ended_at, ended_event,
    runner_id, worker, took_us, error, exit_code, cpu_ms, max_rss_bytes, run_at)
SELECT e.job_id, e.attempt, e.kind, s.at, s.id, e.at, e.id, coalesce(e.runner_id, s.runner_id), e.worker, e.took_us,
    CAST(d.data ->> 'error' AS TEXT), CAST(d.data ->> 'exit_code' AS INTEGER), CAST(d.data ->> 'cpu_ms' AS INTEGER),
    CAST(d.data ->> 'max_rss_bytes' AS INTEGER), CAST(d.data ->> 'run_at_ms' AS INTEGER)
FROM jobq_event e
JOIN (SELECT id, CASE WHEN json_valid(data) THEN data END AS data FROM jobq_event) d ON d.id = e.id
LEFT JOIN jobq_event s ON s.job_id = e.job_id AND s.attempt = e.attempt AND s.kind = 2
WHERE e.job_id IS NOT NULL AND e.attempt IS NOT NULL AND e.kind IN (4, 5, 6, 7, 8, 9, 10, 16);

CREATE TABLE jobq_log (
    job_id    INTEGER NOT NULL,
    id        INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    attempt   INTEGER,
    runner_id INTEGER,
    worker    INTEGER,
    took_us   INTEGER,
    data      ANY,
    PRIMARY KEY (job_id, id)
) STRICT, WITHOUT ROWID;

INSERT INTO jobq_log (job_id, id, at, kind, attempt, runner_id, worker, took_us, data)
SELECT coalesce(job_id, 0), id, at, kind, attempt, runner_id, worker, took_us, data FROM jobq_event
WHERE kind NOT IN (1, 2)
    AND NOT (job_id IS NOT NULL AND attempt IS NOT NULL AND kind IN (4, 5, 6, 7, 8, 9, 10, 16));
-- What became of an attempt that began is told, unless it still runs, or its history was cut off.
INSERT INTO jobq_log (job_id, id, at, kind, attempt, runner_id, worker, took_us, data)
SELECT e.job_id, e.id, e.at, e.kind, e.attempt, e.runner_id, e.worker, e.took_us, e.data FROM jobq_event e
WHERE e.kind = 2 AND e.job_id IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM jobq_attempt a WHERE a.started_event = e.id AND a.job_id = e.job_id AND a.attempt = e.attempt)
    AND NOT EXISTS (SELECT 1 FROM jobq_job j WHERE j.id = e.job_id AND j.state = 3 AND j.attempt = e.attempt);

CREATE TABLE jobq_feed (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    events TEXT NOT NULL
) STRICT;

INSERT INTO jobq_feed (id, at, events)
SELECT id, at, '[[' || kind || ',' || coalesce(attempt, 0) || ',' || coalesce(job_id, 0) || ']]' FROM jobq_event;

ALTER TABLE jobq_job RENAME TO jobq_job_5;
CREATE TABLE jobq_job (
    id             INTEGER PRIMARY KEY,
    queue_id       INTEGER NOT NULL REFERENCES jobq_queue (id),
    kind_id        INTEGER NOT NULL REFERENCES jobq_kind (id),
    state          INTEGER NOT NULL CHECK (state BETWEEN 0 AND 7),
    priority       INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 3),
    attempt        INTEGER NOT NULL DEFAULT 0,
    retries        INTEGER NOT NULL DEFAULT 0,
    crashes        INTEGER NOT NULL DEFAULT 0,
    max_retries    INTEGER NOT NULL,
    backoff        INTEGER NOT NULL CHECK (backoff BETWEEN 0 AND 4),
    retry_delay_ms INTEGER NOT NULL,
    jitter         INTEGER NOT NULL DEFAULT 1 CHECK (jitter IN (0, 1)),
    timeout_ms     INTEGER,
    claim          INTEGER,
    no_ahead       INTEGER NOT NULL DEFAULT 0 CHECK (no_ahead IN (0, 1)),
    runner_id      INTEGER,
    worker         INTEGER,
    cancel         INTEGER CHECK (cancel = 1),
    wait_reason    INTEGER CHECK (wait_reason BETWEEN 1 AND 3),
    run_at         INTEGER,
    wait_fixed     INTEGER,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    started_at     INTEGER,
    finished_at    INTEGER,
    took_us        INTEGER,
    enqueued_event INTEGER,
    started_event  INTEGER,
    ended_event    INTEGER,
    links          INTEGER NOT NULL DEFAULT 0,
    unmet          INTEGER NOT NULL DEFAULT 0,
    parent_id      INTEGER,
    key            TEXT,
    unique_key     TEXT,
    unique_for_ms  INTEGER,
    deadline       INTEGER,
    tenant         TEXT,
    schedule       TEXT,
    slot           INTEGER,
    CHECK (state <> 0 OR (run_at IS NOT NULL AND wait_reason IS NOT NULL AND wait_fixed IS NOT NULL)),
    CHECK (state <> 3 OR (runner_id IS NOT NULL AND started_at IS NOT NULL AND claim IS NOT NULL)),
    CHECK ((state >= 5) = (finished_at IS NOT NULL))
) STRICT;

INSERT INTO jobq_job (id, queue_id, kind_id, state, priority, attempt, retries, crashes, max_retries, backoff, retry_delay_ms, jitter, timeout_ms, claim, no_ahead, runner_id, worker, cancel, wait_reason, run_at, wait_fixed, created_at, updated_at, started_at, finished_at, took_us, enqueued_event, started_event, ended_event, links, unmet, parent_id, key, unique_key, unique_for_ms, deadline, tenant, schedule, slot)
SELECT id, queue_id, kind_id, state, priority, attempt, retries, crashes, max_retries, backoff, retry_delay_ms, jitter, timeout_ms, claim, no_ahead, runner_id, worker, cancel, wait_reason, run_at, wait_fixed, created_at, updated_at, started_at, finished_at, NULL, (SELECT min(e.id) FROM jobq_event e WHERE e.job_id = j.id AND e.kind = 1), CASE WHEN state = 3 THEN (SELECT max(e.id) FROM jobq_event e WHERE e.job_id = j.id AND e.kind = 2 AND e.attempt = j.attempt) END, NULL, links, unmet, parent_id, key, unique_key, unique_for_ms, deadline, tenant, schedule, slot
FROM jobq_job_5 j;
DROP TABLE jobq_job_5;
CREATE INDEX jobq_job_pending ON jobq_job (queue_id, kind_id, priority DESC, id) WHERE state = 2;
CREATE INDEX jobq_job_due ON jobq_job (run_at) WHERE state = 0;
CREATE INDEX jobq_job_retrying ON jobq_job (kind_id, queue_id) WHERE state = 0 AND wait_reason = 2;
CREATE INDEX jobq_job_running ON jobq_job (runner_id) WHERE state = 3;
CREATE INDEX jobq_job_cancel ON jobq_job (runner_id) WHERE cancel = 1;
CREATE INDEX jobq_job_final ON jobq_job (kind_id, state, finished_at) WHERE state >= 5;
CREATE INDEX jobq_job_children ON jobq_job (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobq_job_tenant ON jobq_job (tenant, id) WHERE tenant IS NOT NULL;
CREATE INDEX jobq_job_schedule ON jobq_job (schedule, id) WHERE schedule IS NOT NULL;

DROP TABLE jobq_event;

ALTER TABLE jobq_payload RENAME TO jobq_payload_5;
CREATE TABLE jobq_payload (
    job_id  INTEGER PRIMARY KEY,
    payload TEXT NOT NULL
) STRICT;

INSERT INTO jobq_payload SELECT * FROM jobq_payload_5;
DROP TABLE jobq_payload_5;

ALTER TABLE jobq_outcome RENAME TO jobq_outcome_5;
CREATE TABLE jobq_outcome (
    job_id INTEGER PRIMARY KEY,
    result TEXT,
    error  TEXT
) STRICT;

INSERT INTO jobq_outcome SELECT * FROM jobq_outcome_5;
DROP TABLE jobq_outcome_5;

ALTER TABLE jobq_progress RENAME TO jobq_progress_5;
CREATE TABLE jobq_progress (
    job_id    INTEGER PRIMARY KEY,
    attempt   INTEGER NOT NULL,
    percent   REAL,
    processed INTEGER,
    total     INTEGER,
    message   TEXT
) STRICT;

INSERT INTO jobq_progress SELECT * FROM jobq_progress_5;
DROP TABLE jobq_progress_5;

CREATE TABLE jobq_concurrency_slot (
    key     TEXT NOT NULL,
    held    INTEGER NOT NULL CHECK (held IN (0, 1)),
    urgency INTEGER NOT NULL,
    job_id  INTEGER NOT NULL UNIQUE REFERENCES jobq_job (id) ON DELETE CASCADE,
    PRIMARY KEY (key, held, urgency, job_id)
) STRICT, WITHOUT ROWID;

INSERT INTO jobq_concurrency_slot (key, held, urgency, job_id) SELECT key, held, urgency, job_id FROM jobq_place;
DROP TABLE jobq_place;

ALTER TABLE jobq_key RENAME TO jobq_key_5;
CREATE TABLE jobq_key (
    name  TEXT PRIMARY KEY,
    slots INTEGER NOT NULL CHECK (slots > 0)
) STRICT, WITHOUT ROWID;

INSERT INTO jobq_key (name, slots) SELECT name, places FROM jobq_key_5;
DROP TABLE jobq_key_5;

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
       j.runner_id AS runner, j.worker, j.tenant, j.parent_id AS parent, j.key, j.unique_key, j.schedule,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.slot / 1000.0, 'unixepoch') AS slot
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
            WHEN 14 THEN 'job_report_dropped' WHEN 15 THEN 'job_released' WHEN 16 THEN 'job_waiting' WHEN 20 THEN 'job_log' WHEN 21 THEN 'job_stdout' WHEN 22 THEN 'job_stderr'
            WHEN 30 THEN 'queue_paused' WHEN 31 THEN 'queue_resumed' WHEN 32 THEN 'queue_limited'
            WHEN 40 THEN 'runner_started' WHEN 41 THEN 'runner_stopped' WHEN 42 THEN 'runner_lost'
            WHEN 50 THEN 'schedule_fired' WHEN 51 THEN 'schedule_skipped' WHEN 52 THEN 'schedule_added'
            WHEN 53 THEN 'schedule_removed' WHEN 54 THEN 'schedule_paused' WHEN 55 THEN 'schedule_resumed' END AS kind,
       job, attempt, runner, worker, took_us / 1000.0 AS took_ms, data
FROM (
    SELECT enqueued_event AS id, created_at AS at, 1 AS kind, id AS job, NULL AS attempt, NULL AS runner,
           NULL AS worker, NULL AS took_us, NULL AS data
    FROM jobq_job WHERE enqueued_event IS NOT NULL
    UNION ALL
    SELECT started_event, started_at, 2, id, attempt, runner_id, NULL, NULL, NULL
    FROM jobq_job WHERE started_event IS NOT NULL AND (state = 3 OR ended_event IS NOT NULL)
    UNION ALL
    SELECT ended_event, finished_at, 4, id, attempt, runner_id, worker, took_us, NULL
    FROM jobq_job WHERE ended_event IS NOT NULL
    UNION ALL
    SELECT started_event, started_at, 2, job_id, attempt, runner_id, NULL, NULL, NULL
    FROM jobq_attempt WHERE started_event IS NOT NULL
    UNION ALL
    SELECT ended_event, ended_at, outcome, job_id, attempt, runner_id, worker, took_us,
           nullif(json_patch('{}', json_object('error', error, 'exit_code', exit_code, 'cpu_ms', cpu_ms,
               'max_rss_bytes', max_rss_bytes, 'run_at_ms', run_at)), '{}')
    FROM jobq_attempt
    UNION ALL
    SELECT id, at, kind, nullif(job_id, 0), attempt, runner_id, worker, took_us, data FROM jobq_log
);

CREATE VIEW jobq_queues AS
SELECT q.id, q.name, q.paused_at IS NOT NULL AS paused, q.concurrency, q.rate_jobs, q.rate_ms, q.max_size, q.weight,
       coalesce((SELECT value FROM jobq_number WHERE what = 0 AND id = q.id), 0) AS scheduled,
       coalesce((SELECT value FROM jobq_number WHERE what = 1 AND id = q.id), 0) AS blocked,
       coalesce((SELECT value FROM jobq_number WHERE what = 2 AND id = q.id), 0) AS pending,
       coalesce((SELECT value FROM jobq_number WHERE what = 3 AND id = q.id), 0) AS running,
       coalesce((SELECT value FROM jobq_number WHERE what = 4 AND id = q.id), 0) AS waiting,
       coalesce((SELECT value FROM jobq_number WHERE what = 5 AND id = q.id), 0) AS completed,
       coalesce((SELECT value FROM jobq_number WHERE what = 6 AND id = q.id), 0) AS failed,
       coalesce((SELECT value FROM jobq_number WHERE what = 7 AND id = q.id), 0) AS cancelled
FROM jobq_queue q;

PRAGMA legacy_alter_table = OFF;
