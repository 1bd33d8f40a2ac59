-- What jobs ask people: for leave to begin, or for input in the middle.
--
-- A job is input_required exactly as long as a question of it has no answer. Triggers see to that,
-- so that a question and the state it leads to are one step.
--
-- A job that must be confirmed is input_required before its first attempt. Nobody supervises it
-- then: its claimed_by is the empty text, which is no owner's id.

ALTER TABLE jobs ADD COLUMN confirm TEXT;

CREATE TABLE questions (
    job_id TEXT NOT NULL,
    key TEXT NOT NULL,
    message TEXT NOT NULL,
    -- What the answer must look like: a flat JSON Schema.
    schema TEXT NOT NULL CHECK (json_valid(schema)),
    asked_at_ms INTEGER NOT NULL,
    answer TEXT CHECK (
        answer IS NULL
        OR json_extract(answer, '$.action') IN ('accept', 'decline', 'cancel')
    ),
    answered_at_ms INTEGER,
    PRIMARY KEY (job_id, key),
    CHECK ((answer IS NULL) = (answered_at_ms IS NULL))
) STRICT, WITHOUT ROWID;

DROP TRIGGER jobs_transition;

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

DROP TRIGGER jobs_attempt_ended;

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

CREATE TRIGGER questions_asked AFTER INSERT ON questions
BEGIN
    -- Also when it is input_required already: every question is a change of its job.
    UPDATE jobs SET status = 'input_required'
    WHERE id = NEW.job_id AND status IN ('running', 'input_required') AND claimed_by <> '';
END;

CREATE TRIGGER questions_final BEFORE UPDATE ON questions
WHEN OLD.answer IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'an answer never changes');
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
