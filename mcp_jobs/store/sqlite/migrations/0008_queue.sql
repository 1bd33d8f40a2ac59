-- Queue semantics: order, locks, dependencies, pauses, and where a job came from.
--
-- The table is made anew, since SQLite cannot change a CHECK: there are new reasons. What stands in
-- the rows is taken over as it is, odd rows too. Its indexes and triggers follow it, unchanged where
-- nothing is said.

PRAGMA ignore_check_constraints = ON;

DROP TRIGGER questions_asked;
DROP TRIGGER questions_answered;

CREATE TABLE jobs_new (
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
            'interrupted', 'output_limit', 'declined', 'cancelled_by_user', 'superseded',
            'dependency_failed', 'out_of_memory', 'abandoned', 'placement_timeout'
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
    -- The rules that a job's type gave it: see policy.py.
    policy TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(policy)),
    confirm TEXT,
    -- A shared job takes the locality of whoever claims it, until it waits again.
    shared INTEGER NOT NULL DEFAULT 0 CHECK (shared IN (0, 1)),
    -- Who is told: a list of objects with `url` and, where not every end is told, `on`.
    webhooks TEXT CHECK (webhooks IS NULL OR json_valid(webhooks)),
    -- On its way into `launches`, in the very statement that stores the job; then NULL.
    launch TEXT,
    -- The incarnations of the home in which the files that a launch needs were made, and in which
    -- the current attempt was claimed. NULL: by an older version.
    prepared_in TEXT,
    claimed_in TEXT,
    priority INTEGER NOT NULL DEFAULT 0 CHECK (priority BETWEEN -100 AND 100),
    -- The names of the locks that it holds while it runs: a JSON array, sorted, without doubles.
    locks TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(locks)),
    -- Jobs of one lane have one owner, one priority, and the same gates. One text, since SQLite does
    -- not seek by several columns that come from a join.
    lane TEXT GENERATED ALWAYS AS (
        owner || char(31) || type || char(31) || CASE shared WHEN 1 THEN '' ELSE locality END
        || char(31) || locks || char(31) || priority
    ) VIRTUAL,
    -- The ids of the jobs that it waits for, a JSON array; and whether any end of theirs will do.
    after_ids TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(after_ids)),
    after_any_end INTEGER NOT NULL DEFAULT 0 CHECK (after_any_end IN (0, 1)),
    -- How many jobs that it waits for have not ended; triggers keep it.
    unmet INTEGER NOT NULL DEFAULT 0 CHECK (unmet >= 0),
    -- Equal for jobs that do the same: type, params, directory, environment. Empty: unknown.
    likeness TEXT NOT NULL DEFAULT '',
    if_running TEXT NOT NULL DEFAULT 'start' CHECK (
        if_running IN ('start', 'attach', 'supersede')
    ),
    -- Why its end was asked for, where that was not by a person.
    cancel_reason TEXT CHECK (cancel_reason IN ('superseded')),
    -- The job that took its place.
    superseded_by TEXT,
    retry_of TEXT,
    parent_job_id TEXT,
    -- Whose wish it was: the client's name and version, its project and its session.
    client_name TEXT,
    client_version TEXT,
    project TEXT,
    session TEXT,
    -- The schedule that started it, and for which of its times.
    schedule TEXT,
    fire_at_ms INTEGER,
    CHECK ((schedule IS NULL) = (fire_at_ms IS NULL)),
    CHECK ((finished_at_ms IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    CHECK ((reason IS NOT NULL) = (status IN ('failed', 'cancelled', 'retrying'))),
    CHECK ((claimed_by IS NOT NULL) = (status IN ('running', 'input_required')))
) STRICT;

INSERT INTO jobs_new (
    number, id, owner, locality, type, params, title,
    cwd, status, reason, exit_code, error, result, attempt,
    max_attempts, interrupts, created_at_ms, run_at_ms, started_at_ms, attempt_started_at_ms, finished_at_ms,
    timeout_s, idle_timeout_s, retry_on_interrupt, cancel_requested_at_ms, progress, idempotency_key, fingerprint,
    claim_token, launch_token, claimed_by, attempt_finished_at_ms, output_start, cpu_s, memory_peak_bytes,
    policy, confirm, shared, webhooks, launch, prepared_in, claimed_in
)
SELECT
    number, id, owner, locality, type, params, title,
    cwd, status, reason, exit_code, error, result, attempt,
    max_attempts, interrupts, created_at_ms, run_at_ms, started_at_ms, attempt_started_at_ms, finished_at_ms,
    timeout_s, idle_timeout_s, retry_on_interrupt, cancel_requested_at_ms, progress, idempotency_key, fingerprint,
    claim_token, launch_token, claimed_by, attempt_finished_at_ms, output_start, cpu_s, memory_peak_bytes,
    policy, confirm, shared, webhooks, launch, prepared_in, claimed_in
FROM jobs;

DROP TABLE jobs;
ALTER TABLE jobs_new RENAME TO jobs;

PRAGMA ignore_check_constraints = OFF;

CREATE UNIQUE INDEX jobs_idempotency ON jobs (owner, idempotency_key)
WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_due ON jobs (run_at_ms, number)
WHERE status IN ('pending', 'retrying') AND unmet = 0;
CREATE INDEX jobs_live ON jobs (status, claimed_by) WHERE status IN ('running', 'input_required');
CREATE INDEX jobs_by_end ON jobs (finished_at_ms) WHERE finished_at_ms IS NOT NULL;
CREATE INDEX jobs_by_owner ON jobs (owner, id);
CREATE INDEX jobs_by_status ON jobs (owner, status, id);
CREATE INDEX jobs_by_type ON jobs (owner, type, status, id);
CREATE INDEX jobs_by_cwd ON jobs (owner, cwd, status, id);
-- Who waits with nothing of `after` open: one step for each lane finds the first of its jobs.
CREATE INDEX jobs_waiting ON jobs (lane, run_at_ms, number)
WHERE status IN ('pending', 'retrying') AND unmet = 0;
CREATE INDEX jobs_blocked ON jobs (locality)
WHERE status IN ('pending', 'retrying') AND unmet > 0;
CREATE INDEX jobs_alike ON jobs (owner, likeness)
WHERE status IN ('pending', 'retrying', 'running', 'input_required') AND likeness <> '';
CREATE INDEX jobs_by_project ON jobs (owner, project, status, id);
CREATE INDEX jobs_by_session ON jobs (owner, session, status, id) WHERE session IS NOT NULL;
CREATE UNIQUE INDEX jobs_fired ON jobs (schedule, fire_at_ms) WHERE schedule IS NOT NULL;

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

CREATE TRIGGER jobs_moved AFTER UPDATE OF status ON jobs
WHEN OLD.status <> NEW.status
BEGIN
    UPDATE job_counts SET total = total - 1 WHERE owner = OLD.owner AND status = OLD.status;
    INSERT INTO job_counts (owner, status, total) VALUES (NEW.owner, NEW.status, 1)
    ON CONFLICT (owner, status) DO UPDATE SET total = total + 1;
END;

CREATE TRIGGER jobs_removed AFTER DELETE ON jobs
BEGIN
    UPDATE job_counts SET total = total - 1 WHERE owner = OLD.owner AND status = OLD.status;
    DELETE FROM attempts WHERE job_id = OLD.id;
END;

CREATE TRIGGER jobs_transition BEFORE UPDATE OF status ON jobs
WHEN OLD.status <> NEW.status AND OLD.status NOT IN ('completed', 'failed', 'cancelled') AND NOT (
    (OLD.status = 'pending' AND NEW.status IN ('running', 'cancelled'))
    OR (
        OLD.status = 'running'
        AND NEW.status IN ('completed', 'failed', 'retrying', 'cancelled', 'input_required')
    )
    OR (
        OLD.status = 'input_required'
        AND NEW.status IN ('pending', 'running', 'completed', 'failed', 'retrying', 'cancelled')
    )
    OR (OLD.status = 'retrying' AND NEW.status IN ('running', 'cancelled'))
)
BEGIN
    SELECT RAISE(ABORT, 'illegal transition');
END;

CREATE TRIGGER jobs_attempt_ended AFTER UPDATE OF status ON jobs
WHEN OLD.status IN ('running', 'input_required') AND OLD.claimed_by <> ''
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
    -- Whoever asked is gone; the next attempt asks for itself. Answers stay.
    DELETE FROM questions WHERE job_id = NEW.id AND answer IS NULL;
END;

CREATE TRIGGER jobs_to_confirm AFTER INSERT ON jobs
WHEN NEW.confirm IS NOT NULL
BEGIN
    INSERT INTO questions (job_id, key, message, schema, asked_at_ms)
    VALUES (
        NEW.id, 'confirm', NEW.confirm, '{"type": "object", "properties": {}}', NEW.created_at_ms
    );
END;

CREATE TRIGGER jobs_removed_questions AFTER DELETE ON jobs
BEGIN
    DELETE FROM questions WHERE job_id = OLD.id;
END;

CREATE TRIGGER jobs_removed_with_messages AFTER DELETE ON jobs
BEGIN
    DELETE FROM deliveries WHERE message_id IN (SELECT id FROM outbox WHERE job_id = OLD.id);
    DELETE FROM outbox WHERE job_id = OLD.id;
END;

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

CREATE TRIGGER jobs_turn AFTER UPDATE OF status ON jobs
WHEN NEW.status = 'running' AND OLD.status IN ('pending', 'retrying')
BEGIN
    INSERT INTO turns (owner, turn)
    VALUES (NEW.owner, (SELECT coalesce(max(turn), 0) + 1 FROM turns))
    ON CONFLICT (owner) DO UPDATE SET turn = excluded.turn;
END;

CREATE TRIGGER jobs_announced AFTER UPDATE OF status ON jobs
WHEN NEW.webhooks IS NOT NULL AND OLD.status <> NEW.status
AND NEW.status IN ('completed', 'failed', 'cancelled')
BEGIN
    INSERT INTO outbox (id, job_id, owner, url, created_at_ms, next_attempt_at_ms)
    SELECT
        'msg_' || NEW.id || '_' || hook.key, NEW.id, NEW.owner,
        json_extract(hook.told, '$.url'), NEW.finished_at_ms, NEW.finished_at_ms
    FROM (
        SELECT key, CASE type WHEN 'object' THEN value ELSE '{}' END AS told
        FROM json_each(CASE WHEN json_valid(NEW.webhooks) THEN NEW.webhooks ELSE '[]' END)
    ) AS hook
    WHERE json_type(hook.told, '$.url') = 'text'
    AND (
        json_type(hook.told, '$.on') IS NULL
        OR NEW.status IN (SELECT state.value FROM json_each(hook.told, '$.on') AS state)
    );
END;

CREATE TRIGGER questions_asked AFTER INSERT ON questions
BEGIN
    -- Also when it is input_required already: every question is a change of its job.
    UPDATE jobs SET status = 'input_required'
    WHERE id = NEW.job_id AND status IN ('running', 'input_required') AND claimed_by <> '';
END;

CREATE TRIGGER questions_answered AFTER UPDATE OF answer ON questions
BEGIN
    -- In the middle: it goes on when nothing is left to ask.
    UPDATE jobs SET status = CASE
        WHEN EXISTS (SELECT 1 FROM questions WHERE job_id = NEW.job_id AND answer IS NULL)
            THEN 'input_required'
        ELSE 'running'
    END
    WHERE id = NEW.job_id AND status = 'input_required' AND claimed_by <> '';
    -- Before the first attempt: it may begin, or never will.
    UPDATE jobs SET
        status = CASE json_extract(NEW.answer, '$.action')
            WHEN 'accept' THEN 'pending'
            ELSE 'cancelled'
        END,
        reason = CASE json_extract(NEW.answer, '$.action') WHEN 'accept' THEN NULL ELSE 'declined' END,
        error = CASE json_extract(NEW.answer, '$.action')
            WHEN 'accept' THEN NULL
            ELSE 'Declined before it began.'
        END,
        finished_at_ms = CASE json_extract(NEW.answer, '$.action')
            WHEN 'accept' THEN NULL
            ELSE NEW.answered_at_ms
        END,
        claimed_by = NULL
    WHERE id = NEW.job_id AND status = 'input_required' AND claimed_by = '';
END;

-- Who holds which lock: exactly the jobs of which something runs, or waits in the middle.
CREATE TABLE holds (
    name TEXT NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (name, job_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX holds_of ON holds (job_id);

-- How many may hold a lock at once; one, where nothing stands here.
CREATE TABLE lock_capacities (
    name TEXT NOT NULL PRIMARY KEY,
    capacity INTEGER NOT NULL CHECK (capacity >= 1),
    -- Whether a file of job types said so; what a person said with a command wins.
    declared INTEGER NOT NULL CHECK (declared IN (0, 1))
) STRICT, WITHOUT ROWID;

-- What is not to begin now: everything (with an empty name), a job type, or the users of a lock.
CREATE TABLE pauses (
    kind TEXT NOT NULL CHECK (kind IN ('all', 'type', 'lock')),
    name TEXT NOT NULL,
    paused_by TEXT NOT NULL,
    why TEXT,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, name),
    CHECK ((kind = 'all') = (name = ''))
) STRICT, WITHOUT ROWID;

-- Which job waits for which. A row is made with its job and never changes.
CREATE TABLE dependencies (
    job_id TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    -- Whether any end of the parent will do, or only its completion.
    any_end INTEGER NOT NULL CHECK (any_end IN (0, 1)),
    PRIMARY KEY (job_id, parent_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX dependencies_on ON dependencies (parent_id);

CREATE TRIGGER jobs_take_locks AFTER UPDATE OF status ON jobs
WHEN NEW.locks <> '[]' AND NEW.status = 'running' AND OLD.status IN ('pending', 'retrying')
BEGIN
    INSERT INTO holds (name, job_id) SELECT value, NEW.id FROM json_each(NEW.locks) WHERE true
    ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER jobs_give_locks_back AFTER UPDATE OF status ON jobs
WHEN NEW.locks <> '[]' AND NEW.status NOT IN ('running', 'input_required')
AND OLD.status IN ('running', 'input_required')
BEGIN
    DELETE FROM holds WHERE job_id = NEW.id;
END;

CREATE TRIGGER jobs_depend AFTER INSERT ON jobs
WHEN NEW.after_ids <> '[]'
BEGIN
    INSERT INTO dependencies (job_id, parent_id, any_end)
    SELECT NEW.id, value, NEW.after_any_end FROM json_each(NEW.after_ids) WHERE true
    ON CONFLICT DO UPDATE SET any_end = excluded.any_end;
END;

-- Jobs that do the same end: at once where nothing of them runs; else the new one waits for them.
CREATE TRIGGER jobs_supersede AFTER INSERT ON jobs
WHEN NEW.if_running = 'supersede' AND NEW.likeness <> ''
BEGIN
    INSERT INTO dependencies (job_id, parent_id, any_end)
    SELECT NEW.id, id, 1 FROM jobs
    WHERE owner = NEW.owner AND likeness = NEW.likeness AND number <> NEW.number
    AND status IN ('pending', 'retrying', 'running', 'input_required') AND claimed_by <> ''
    ON CONFLICT DO NOTHING;
    UPDATE jobs SET
        cancel_requested_at_ms = NEW.created_at_ms,
        cancel_reason = 'superseded',
        superseded_by = NEW.id
    WHERE owner = NEW.owner AND likeness = NEW.likeness AND number <> NEW.number
    AND status IN ('pending', 'retrying', 'running', 'input_required') AND claimed_by <> ''
    AND cancel_requested_at_ms IS NULL;
    UPDATE jobs SET
        status = 'cancelled',
        reason = 'superseded',
        exit_code = NULL,
        error = CASE status
            WHEN 'retrying' THEN 'Superseded by job ' || NEW.id || ' before another attempt began.'
            ELSE 'Superseded by job ' || NEW.id || ' before it began.'
        END,
        superseded_by = NEW.id,
        cancel_requested_at_ms = NEW.created_at_ms,
        finished_at_ms = NEW.created_at_ms,
        claimed_by = NULL
    WHERE owner = NEW.owner AND likeness = NEW.likeness AND number <> NEW.number
    AND status IN ('pending', 'retrying', 'running', 'input_required')
    AND (status IN ('pending', 'retrying') OR claimed_by = '');
END;

-- Whoever waited for this end: one that needed a completion ends as well, and so do those that wait
-- for it in turn; of the others one thing less is open. All of them in one statement, since triggers
-- do not call themselves.
CREATE TRIGGER jobs_ended_dependents AFTER UPDATE OF status ON jobs
WHEN NEW.status IN ('completed', 'failed', 'cancelled')
AND EXISTS (SELECT 1 FROM dependencies WHERE parent_id = NEW.id)
BEGIN
    UPDATE jobs SET
        status = 'cancelled',
        reason = 'dependency_failed',
        exit_code = NULL,
        error = CASE
            WHEN EXISTS (
                SELECT 1 FROM dependencies WHERE job_id = jobs.id AND parent_id = NEW.id
            )
            THEN 'It waited for job '
            ELSE 'It waited for a job that could not begin, since it waited for job '
        END || NEW.id || ', which ended as ' || NEW.status || '.',
        finished_at_ms = NEW.finished_at_ms,
        claimed_by = NULL
    WHERE NEW.status <> 'completed' AND id IN (
        WITH RECURSIVE doomed (id) AS (
            SELECT job_id FROM dependencies WHERE parent_id = NEW.id AND NOT any_end
            UNION
            SELECT dependencies.job_id FROM doomed
            JOIN dependencies ON dependencies.parent_id = doomed.id
            WHERE NOT dependencies.any_end
        )
        SELECT id FROM doomed
    )
    AND (status IN ('pending', 'retrying') OR (status = 'input_required' AND claimed_by = ''));
    UPDATE jobs SET unmet = (
        SELECT count(*) FROM dependencies
        JOIN jobs AS parent ON parent.id = dependencies.parent_id
        WHERE dependencies.job_id = jobs.id
        AND parent.status NOT IN ('completed', 'failed', 'cancelled')
    )
    WHERE id IN (
        WITH RECURSIVE ended (id) AS (
            VALUES (NEW.id)
            UNION
            SELECT dependencies.job_id FROM ended
            JOIN dependencies ON dependencies.parent_id = ended.id
            WHERE NOT dependencies.any_end AND NEW.status <> 'completed'
        )
        SELECT dependencies.job_id FROM ended
        JOIN dependencies ON dependencies.parent_id = ended.id
    )
    AND (status IN ('pending', 'retrying') OR (status = 'input_required' AND claimed_by = ''));
END;

CREATE TRIGGER jobs_removed_dependencies AFTER DELETE ON jobs
BEGIN
    DELETE FROM dependencies WHERE job_id = OLD.id;
    DELETE FROM dependencies WHERE parent_id = OLD.id;
END;

-- Whoever waits may begin sooner: all processes are told.
CREATE TRIGGER pauses_lifted AFTER DELETE ON pauses
BEGIN
    INSERT INTO changes (job_id, owner, status, created, at_ms)
    VALUES ('', '', 'gates', 0, CAST(strftime('%s', 'now') AS INTEGER) * 1000);
END;

CREATE TRIGGER capacities_set AFTER UPDATE ON lock_capacities
BEGIN
    INSERT INTO changes (job_id, owner, status, created, at_ms)
    VALUES ('', '', 'gates', 0, CAST(strftime('%s', 'now') AS INTEGER) * 1000);
END;

CREATE TRIGGER capacities_named AFTER INSERT ON lock_capacities
BEGIN
    INSERT INTO changes (job_id, owner, status, created, at_ms)
    VALUES ('', '', 'gates', 0, CAST(strftime('%s', 'now') AS INTEGER) * 1000);
END;
