-- Schedules: jobs that are started by the clock.

CREATE TABLE schedules (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    params TEXT NOT NULL CHECK (json_valid(params)),
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    overlap TEXT NOT NULL CHECK (overlap IN ('skip', 'queue_one', 'cancel_running', 'allow')),
    catchup_s REAL NOT NULL CHECK (catchup_s >= 0),
    -- Where its jobs run, and whose job types it starts; NULL: as the type says, the user's alone.
    cwd TEXT,
    project TEXT,
    -- The file that declares it; NULL for one that somebody has added.
    declared_in TEXT,
    -- It was added over HTTP, and only such servers start its jobs.
    shared INTEGER NOT NULL CHECK (shared IN (0, 1)),
    created_at_ms INTEGER NOT NULL,
    next_fire_at_ms INTEGER,
    last_fire_at_ms INTEGER,
    missed INTEGER NOT NULL DEFAULT 0 CHECK (missed >= 0),
    skipped INTEGER NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    problem TEXT,
    paused_by TEXT,
    paused_why TEXT,
    paused_at_ms INTEGER,
    CHECK ((paused_by IS NULL) = (paused_at_ms IS NULL)),
    CHECK (paused_why IS NULL OR paused_at_ms IS NOT NULL)
) STRICT;

CREATE UNIQUE INDEX schedules_by_name ON schedules (owner, coalesce(declared_in, ''), name);
CREATE INDEX schedules_due ON schedules (next_fire_at_ms) WHERE paused_at_ms IS NULL;
CREATE INDEX schedules_by_file ON schedules (declared_in) WHERE declared_in IS NOT NULL;

CREATE INDEX jobs_scheduled ON jobs (schedule, number)
WHERE schedule IS NOT NULL AND status IN ('pending', 'retrying', 'running', 'input_required');

-- All processes are told of every change, and whose schedule it is.
CREATE TRIGGER schedules_added AFTER INSERT ON schedules
BEGIN
    INSERT INTO changes (job_id, owner, status, created, at_ms)
    VALUES ('', NEW.owner, 'schedules', 1, CAST(strftime('%s', 'now') AS INTEGER) * 1000);
END;

CREATE TRIGGER schedules_changed AFTER UPDATE ON schedules
BEGIN
    INSERT INTO changes (job_id, owner, status, created, at_ms)
    VALUES ('', NEW.owner, 'schedules', 0, CAST(strftime('%s', 'now') AS INTEGER) * 1000);
END;

CREATE TRIGGER schedules_removed AFTER DELETE ON schedules
BEGIN
    INSERT INTO changes (job_id, owner, status, created, at_ms)
    VALUES ('', OLD.owner, 'schedules', 0, CAST(strftime('%s', 'now') AS INTEGER) * 1000);
END;

CREATE TRIGGER jobs_scheduled_ended AFTER UPDATE OF status ON jobs
WHEN NEW.schedule IS NOT NULL AND NEW.status IN ('completed', 'failed', 'cancelled')
BEGIN
    INSERT INTO changes (job_id, owner, status, created, at_ms)
    VALUES ('', NEW.owner, 'schedules', 0, NEW.finished_at_ms);
END;
