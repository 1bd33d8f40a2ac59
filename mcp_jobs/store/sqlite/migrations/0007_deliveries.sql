-- Whose message it is, so that no owner's deliveries wait for another's; and no webhook that makes
-- no sense keeps its job from ending.

ALTER TABLE outbox ADD COLUMN owner TEXT NOT NULL DEFAULT '';
UPDATE outbox SET owner = coalesce((SELECT owner FROM jobs WHERE jobs.id = outbox.job_id), '');

DROP INDEX outbox_due;
CREATE INDEX outbox_due_of ON outbox (owner, next_attempt_at_ms, id)
WHERE status = 'pending' AND claimed_by IS NULL;
CREATE INDEX outbox_under_way ON outbox (owner) WHERE claimed_by IS NOT NULL;
-- What is still to be told is counted without the history.
CREATE INDEX outbox_pending ON outbox (job_id) WHERE status = 'pending';

DROP TRIGGER jobs_announced;

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
