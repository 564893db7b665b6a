-- From schema 6 to 7: listings by state, kind and queue, metrics, lists of retry delays, snoozes, and views that
-- are read faster when a file is opened. Every row stays; jobs enqueued before count as far as they are still there.
DROP VIEW jobq_jobs;
DROP VIEW jobq_history;
DROP VIEW jobq_queues;
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

CREATE TABLE jobq_retry_delays (
    job_id    INTEGER PRIMARY KEY REFERENCES jobq_job (id) ON DELETE CASCADE,
    delays_ms TEXT NOT NULL
) STRICT;

ALTER TABLE jobq_outcome ADD COLUMN snooze_ms INTEGER;

CREATE VIEW jobq_jobs AS
SELECT j.id, k.name AS kind, q.name AS queue,
       json_extract('["scheduled","blocked","pending","running","waiting","completed","failed","cancelled"]',
            '$[' || j.state || ']') AS state,
       json_extract('["low","normal","high","urgent"]', '$[' || j.priority || ']') AS priority,
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
       json_extract('{"1":"job_enqueued","2":"job_started","3":"job_progress","4":"job_completed","5":"job_failed",
            "6":"job_retry","7":"job_cancelled","8":"job_snoozed","9":"job_returned","10":"job_recovered",
            "11":"job_cancel_requested","12":"job_requeued","13":"job_edited","14":"job_report_dropped",
            "15":"job_released","16":"job_waiting","20":"job_log","21":"job_stdout","22":"job_stderr",
            "30":"queue_paused","31":"queue_resumed","32":"queue_limited",
            "40":"runner_started","41":"runner_stopped","42":"runner_lost","50":"schedule_fired",
            "51":"schedule_skipped","52":"schedule_added","53":"schedule_removed","54":"schedule_paused",
            "55":"schedule_resumed"}', '$.' || kind) AS kind,
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
       coalesce(sum(n.value * (n.what = 0)), 0) AS scheduled,
       coalesce(sum(n.value * (n.what = 1)), 0) AS blocked,
       coalesce(sum(n.value * (n.what = 2)), 0) AS pending,
       coalesce(sum(n.value * (n.what = 3)), 0) AS running,
       coalesce(sum(n.value * (n.what = 4)), 0) AS waiting,
       coalesce(sum(n.value * (n.what = 5)), 0) AS completed,
       coalesce(sum(n.value * (n.what = 6)), 0) AS failed,
       coalesce(sum(n.value * (n.what = 7)), 0) AS cancelled
FROM jobq_queue q
LEFT JOIN jobq_number n ON n.id = q.id AND n.what BETWEEN 0 AND 7
GROUP BY q.id;
