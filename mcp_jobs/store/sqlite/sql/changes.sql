-- What has changed, for every process that shares the file.

-- name: last_change
-- Where the log of changes ends now.
SELECT coalesce(max(seq), 0) AS seq FROM changes;

-- name: first_change
-- Where the log of changes begins now; what came before is forgotten.
SELECT coalesce(min(seq), 0) AS seq FROM changes;

-- name: changes_after
-- What changed since, oldest first.
SELECT seq, job_id, owner, status, created FROM changes
WHERE seq > :seq AND status IN (
    'pending', 'running', 'retrying', 'input_required', 'completed', 'failed', 'cancelled', 'gates',
    'schedules'
)
ORDER BY seq LIMIT :limit;

-- name: prune_changes
-- Forget changes that every living reader has seen long ago. The newest row stays.
DELETE FROM changes
WHERE seq IN (
    SELECT seq FROM (SELECT seq, at_ms FROM changes ORDER BY seq LIMIT :limit)
    WHERE at_ms < :before_ms AND seq < (SELECT max(seq) FROM changes)
)
RETURNING seq;
