-- From schema 1, the spine, to schema 2: rules between jobs and over time. Frozen: a file of schema 1 is
-- brought to this, whatever comes after.

ALTER TABLE jobq_queue ADD COLUMN concurrency INTEGER CHECK (concurrency > 0);
ALTER TABLE jobq_queue ADD COLUMN rate_jobs INTEGER CHECK (rate_jobs > 0);
ALTER TABLE jobq_queue ADD COLUMN rate_ms INTEGER CHECK (rate_ms > 0);
ALTER TABLE jobq_queue ADD COLUMN rate_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobq_queue ADD COLUMN max_size INTEGER CHECK (max_size > 0);
ALTER TABLE jobq_queue ADD COLUMN weight INTEGER NOT NULL DEFAULT 1 CHECK (weight > 0);

CREATE TABLE jobq_rate (
    queue_id   INTEGER NOT NULL,
    slot       INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    PRIMARY KEY (queue_id, slot)
) STRICT, WITHOUT ROWID;

ALTER TABLE jobq_job ADD COLUMN links INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobq_job ADD COLUMN unmet INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobq_job ADD COLUMN parent_id INTEGER;
ALTER TABLE jobq_job ADD COLUMN key TEXT;
ALTER TABLE jobq_job ADD COLUMN unique_key TEXT;
ALTER TABLE jobq_job ADD COLUMN unique_for_ms INTEGER;
ALTER TABLE jobq_job ADD COLUMN deadline INTEGER;
ALTER TABLE jobq_job ADD COLUMN tenant TEXT;

DROP INDEX jobq_job_final;
CREATE INDEX jobq_job_final ON jobq_job (kind_id, state, finished_at) WHERE state >= 5;

CREATE INDEX jobq_job_children ON jobq_job (parent_id, id) WHERE parent_id IS NOT NULL;

CREATE INDEX jobq_job_tenant ON jobq_job (tenant, id) WHERE tenant IS NOT NULL;

CREATE TABLE jobq_prerequisite (
    needs_id INTEGER NOT NULL,
    job_id   INTEGER NOT NULL REFERENCES jobq_job (id) ON DELETE CASCADE,
    rule     INTEGER NOT NULL CHECK (rule BETWEEN 0 AND 3),
    attempt  INTEGER,
    met      INTEGER NOT NULL DEFAULT 0 CHECK (met IN (0, 1)),
    PRIMARY KEY (needs_id, rule, job_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX jobq_prerequisite_of ON jobq_prerequisite (job_id);

CREATE TABLE jobq_family (
    job_id     INTEGER PRIMARY KEY REFERENCES jobq_job (id) ON DELETE CASCADE,
    parent_id  INTEGER,
    policy     INTEGER NOT NULL DEFAULT 0 CHECK (policy BETWEEN 0 AND 3),
    final_step INTEGER NOT NULL DEFAULT 0 CHECK (final_step IN (0, 1)),
    stage      INTEGER NOT NULL DEFAULT 0 CHECK (stage BETWEEN 0 AND 2),
    total      INTEGER NOT NULL DEFAULT 0,
    done       INTEGER NOT NULL DEFAULT 0,
    failed     INTEGER NOT NULL DEFAULT 0,
    failed_id  INTEGER
) STRICT;

CREATE INDEX jobq_family_parent ON jobq_family (parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE jobq_key (
    name   TEXT PRIMARY KEY,
    places INTEGER NOT NULL CHECK (places > 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobq_place (
    key     TEXT NOT NULL,
    held    INTEGER NOT NULL CHECK (held IN (0, 1)),
    urgency INTEGER NOT NULL,
    job_id  INTEGER NOT NULL UNIQUE REFERENCES jobq_job (id) ON DELETE CASCADE,
    PRIMARY KEY (key, held, urgency, job_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobq_unique (
    key    TEXT PRIMARY KEY,
    job_id INTEGER NOT NULL,
    until  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX jobq_unique_until ON jobq_unique (until) WHERE until IS NOT NULL;

CREATE TABLE jobq_deadline (
    at     INTEGER NOT NULL,
    job_id INTEGER NOT NULL UNIQUE REFERENCES jobq_job (id) ON DELETE CASCADE,
    PRIMARY KEY (at, job_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobq_tag (
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    job_id INTEGER NOT NULL REFERENCES jobq_job (id) ON DELETE CASCADE,
    PRIMARY KEY (name, value, job_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX jobq_tag_of ON jobq_tag (job_id);

CREATE TABLE jobq_schedule (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL UNIQUE,
    cron        TEXT NOT NULL,
    timezone    TEXT NOT NULL,
    missed      INTEGER NOT NULL CHECK (missed BETWEEN 0 AND 2),
    overlap     INTEGER NOT NULL CHECK (overlap IN (0, 1)),
    job         TEXT NOT NULL,
    origin      INTEGER NOT NULL CHECK (origin IN (0, 1)),
    next_at     INTEGER,
    last_at     INTEGER,
    last_job_id INTEGER,
    paused_at   INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX jobq_schedule_next ON jobq_schedule (next_at) WHERE paused_at IS NULL AND next_at IS NOT NULL;

CREATE INDEX jobq_event_other ON jobq_event (at) WHERE job_id IS NULL;

DROP VIEW jobq_jobs;
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
       j.runner_id AS runner, j.worker, j.tenant, j.parent_id AS parent, j.key, j.unique_key
FROM jobq_job j
JOIN jobq_kind k ON k.id = j.kind_id
JOIN jobq_queue q ON q.id = j.queue_id
LEFT JOIN jobq_payload p ON p.job_id = j.id
LEFT JOIN jobq_outcome o ON o.job_id = j.id;

CREATE VIEW jobq_schedules AS
SELECT name, cron, timezone, CASE missed WHEN 0 THEN 'skip' WHEN 1 THEN 'once' ELSE 'all' END AS missed,
       CASE overlap WHEN 0 THEN 'allow' ELSE 'skip' END AS overlap, job, paused_at IS NOT NULL AS paused,
       strftime('%Y-%m-%dT%H:%M:%fZ', next_at / 1000.0, 'unixepoch') AS next_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', last_at / 1000.0, 'unixepoch') AS last_at, last_job_id AS last_job
FROM jobq_schedule;

DROP VIEW jobq_history;
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
       job_id AS job, attempt, runner_id AS runner, worker, took_us / 1000.0 AS took_ms, data
FROM jobq_event;

DROP VIEW jobq_queues;
CREATE VIEW jobq_queues AS
SELECT q.id, q.name, q.paused_at IS NOT NULL AS paused, q.concurrency, q.rate_jobs, q.rate_ms, q.max_size, q.weight,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 0), 0) AS scheduled,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 1), 0) AS blocked,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 2), 0) AS pending,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 3), 0) AS running,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 4), 0) AS waiting,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 5), 0) AS completed,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 6), 0) AS failed,
       coalesce(sum(c.jobs) FILTER (WHERE c.state = 7), 0) AS cancelled
FROM jobq_queue q LEFT JOIN jobq_count c ON c.queue_id = q.id
GROUP BY q.id;
