-- Messages about ended jobs.

-- name: claim_delivery
-- Take a message that is due: of the owners with fewer than `most` deliveries under way, in any
-- process, one with the fewest, and of his the one that has been due for longest. The attempt counts
-- from here on, so that one which is killed is counted too.
WITH RECURSIVE waiting (owner) AS (
    SELECT min(owner) FROM outbox WHERE status = 'pending' AND claimed_by IS NULL
    UNION ALL
    SELECT (
        SELECT min(owner) FROM outbox
        WHERE status = 'pending' AND claimed_by IS NULL AND owner > waiting.owner
    )
    FROM waiting WHERE waiting.owner IS NOT NULL
), first (id, under_way) AS (
    SELECT (
        SELECT id FROM outbox
        WHERE status = 'pending' AND claimed_by IS NULL AND owner = waiting.owner
        AND next_attempt_at_ms <= :now_ms
        ORDER BY next_attempt_at_ms, id
        LIMIT 1
    ), (SELECT count(*) FROM outbox WHERE claimed_by IS NOT NULL AND owner = waiting.owner)
    FROM waiting WHERE waiting.owner IS NOT NULL
)
UPDATE outbox SET claimed_by = :claimer, attempt = attempt + 1
WHERE id = (
    SELECT message.id FROM first JOIN outbox AS message ON message.id = first.id
    WHERE first.under_way < :most
    ORDER BY first.under_way, message.next_attempt_at_ms, message.id
    LIMIT 1
)
RETURNING *;

-- name: record_delivery
-- Store how an attempt ended, for the holder of the claim only; the message follows by trigger.
INSERT INTO deliveries (
    message_id, number, started_at_ms, finished_at_ms, http_status, error, next_attempt_at_ms
)
SELECT
    id, attempt, :started_at_ms, :finished_at_ms, :http_status, :error, :next_attempt_at_ms
FROM outbox
WHERE id = :id AND attempt = :number AND claimed_by = :claimer AND status = 'pending'
RETURNING message_id;

-- name: release_deliveries
-- Give back what somebody who is gone had claimed.
UPDATE outbox SET claimed_by = NULL WHERE claimed_by = :claimer AND status = 'pending'
RETURNING id;

-- name: release_delivery
-- Give one message back, whose attempt could not be recorded.
UPDATE outbox SET claimed_by = NULL
WHERE id = :id AND claimed_by = :claimer AND attempt = :attempt AND status = 'pending'
RETURNING id;

-- name: delivery_claimers
-- Who delivers something now.
SELECT DISTINCT claimed_by FROM outbox WHERE status = 'pending' AND claimed_by IS NOT NULL;

-- name: next_delivery
-- When the next message that nobody has claimed is due, but of no owner with `most` under way: the
-- end of one of those tells.
WITH RECURSIVE waiting (owner) AS (
    SELECT min(owner) FROM outbox WHERE status = 'pending' AND claimed_by IS NULL
    UNION ALL
    SELECT (
        SELECT min(owner) FROM outbox
        WHERE status = 'pending' AND claimed_by IS NULL AND owner > waiting.owner
    )
    FROM waiting WHERE waiting.owner IS NOT NULL
)
SELECT min((
    SELECT min(next_attempt_at_ms) FROM outbox
    WHERE status = 'pending' AND claimed_by IS NULL AND owner = waiting.owner
)) AS due_ms
FROM waiting
WHERE waiting.owner IS NOT NULL
AND (SELECT count(*) FROM outbox WHERE claimed_by IS NOT NULL AND owner = waiting.owner) < :most;

-- name: deliveries_before
-- How many messages are under way, or due before a time.
SELECT count(*) AS total FROM outbox
WHERE status = 'pending' AND (claimed_by IS NOT NULL OR next_attempt_at_ms < :before_ms);

-- name: pending_deliveries
-- How many messages are still to be delivered.
SELECT count(*) AS total FROM outbox WHERE status = 'pending';

-- name: messages_of
-- The messages about one job.
SELECT * FROM outbox WHERE job_id = :job_id ORDER BY id;

-- name: deliveries_of
-- The ended attempts to deliver the messages about one job.
SELECT deliveries.* FROM deliveries JOIN outbox ON outbox.id = deliveries.message_id
WHERE outbox.job_id = :job_id ORDER BY message_id, number;
