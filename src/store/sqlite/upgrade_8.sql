-- From schema 7 to 8: hooks. Every row stays.
CREATE TABLE jobq_hook (
    job_id  INTEGER NOT NULL REFERENCES jobq_job (id) ON DELETE CASCADE,
    hook    INTEGER NOT NULL CHECK (hook BETWEEN 0 AND 2),
    job     TEXT NOT NULL,
    PRIMARY KEY (job_id, hook)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobq_hook_job (
    job_id INTEGER PRIMARY KEY REFERENCES jobq_job (id) ON DELETE CASCADE,
    of_id  INTEGER NOT NULL,
    event  TEXT NOT NULL
) STRICT;

CREATE INDEX jobq_hook_job_of ON jobq_hook_job (of_id);
