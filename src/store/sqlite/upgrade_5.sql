-- From schema 4 to 5: a job knows the schedule that enqueued it, and its slot. Every row stays.
ALTER TABLE jobq_job ADD COLUMN schedule TEXT;
ALTER TABLE jobq_job ADD COLUMN slot INTEGER;
CREATE INDEX jobq_job_schedule ON jobq_job (schedule, id) WHERE schedule IS NOT NULL;
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
       j.runner_id AS runner, j.worker, j.tenant, j.parent_id AS parent, j.key, j.unique_key, j.schedule,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.slot / 1000.0, 'unixepoch') AS slot
FROM jobq_job j
JOIN jobq_kind k ON k.id = j.kind_id
JOIN jobq_queue q ON q.id = j.queue_id
LEFT JOIN jobq_payload p ON p.job_id = j.id
LEFT JOIN jobq_outcome o ON o.job_id = j.id;
