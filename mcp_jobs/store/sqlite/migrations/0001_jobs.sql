-- Jobs, their ended attempts, how many there are, and what changed.
--
-- Times are wall-clock milliseconds since 1970, UTC. The rules of states.py stand here once more,
-- so that no program that opens this file can store a job that makes no sense.

CREATE TABLE jobs (
    -- Insertion order: the tie-break of first in, first out.
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    locality TEXT NOT NULL,
    type TEXT NOT NULL,
    params TEXT NOT NULL CHECK (json_valid(params)),
    title TEXT NOT NULL,
    cwd TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (
        status IN (
            'pending', 'running', 'retrying', 'input_required', 'completed', 'failed', 'cancelled'
        )
    ),
    reason TEXT CHECK (
        reason IN (
            'exit_code', 'signal', 'timeout', 'idle_timeout', 'spawn_error', 'exception',
            'interrupted', 'output_limit', 'declined', 'cancelled_by_user'
        )
    ),
    exit_code INTEGER,
    error TEXT,
    result TEXT CHECK (result IS NULL OR json_valid(result)),
    attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 1),
    interrupts INTEGER NOT NULL DEFAULT 0 CHECK (interrupts >= 0),
    created_at_ms INTEGER NOT NULL,
    run_at_ms INTEGER NOT NULL,
    started_at_ms INTEGER,
    attempt_started_at_ms INTEGER,
    finished_at_ms INTEGER,
    timeout_s REAL CHECK (timeout_s > 0),
    idle_timeout_s REAL CHECK (idle_timeout_s > 0),
    retry_on_interrupt INTEGER NOT NULL CHECK (retry_on_interrupt IN (0, 1)),
    cancel_requested_at_ms INTEGER,
    progress TEXT CHECK (progress IS NULL OR json_valid(progress)),
    idempotency_key TEXT,
    fingerprint TEXT NOT NULL,
    claim_token INTEGER NOT NULL DEFAULT 0,
    -- The claim token of the current attempt's first claim; adoption raises claim_token only.
    launch_token INTEGER NOT NULL DEFAULT 0,
    claimed_by TEXT,
    -- Facts of the last attempt that ended, copied into attempts by a trigger.
    attempt_finished_at_ms INTEGER,
    output_start INTEGER NOT NULL DEFAULT 0,
    cpu_s REAL,
    memory_peak_bytes INTEGER,
    CHECK ((finished_at_ms IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    CHECK ((reason IS NOT NULL) = (status IN ('failed', 'cancelled', 'retrying'))),
    CHECK ((claimed_by IS NOT NULL) = (status IN ('running', 'input_required')))
) STRICT;

CREATE UNIQUE INDEX jobs_idempotency ON jobs (owner, idempotency_key)
WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_due ON jobs (run_at_ms, number) WHERE status IN ('pending', 'retrying');
CREATE INDEX jobs_live ON jobs (status, claimed_by) WHERE status IN ('running', 'input_required');
CREATE INDEX jobs_by_end ON jobs (finished_at_ms) WHERE finished_at_ms IS NOT NULL;
CREATE INDEX jobs_by_owner ON jobs (owner, id);
CREATE INDEX jobs_by_status ON jobs (owner, status, id);
CREATE INDEX jobs_by_type ON jobs (owner, type, status, id);
CREATE INDEX jobs_by_cwd ON jobs (owner, cwd, status, id);

CREATE TABLE attempts (
    job_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    started_at_ms INTEGER,
    finished_at_ms INTEGER NOT NULL,
    reason TEXT,
    exit_code INTEGER,
    error TEXT,
    output_start INTEGER NOT NULL,
    cpu_s REAL,
    memory_peak_bytes INTEGER,
    PRIMARY KEY (job_id, number)
) STRICT, WITHOUT ROWID;

-- How many jobs each owner has in each state, so that counting never scans the history.
CREATE TABLE job_counts (
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (owner, status)
) STRICT, WITHOUT ROWID;

-- What changed, for the other processes that share this file. Old rows are pruned; AUTOINCREMENT
-- keeps a number from coming twice, which a reader that slept would miss.
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    created INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;

CREATE TRIGGER jobs_transition BEFORE UPDATE OF status ON jobs
WHEN OLD.status <> NEW.status AND NOT (
    (OLD.status = 'pending' AND NEW.status IN ('running', 'cancelled'))
    OR (
        OLD.status = 'running'
        AND NEW.status IN ('completed', 'failed', 'retrying', 'cancelled', 'input_required')
    )
    OR (OLD.status = 'input_required' AND NEW.status IN ('running', 'failed', 'cancelled'))
    OR (OLD.status = 'retrying' AND NEW.status IN ('running', 'cancelled'))
)
BEGIN
    SELECT RAISE(ABORT, 'illegal transition');
END;

CREATE TRIGGER jobs_terminal BEFORE UPDATE ON jobs
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'a terminal state never changes');
END;

CREATE TRIGGER jobs_created AFTER INSERT ON jobs
BEGIN
    INSERT INTO job_counts (owner, status, total) VALUES (NEW.owner, NEW.status, 1)
    ON CONFLICT (owner, status) DO UPDATE SET total = total + 1;
    INSERT INTO changes (job_id, owner, status, created, at_ms)
    VALUES (NEW.id, NEW.owner, NEW.status, 1, NEW.created_at_ms);
END;

CREATE TRIGGER jobs_changed AFTER UPDATE ON jobs
BEGIN
    INSERT INTO changes (job_id, owner, status, created, at_ms)
    VALUES (NEW.id, NEW.owner, NEW.status, 0, CAST(strftime('%s', 'now') AS INTEGER) * 1000);
END;

CREATE TRIGGER jobs_moved AFTER UPDATE OF status ON jobs
WHEN OLD.status <> NEW.status
BEGIN
    UPDATE job_counts SET total = total - 1 WHERE owner = OLD.owner AND status = OLD.status;
    INSERT INTO job_counts (owner, status, total) VALUES (NEW.owner, NEW.status, 1)
    ON CONFLICT (owner, status) DO UPDATE SET total = total + 1;
END;

CREATE TRIGGER jobs_attempt_ended AFTER UPDATE OF status ON jobs
WHEN OLD.status IN ('running', 'input_required')
AND NEW.status NOT IN ('running', 'input_required')
BEGIN
    INSERT INTO attempts (
        job_id, number, started_at_ms, finished_at_ms, reason, exit_code, error, output_start,
        cpu_s, memory_peak_bytes
    )
    VALUES (
        NEW.id, NEW.attempt, NEW.attempt_started_at_ms, NEW.attempt_finished_at_ms, NEW.reason,
        NEW.exit_code, NEW.error, NEW.output_start, NEW.cpu_s, NEW.memory_peak_bytes
    );
END;

CREATE TRIGGER jobs_removed AFTER DELETE ON jobs
BEGIN
    UPDATE job_counts SET total = total - 1 WHERE owner = OLD.owner AND status = OLD.status;
    DELETE FROM attempts WHERE job_id = OLD.id;
END;
