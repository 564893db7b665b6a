-- From schema 8 to 9: the traces that jobs belong to. Every row stays.
CREATE TABLE jobq_traceparent (
    job_id      INTEGER PRIMARY KEY REFERENCES jobq_job (id) ON DELETE CASCADE,
    traceparent TEXT NOT NULL
) STRICT;
