-- From schema 3 to 4. Every row stays.
ALTER TABLE jobq_runner ADD COLUMN short_of TEXT;
