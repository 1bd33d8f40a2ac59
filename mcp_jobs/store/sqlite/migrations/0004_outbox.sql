-- Jobs that any worker of the store may run, and the webhooks that tell of their end.

-- A shared job takes the locality of whoever claims it, until it waits again.
ALTER TABLE jobs ADD COLUMN shared INTEGER NOT NULL DEFAULT 0 CHECK (shared IN (0, 1));

-- Who is told: a list of objects with `url` and, where not every end is told, `on`.
ALTER TABLE jobs ADD COLUMN webhooks TEXT CHECK (webhooks IS NULL OR json_valid(webhooks));

-- Messages to deliver. A row is written by the very statement that ends its job.
CREATE TABLE outbox (
    id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    url TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    created_at_ms INTEGER NOT NULL,
    -- How many attempts were begun.
    attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    next_attempt_at_ms INTEGER,
    -- The server or worker that delivers it now.
    claimed_by TEXT,
    CHECK ((next_attempt_at_ms IS NOT NULL) = (status = 'pending')),
    CHECK (claimed_by IS NULL OR status = 'pending')
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_due ON outbox (next_attempt_at_ms, id) WHERE status = 'pending';
CREATE INDEX outbox_by_job ON outbox (job_id);

-- Attempts that came to an end; the number of one that was killed is missing.
CREATE TABLE deliveries (
    message_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    finished_at_ms INTEGER NOT NULL,
    http_status INTEGER,
    error TEXT,
    -- NULL: there is no further attempt.
    next_attempt_at_ms INTEGER,
    PRIMARY KEY (message_id, number),
    CHECK (error IS NOT NULL OR next_attempt_at_ms IS NULL)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_announced AFTER UPDATE OF status ON jobs
WHEN NEW.webhooks IS NOT NULL AND OLD.status <> NEW.status
AND NEW.status IN ('completed', 'failed', 'cancelled')
BEGIN
    INSERT INTO outbox (id, job_id, url, created_at_ms, next_attempt_at_ms)
    SELECT
        'msg_' || NEW.id || '_' || hook.key, NEW.id, json_extract(hook.value, '$.url'),
        NEW.finished_at_ms, NEW.finished_at_ms
    FROM json_each(NEW.webhooks) AS hook
    WHERE json_type(hook.value, '$.on') IS NULL
    OR NEW.status IN (SELECT state.value FROM json_each(hook.value, '$.on') AS state);
END;

CREATE TRIGGER deliveries_recorded AFTER INSERT ON deliveries
BEGIN
    UPDATE outbox SET
        status = CASE
            WHEN NEW.error IS NULL THEN 'delivered'
            WHEN NEW.next_attempt_at_ms IS NULL THEN 'failed'
            ELSE 'pending'
        END,
        next_attempt_at_ms = NEW.next_attempt_at_ms,
        claimed_by = NULL
    WHERE id = NEW.message_id;
END;

CREATE TRIGGER jobs_removed_with_messages AFTER DELETE ON jobs
BEGIN
    DELETE FROM deliveries WHERE message_id IN (SELECT id FROM outbox WHERE job_id = OLD.id);
    DELETE FROM outbox WHERE job_id = OLD.id;
END;
