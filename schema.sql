-- jobq's tables, indexes and views: schema version 9.
--
-- Everything is named jobq_…, so that it can live inside an application's own database file.
-- Times are milliseconds since 1970, UTC; durations say their unit in their name.
-- Codes are small integers, because they are in every row and in the hot indexes; the views at the
-- end give names and RFC 3339 times to a person with any SQLite shell.

-- Values of the file as a whole.
CREATE TABLE jobq_meta (
    key   TEXT PRIMARY KEY,     -- schema_version · file_id (random; another one once a copy is put in place) · created_by · created_at · paused_at · clock_boot · clock_offset_ms · clock_set_boot_ms
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per queue that was ever named.
CREATE TABLE jobq_queue (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    paused_at INTEGER,          -- since when nothing of it is claimed; null: it is not paused
    concurrency INTEGER CHECK (concurrency > 0), -- maximum number of its jobs that run at once, over all runners; null: no limit
    rate_jobs INTEGER CHECK (rate_jobs > 0), -- maximum number of its jobs that start ...
    rate_ms   INTEGER CHECK (rate_ms > 0),   -- ... in any span of this length
    rate_at   INTEGER NOT NULL DEFAULT 0,    -- how many have started under the rate: the next one's place in jobq_rate
    max_size  INTEGER CHECK (max_size > 0),  -- maximum number of its jobs that are not final; null: no limit
    weight    INTEGER NOT NULL DEFAULT 1 CHECK (weight > 0) -- its share of a runner among the queues with work
) STRICT;

-- When the latest jobs of a queue with a rate started: a ring of rate_jobs moments, so that no more
-- start in any span of rate_ms.
CREATE TABLE jobq_rate (
    queue_id   INTEGER NOT NULL,
    slot       INTEGER NOT NULL, -- rate_at modulo rate_jobs
    started_at INTEGER NOT NULL,
    PRIMARY KEY (queue_id, slot)
) STRICT, WITHOUT ROWID;

-- One row per kind that was ever named: the name under which a handler is registered.
CREATE TABLE jobq_kind (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- One row per process that runs or ran jobs.
-- A beat of -1 belongs to a runner without a heartbeat thread: only its lock shows that it is alive.
CREATE TABLE jobq_runner (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL UNIQUE, -- of its lock file beside the database; never reused
    pid          INTEGER NOT NULL,     -- for people only; nothing is decided by it
    host         TEXT NOT NULL,
    workers      INTEGER NOT NULL CHECK (workers > 0),
    kinds        TEXT NOT NULL,        -- JSON array: the kinds it has handlers for; {"kind":…,"at_once":N} for one with a limit
    queues       TEXT,                 -- JSON array: the queues it serves; null: all
    state        INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4), -- 1 running, 2 stopping, 3 stopped, 4 lost
    started_at   INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL,     -- for people only; liveness compares beats
    beat         INTEGER NOT NULL DEFAULT 0, -- grows with each heartbeat
    ended_at     INTEGER,
    boot         TEXT,                 -- the machine's start that it was started in; null: unknown
    short_of     TEXT,                 -- what the system has too little of, so that it runs fewer jobs at a time; null: nothing
    CHECK ((state >= 3) = (ended_at IS NOT NULL))
) STRICT;

-- Few runners are alive; many have been.
CREATE INDEX jobq_runner_alive ON jobq_runner (id) WHERE state <= 2;

-- The hot row: small, rewritten at every change of state. Text of any size lives elsewhere.
CREATE TABLE jobq_job (
    id             INTEGER PRIMARY KEY, -- never reused: see jobq_number; also the age, for the order of claims
    queue_id       INTEGER NOT NULL REFERENCES jobq_queue (id),
    kind_id        INTEGER NOT NULL REFERENCES jobq_kind (id),
    state          INTEGER NOT NULL CHECK (state BETWEEN 0 AND 7),
        -- 0 scheduled, 1 blocked, 2 pending, 3 running, 4 waiting, 5 completed, 6 failed, 7 cancelled
    priority       INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 3), -- 0 low, 1 normal, 2 high, 3 urgent
    attempt        INTEGER NOT NULL DEFAULT 0, -- raised by every claim: the fence
    retries        INTEGER NOT NULL DEFAULT 0, -- spent, of max_retries
    crashes        INTEGER NOT NULL DEFAULT 0, -- runners lost while an attempt ran
    max_retries    INTEGER NOT NULL,
    backoff        INTEGER NOT NULL CHECK (backoff BETWEEN 0 AND 4), -- 0 none, 1 fixed, 2 linear, 3 quadratic, 4 exponential; unless it has a list of delays
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
    wait_fixed     INTEGER,     -- 1: run_at is a moment; 0: it came from a duration, and moves with steps of the wall clock until the
                                -- machine is started again
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    started_at     INTEGER,     -- of the latest attempt
    finished_at    INTEGER,
    took_us        INTEGER,     -- how long the attempt took that simply completed the job: see jobq_attempt
    enqueued_event INTEGER,     -- the ids of events: that it was enqueued,
    started_event  INTEGER,     -- that its latest attempt started,
    ended_event    INTEGER,     -- that this attempt simply completed it; null: it did not
    links          INTEGER NOT NULL DEFAULT 0, -- bits: what else changes with it, so that a job without rules costs nothing:
        -- 1 has a parent, 2 has a row in jobq_family, 4 others wait for it, 8 a concurrency key, 16 a unique key,
        -- 32 a deadline that it can still miss, 64 tags, 128 prerequisites, 256 a deadline that was given as a
        -- duration and follows steps of the clock until the machine is started again, 512 a schedule,
        -- 1024 a row in jobq_retry_delays, 2048 its running attempt has asked for a snooze, 4096 rows in jobq_hook,
        -- 8192 a row in jobq_hook_job: it is a hook's job itself, and fires no hooks,
        -- 16384 it is a child of a job with this bit or the last, and fires none either,
        -- 32768 a row in jobq_traceparent
    unmet          INTEGER NOT NULL DEFAULT 0, -- number of its prerequisites that are not met yet
    parent_id      INTEGER,     -- no reference: children and parents are removed each in their own time
    key            TEXT,        -- concurrency key: see jobq_concurrency_slot
    unique_key     TEXT,        -- see jobq_unique
    unique_for_ms  INTEGER,     -- how long the unique key stays taken after the job has ended
    deadline       INTEGER,     -- cancelled unless an attempt has begun by then
    tenant         TEXT,        -- the tenant that it belongs to
    schedule       TEXT,        -- the schedule that enqueued it, by name
    slot           INTEGER,     -- the slot of the schedule that it is for; null: none, or somebody asked the schedule for a job
    CHECK (state <> 0 OR (run_at IS NOT NULL AND wait_reason IS NOT NULL AND wait_fixed IS NOT NULL)),
    CHECK (state <> 3 OR (runner_id IS NOT NULL AND started_at IS NOT NULL AND claim IS NOT NULL)),
    CHECK ((state >= 5) = (finished_at IS NOT NULL))
) STRICT;

-- The jobs that may be claimed now, in the order of claims. Kind comes before priority, so that the
-- index leaves out kinds without a handler, instead of reading and skipping them.
CREATE INDEX jobq_job_pending ON jobq_job (queue_id, kind_id, priority DESC, id) WHERE state = 2;
-- The jobs that are due next. A million delayed jobs cost the claim nothing.
CREATE INDEX jobq_job_due ON jobq_job (run_at) WHERE state = 0;
-- Jobs that wait for a retry: a drain waits for them.
CREATE INDEX jobq_job_retrying ON jobq_job (kind_id, queue_id) WHERE state = 0 AND wait_reason = 2;
-- The jobs that a runner holds, for taking over, and which of them are asked to stop.
CREATE INDEX jobq_job_running ON jobq_job (runner_id, cancel) WHERE state = 3;
-- The jobs in the other states that few are in, for listing them. Most jobs are pending, running or completed as they
-- change, and do not touch it.
CREATE INDEX jobq_job_state ON jobq_job (state, id) WHERE state = 0 OR state = 1 OR state = 4 OR state = 6 OR state = 7;
-- Retention, by kind, and the last failures.
CREATE INDEX jobq_job_final ON jobq_job (kind_id, state, finished_at) WHERE state >= 5;
-- None of these mentions the state: a change of state does not touch them.
CREATE INDEX jobq_job_children ON jobq_job (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobq_job_tenant ON jobq_job (tenant, id) WHERE tenant IS NOT NULL;
CREATE INDEX jobq_job_schedule ON jobq_job (schedule, id) WHERE schedule IS NOT NULL;

-- Where the jobs of a kind or of a queue are, for listing them: the blocks of 256 ids that hold some. There is a row for
-- a block once the first of them has come into it; an index of all jobs would cost each enqueue a page. The jobs may
-- have been removed since. A row goes when no job is left up to the end of its block, and no new one can come into it.
CREATE TABLE jobq_block (
    what  INTEGER NOT NULL CHECK (what IN (0, 1)), -- 0 jobs of the kind `id`, 1 jobs of the queue `id`
    id    INTEGER NOT NULL,
    block INTEGER NOT NULL,     -- the jobs' ids divided by 256
    PRIMARY KEY (what, id, block)
) STRICT, WITHOUT ROWID;

-- The payloads: JSON. Here and in the next two tables there is no reference, which every insert would look up: a
-- job's rows are removed with it.
CREATE TABLE jobq_payload (
    job_id  INTEGER PRIMARY KEY,
    payload TEXT NOT NULL
) STRICT;

-- The results and errors of attempts.
CREATE TABLE jobq_outcome (
    job_id INTEGER PRIMARY KEY,
    result TEXT,                -- JSON, of a successful attempt
    error  TEXT,                -- of the last failed one
    snooze_ms INTEGER           -- how long the job waits once the running attempt has succeeded; null: it ends then
) STRICT;

-- The progress that a job's handler reports. A new attempt starts without any.
CREATE TABLE jobq_progress (
    job_id    INTEGER PRIMARY KEY,
    attempt   INTEGER NOT NULL,
    percent   REAL,
    processed INTEGER,
    total     INTEGER,
    message   TEXT
) STRICT;

-- What a blocked job waits for. Edges stay once they are met, to be shown.
CREATE TABLE jobq_prerequisite (
    needs_id INTEGER NOT NULL,  -- the job that is waited for; no reference: once met it may be removed
    job_id   INTEGER NOT NULL REFERENCES jobq_job (id) ON DELETE CASCADE, -- the job that waits
    rule     INTEGER NOT NULL CHECK (rule BETWEEN 0 AND 3),
        -- 0 it must complete, 1 it must be final, 2 the attempt of it that spawned the job must complete,
        -- 3 it is the parent, whose run phase must be done
    attempt  INTEGER,           -- rule 2: which attempt
    met      INTEGER NOT NULL DEFAULT 0 CHECK (met IN (0, 1)),
    PRIMARY KEY (needs_id, rule, job_id) -- the rule before the job: who waits for an end alone is found among any number of children
) STRICT, WITHOUT ROWID;

CREATE INDEX jobq_prerequisite_of ON jobq_prerequisite (job_id);

-- Parents, and the progress of their children: changed with the children, by one update per transaction.
CREATE TABLE jobq_family (
    job_id     INTEGER PRIMARY KEY REFERENCES jobq_job (id) ON DELETE CASCADE, -- the parent
    parent_id  INTEGER,         -- of the parent itself, for the progress of its own parent
    policy     INTEGER NOT NULL DEFAULT 0 CHECK (policy BETWEEN 0 AND 3),
        -- when a child fails: 0 fail when all are final, 1 fail at once, 2 fail at once and cancel the others, 3 go on
    final_step INTEGER NOT NULL DEFAULT 0 CHECK (final_step IN (0, 1)), -- 1: it runs once more when its children are final
    stage      INTEGER NOT NULL DEFAULT 0 CHECK (stage BETWEEN 0 AND 2), -- 0 its run phase, 1 its children, 2 its finalize phase
    total      INTEGER NOT NULL DEFAULT 0,
    done       INTEGER NOT NULL DEFAULT 0, -- completed
    failed     INTEGER NOT NULL DEFAULT 0, -- failed or cancelled
    failed_id  INTEGER          -- the first child that failed
) STRICT;

CREATE INDEX jobq_family_parent ON jobq_family (parent_id) WHERE parent_id IS NOT NULL;

-- Concurrency keys with a limit other than one.
CREATE TABLE jobq_key (
    name  TEXT PRIMARY KEY,
    slots INTEGER NOT NULL CHECK (slots > 0)
) STRICT, WITHOUT ROWID;

-- The jobs that hold a slot under a concurrency key (pending and running ones), and those that wait for
-- one, in the order in which they get it. There is no counter that could leak.
CREATE TABLE jobq_concurrency_slot (
    key     TEXT NOT NULL,
    held    INTEGER NOT NULL CHECK (held IN (0, 1)),
    urgency INTEGER NOT NULL,   -- 3 less the priority: the most urgent first
    job_id  INTEGER NOT NULL UNIQUE REFERENCES jobq_job (id) ON DELETE CASCADE,
    PRIMARY KEY (key, held, urgency, job_id)
) STRICT, WITHOUT ROWID;

-- Unique keys that are taken: by a live job, or for a while after it has ended.
CREATE TABLE jobq_unique (
    key    TEXT PRIMARY KEY,
    job_id INTEGER NOT NULL,    -- no reference: the key stays taken when the job is removed
    until  INTEGER,             -- null: while the job lives
    rerun_id INTEGER            -- the job that runs once more after job_id and then has the key; null: none
) STRICT, WITHOUT ROWID;

CREATE INDEX jobq_unique_until ON jobq_unique (until) WHERE until IS NOT NULL;

-- Deadlines that can still be missed.
CREATE TABLE jobq_deadline (
    at     INTEGER NOT NULL,
    job_id INTEGER NOT NULL UNIQUE REFERENCES jobq_job (id) ON DELETE CASCADE,
    PRIMARY KEY (at, job_id)
) STRICT, WITHOUT ROWID;

-- Tags, for filtering.
CREATE TABLE jobq_tag (
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    job_id INTEGER NOT NULL REFERENCES jobq_job (id) ON DELETE CASCADE,
    PRIMARY KEY (name, value, job_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX jobq_tag_of ON jobq_tag (job_id);

-- The delays before the retries of a job that was given a list of them, in place of its backoff.
CREATE TABLE jobq_retry_delays (
    job_id    INTEGER PRIMARY KEY REFERENCES jobq_job (id) ON DELETE CASCADE,
    delays_ms TEXT NOT NULL     -- JSON: [5000,300000]; the last one repeats
) STRICT;

-- The traces that jobs belong to, for programs that follow a request across processes.
CREATE TABLE jobq_traceparent (
    job_id      INTEGER PRIMARY KEY REFERENCES jobq_job (id) ON DELETE CASCADE,
    traceparent TEXT NOT NULL   -- of W3C Trace Context: 00-<trace, 32 hex digits>-<span, 16>-<flags, 2>
) STRICT;

-- Hooks of jobs: what is enqueued each time the job ends so, in the same transaction. Hooks of a configuration file are
-- not in the database.
CREATE TABLE jobq_hook (
    job_id  INTEGER NOT NULL REFERENCES jobq_job (id) ON DELETE CASCADE,
    hook    INTEGER NOT NULL CHECK (hook BETWEEN 0 AND 2), -- it has 0 completed, 1 failed, 2 ended, however it did
    job     TEXT NOT NULL,      -- JSON: what is enqueued, as in jobq_schedule
    PRIMARY KEY (job_id, hook)
) STRICT, WITHOUT ROWID;

-- The jobs that hooks have enqueued, each with what it is for.
CREATE TABLE jobq_hook_job (
    job_id INTEGER PRIMARY KEY REFERENCES jobq_job (id) ON DELETE CASCADE, -- the hook's job
    of_id  INTEGER NOT NULL,    -- the job that has ended; no reference: it may be removed before
    event  TEXT NOT NULL        -- JSON: how it has ended
) STRICT;

CREATE INDEX jobq_hook_job_of ON jobq_hook_job (of_id);

-- Named rules that enqueue a job at each slot of their time table.
CREATE TABLE jobq_schedule (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL UNIQUE,
    cron        TEXT NOT NULL,  -- five or six fields, @daily and the like, or @every with a duration
    timezone    TEXT NOT NULL,  -- IANA name
    missed      INTEGER NOT NULL CHECK (missed BETWEEN 0 AND 2), -- slots missed while no runner was active: 0 skip, 1 once, 2 all
    overlap     INTEGER NOT NULL CHECK (overlap IN (0, 1)), -- while its last job is live: 0 allow, 1 skip the slot
    job         TEXT NOT NULL,  -- JSON: what is enqueued
    origin      INTEGER NOT NULL CHECK (origin IN (0, 1)), -- 0 added by hand, 1 by a configuration file
    next_at     INTEGER,        -- the next slot; changed in the transaction that enqueues; null: there is no further one
    last_at     INTEGER,        -- the latest slot that was enqueued or skipped
    last_job_id INTEGER,
    paused_at   INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    declared_by TEXT            -- origin 1: the path of the configuration file that declares it; null: unknown
) STRICT;

CREATE INDEX jobq_schedule_next ON jobq_schedule (next_at) WHERE paused_at IS NULL AND next_at IS NOT NULL;

-- The attempts that have ended. One that simply completed its job, without an exit code or measurements, is
-- on the job's own row instead, as the running one is: most jobs need no row here. The view jobq_history and
-- `jobq status ID` show both alike.
CREATE TABLE jobq_attempt (
    job_id        INTEGER NOT NULL, -- no reference: removed with their job, in small steps
    attempt       INTEGER NOT NULL,
    outcome       INTEGER NOT NULL, -- 4 to 10 and 16: the kind of the event that ended it, see the view jobq_history
    started_at    INTEGER,          -- when it was claimed
    started_event INTEGER,
    ended_at      INTEGER NOT NULL,
    ended_event   INTEGER NOT NULL,
    runner_id     INTEGER,
    worker        INTEGER,
    took_us       INTEGER,          -- how long its handler ran
    error         TEXT,
    exit_code     INTEGER,          -- of a command, unless a signal ended it
    cpu_ms        INTEGER,          -- processor time of a command, user and system
    max_rss_bytes INTEGER,          -- peak memory of a command
    run_at        INTEGER,          -- until when the job waits after it
    PRIMARY KEY (job_id, attempt)
) STRICT, WITHOUT ROWID;

-- What jobs have printed and logged, and what has happened to them besides their attempts. The rows of a job
-- lie together, in order.
CREATE TABLE jobq_log (
    job_id    INTEGER NOT NULL, -- 0: of no job, but of a queue, a runner or a schedule. No reference, as above
    id        INTEGER NOT NULL, -- of the event
    at        INTEGER NOT NULL,
    kind      INTEGER NOT NULL, -- see the view jobq_history
    attempt   INTEGER,
    runner_id INTEGER,
    worker    INTEGER,
    took_us   INTEGER,
    data      ANY,              -- JSON for most kinds; the text itself (a blob if it is not UTF-8) for stdout and stderr
    PRIMARY KEY (job_id, id)
) STRICT, WITHOUT ROWID;

-- All events in the order in which they happened: a row for each transaction, for those who follow. What an
-- event says besides is found with its job: an attempt on the job's row or in jobq_attempt, all else in
-- jobq_log. Rows are removed when they are old, whatever becomes of their jobs.
CREATE TABLE jobq_feed (
    id     INTEGER PRIMARY KEY, -- of its first event; the others follow
    at     INTEGER NOT NULL,
    events TEXT NOT NULL        -- JSON: [kind, attempt, job, ...] and so on, where [first, last] stands for jobs in a row, and 0 for none
) STRICT;

-- Numbers that nearly every transaction changes, together on one page: a transaction writes whole pages.
-- `jobq doctor` recounts the jobs.
CREATE TABLE jobq_number (
    what  INTEGER NOT NULL,
        -- 0 to 7: how many jobs the queue `id` has in that state, so that counts are instant at any size; no row: none
        -- -1: the last transaction of the writer with this id (0 to 63, picked at random; 64: an application), so that it can tell
        --     after a failed COMMIT whether it was committed
        -- -3: how many jobs were ever enqueued; the id is that of the queue, shifted left by 32 bits, plus that of the kind
        -- -2: id 0 is the file itself, id 1 the last id of a job, id 2 the last id of an event
    id    INTEGER NOT NULL,
    value INTEGER NOT NULL,
    text  TEXT,                 -- of the file itself: 'jobq file ' and the file_id. Each commit writes this page, so each log says whose it is
    PRIMARY KEY (what, id)
) STRICT, WITHOUT ROWID;

-- How attempts went that have ended, added up by queue, kind and outcome: for metrics. One transaction adds to the row
-- of all time and to that of the minute. Rows of minutes become rows of hours after 72 hours, which are kept for 90 days.
CREATE TABLE jobq_metric (
    span          INTEGER NOT NULL, -- of time, in seconds: 60 a minute, 3600 an hour, 0 all time
    at            INTEGER NOT NULL, -- when it began; 0 for all time
    queue_id      INTEGER NOT NULL,
    kind_id       INTEGER NOT NULL,
    outcome       INTEGER NOT NULL, -- the kind of the event that ended the attempts, as in jobq_attempt
    attempts      INTEGER NOT NULL, -- their number
    took          TEXT NOT NULL,    -- JSON: [bin, number, bin, number, ...], how many handlers ran how long. Bins 0 to 7 are of 0 to 7
                                    -- microseconds; from there on bin b = 8 e + m begins at (8 + m) << (e - 1)
    took_us       INTEGER NOT NULL, -- the sum of these times
    waited        TEXT NOT NULL,    -- the same for how long their jobs had been pending before
    waited_ms     INTEGER NOT NULL, -- the sum of these times
    cpu_ms        INTEGER NOT NULL, -- processor time of commands, user and system
    max_rss_bytes INTEGER NOT NULL, -- the highest peak memory of a command
    PRIMARY KEY (span, at, queue_id, kind_id, outcome)
) STRICT, WITHOUT ROWID;

-- Batches by their content, so that the same `jobq run -f` continues its batch. A row is
-- removed when none of its jobs is left.
CREATE TABLE jobq_batch (
    digest       TEXT PRIMARY KEY,
    first_job_id INTEGER NOT NULL,
    last_job_id  INTEGER NOT NULL,
    added_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE VIEW jobq_schedules AS
SELECT name, cron, timezone, CASE missed WHEN 0 THEN 'skip' WHEN 1 THEN 'once' ELSE 'all' END AS missed,
       CASE overlap WHEN 0 THEN 'allow' ELSE 'skip' END AS overlap, job, paused_at IS NOT NULL AS paused,
       strftime('%Y-%m-%dT%H:%M:%fZ', next_at / 1000.0, 'unixepoch') AS next_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', last_at / 1000.0, 'unixepoch') AS last_at, last_job_id AS last_job
FROM jobq_schedule;

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

CREATE VIEW jobq_runners AS
SELECT id, name, pid, host, workers, kinds, queues,
       CASE state WHEN 1 THEN 'running' WHEN 2 THEN 'stopping' WHEN 3 THEN 'stopped' WHEN 4 THEN 'lost' END AS state,
       strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', heartbeat_at / 1000.0, 'unixepoch') AS heartbeat_at
FROM jobq_runner;

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
