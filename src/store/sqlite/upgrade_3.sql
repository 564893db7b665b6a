-- From schema 2 to 3. Every row stays.
INSERT INTO jobq_meta (key, value) VALUES ('file_id', lower(hex(randomblob(16))));
ALTER TABLE jobq_runner ADD COLUMN boot TEXT;
ALTER TABLE jobq_unique ADD COLUMN rerun_id INTEGER;
ALTER TABLE jobq_schedule ADD COLUMN declared_by TEXT;
ALTER TABLE jobq_commit ADD COLUMN file_id TEXT;
INSERT INTO jobq_commit (slot, token, file_id)
    SELECT 64, 0, 'jobq file ' || value FROM jobq_meta WHERE key = 'file_id';
