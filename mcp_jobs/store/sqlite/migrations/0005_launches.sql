-- How jobs are to be run, on the disk before their ids are given out; and in which incarnation of
-- the home (see incarnation.py) they were claimed, since files say nothing after a power cut.

-- Command, directory, environment, secrets: JSON. Read by those who launch, gone with the end.
CREATE TABLE launches (
    job_id TEXT NOT NULL PRIMARY KEY,
    launch TEXT NOT NULL CHECK (json_valid(launch))
) STRICT, WITHOUT ROWID;

-- On its way into `launches`, in the very statement that stores the job; NULL when that is done.
ALTER TABLE jobs ADD COLUMN launch TEXT;

-- The incarnation in which the files that a launch needs were made. NULL: by an older version.
ALTER TABLE jobs ADD COLUMN prepared_in TEXT;

-- The incarnation in which the current attempt was claimed. NULL: by an older version.
ALTER TABLE jobs ADD COLUMN claimed_in TEXT;

DROP TRIGGER jobs_changed;

CREATE TRIGGER jobs_changed AFTER UPDATE ON jobs
WHEN OLD.launch IS NULL
BEGIN
    INSERT INTO changes (job_id, owner, status, created, at_ms)
    VALUES (NEW.id, NEW.owner, NEW.status, 0, CAST(strftime('%s', 'now') AS INTEGER) * 1000);
END;

CREATE TRIGGER jobs_to_launch AFTER INSERT ON jobs
WHEN NEW.launch IS NOT NULL
BEGIN
    INSERT INTO launches (job_id, launch) VALUES (NEW.id, NEW.launch);
    UPDATE jobs SET launch = NULL WHERE number = NEW.number;
END;

CREATE TRIGGER jobs_ended_launches AFTER UPDATE OF status ON jobs
WHEN NEW.status IN ('completed', 'failed', 'cancelled')
BEGIN
    DELETE FROM launches WHERE job_id = NEW.id;
END;

CREATE TRIGGER jobs_removed_launches AFTER DELETE ON jobs
BEGIN
    DELETE FROM launches WHERE job_id = OLD.id;
END;
