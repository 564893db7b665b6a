-- What a file of schema 1 holds after some use: jobs in every state that its jobq could bring them to,
-- with what belongs to them. Runner 2 was killed while it held two jobs.
INSERT INTO jobq_meta VALUES ('schema_version', 1), ('created_by', 'jobq'), ('created_at', 1700000000000),
    ('clock_boot', 'a boot of long ago'), ('clock_offset_ms', 1000);
INSERT INTO jobq_queue (name, paused_at) VALUES ('default', NULL), ('mail', NULL), ('sleepy', 1700000000500);
INSERT INTO jobq_kind (name) VALUES ('send'), ('resize');
INSERT INTO jobq_runner (name, pid, host, workers, kinds, queues, state, started_at, heartbeat_at, beat, ended_at)
VALUES ('00000000000000000000000000000001', 11, 'h', 5, '["send"]', NULL, 3, 1700000000000, 1700000000900, 7, 1700000001000),
    ('00000000000000000000000000000002', 12, 'h', 2, '["resize","send"]', '["default"]', 1, 1700000000000, 1700000002000, 9, NULL);
INSERT INTO jobq_job (queue_id, kind_id, state, priority, attempt, retries, crashes, max_retries, backoff, retry_delay_ms,
    jitter, timeout_ms, claim, no_ahead, runner_id, worker, cancel, wait_reason, run_at, wait_fixed,
    created_at, updated_at, started_at, finished_at)
VALUES
    -- pending: fresh, of another queue and urgent, in a paused queue, given back by a lost runner
    (1, 1, 2, 1, 0, 0, 0, 3, 4, 5000, 1, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, 1700000000001, 1700000000001, NULL, NULL),
    (2, 2, 2, 3, 0, 0, 0, 0, 0, 0, 0, 60000, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, 1700000000002, 1700000000002, NULL, NULL),
    (3, 1, 2, 0, 0, 0, 0, 3, 1, 100, 1, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, 1700000000003, 1700000000003, NULL, NULL),
    (1, 1, 2, 1, 2, 1, 1, 3, 4, 5000, 1, NULL, 1, 1, 1, 3, NULL, NULL, NULL, NULL, 1700000000004, 1700000000800, 1700000000700, NULL),
    -- scheduled: a delay that has passed, a retry, a snooze
    (1, 1, 0, 1, 0, 0, 0, 3, 4, 5000, 1, NULL, NULL, 0, NULL, NULL, NULL, 1, 1700000005000, 1, 1700000000005, 1700000000005, NULL, NULL),
    (1, 2, 0, 1, 1, 1, 0, 3, 2, 5000, 1, NULL, 0, 0, 1, 1, NULL, 2, 1700000006000, 0, 1700000000006, 1700000000900, 1700000000800, NULL),
    (2, 1, 0, 1, 1, 0, 0, 3, 3, 1000, 1, NULL, 0, 0, 1, 2, NULL, 3, 1700000007000, 0, 1700000000007, 1700000000900, 1700000000800, NULL),
    -- running on the runner that was killed: begun, and claimed ahead
    (1, 2, 3, 1, 1, 0, 0, 3, 4, 5000, 1, NULL, 0, 0, 2, 1, NULL, NULL, NULL, NULL, 1700000000008, 1700000001900, 1700000001900, NULL),
    (1, 1, 3, 2, 1, 0, 0, 3, 4, 5000, 1, NULL, 1, 0, 2, NULL, NULL, NULL, NULL, NULL, 1700000000009, 1700000001900, 1700000001900, NULL),
    -- final
    (1, 1, 5, 1, 1, 0, 0, 3, 4, 5000, 1, NULL, 0, 0, 1, 1, NULL, NULL, NULL, NULL, 1700000000010, 1700000000600, 1700000000500, 1700000000600),
    (2, 2, 6, 1, 4, 3, 0, 3, 4, 5000, 1, NULL, 0, 0, 1, 1, NULL, NULL, NULL, NULL, 1700000000011, 1700000000700, 1700000000500, 1700000000700),
    (1, 1, 7, 1, 0, 0, 0, 3, 4, 5000, 1, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, 1700000000012, 1700000000800, NULL, 1700000000800);
INSERT INTO jobq_payload SELECT id, '{"number": ' || id || ', "text": "ünï"}' FROM jobq_job;
INSERT INTO jobq_outcome VALUES (4, NULL, 'not now'), (6, NULL, 'later'), (10, '{"done": true}', NULL), (11, NULL, 'boom');
INSERT INTO jobq_progress VALUES (8, 1, 50.0, 5, 10, 'half'), (10, 1, 100.0, NULL, NULL, NULL);
INSERT INTO jobq_event (at, kind, job_id, attempt, runner_id, worker, took_us, data)
SELECT created_at, 1, id, NULL, NULL, NULL, NULL, NULL FROM jobq_job
UNION ALL SELECT started_at, 2, id, attempt, runner_id, NULL, NULL, NULL FROM jobq_job WHERE attempt > 0
UNION ALL SELECT 1700000000600, 21, 10, 1, 1, 1, NULL, x'fffe'
UNION ALL SELECT 1700000000600, 4, 10, 1, 1, 1, 1500, '{"cpu_ms":5}'
UNION ALL SELECT 1700000000700, 5, 11, 4, 1, 1, 900, '{"error":"boom"}'
UNION ALL SELECT 1700000000500, 30, NULL, NULL, NULL, NULL, NULL, '{"queue":"sleepy"}';
INSERT INTO jobq_count SELECT queue_id, state, count(*) FROM jobq_job GROUP BY queue_id, state;
INSERT INTO jobq_batch VALUES ('abc', 1, 3, 1700000000003);
INSERT INTO jobq_commit VALUES (3, 4711), (60, 815);
