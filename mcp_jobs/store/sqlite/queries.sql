-- Every statement that the store runs, by name. One statement each; a change of state is one
-- guarded UPDATE, and zero rows returned mean that somebody else was first.

-- name: create_job
-- Accept a job. No row: the owner used this idempotency key before.
INSERT INTO jobs (
    id, owner, locality, type, params, title, cwd, created_at_ms, run_at_ms, max_attempts,
    timeout_s, idle_timeout_s, retry_on_interrupt, idempotency_key, fingerprint, shared,
    webhooks, policy, confirm, launch, prepared_in, status, claimed_by
)
VALUES (
    :id, :owner, :locality, :type, :params, :title, :cwd, :created_at_ms, :run_at_ms,
    :max_attempts, :timeout_s, :idle_timeout_s, :retry_on_interrupt, :idempotency_key,
    :fingerprint, :shared, :webhooks, :policy, :confirm, :launch, :prepared_in,
    CASE WHEN :confirm IS NULL THEN 'pending' ELSE 'input_required' END,
    CASE WHEN :confirm IS NULL THEN NULL ELSE '' END
)
ON CONFLICT (owner, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING *, (
    SELECT count(*) + 1 FROM jobs AS other
    WHERE other.status IN ('pending', 'retrying') AND other.owner = :owner
    AND other.number <> jobs.number
    AND other.run_at_ms <= :run_at_ms
) AS position;

-- name: job_by_key
-- The job that an idempotency key belongs to.
SELECT * FROM jobs WHERE owner = :owner AND idempotency_key = :key;

-- name: job_by_id
-- One job of one owner.
SELECT * FROM jobs WHERE id = :id AND owner = :owner;

-- name: job_by_id_of_anyone
-- One job, for the supervisor.
SELECT * FROM jobs WHERE id = :id;

-- name: claim_due_job
-- Take a due job if a slot is free: the oldest one of the owner who has the fewest running and, of
-- several, was served longest ago. Count, choice and claim are one statement, so no two processes
-- can take the same job or the same slot. A job that waits for a person holds no slot.
UPDATE jobs SET
    status = 'running',
    reason = NULL,
    exit_code = NULL,
    error = NULL,
    progress = NULL,
    attempt = attempt + 1,
    claim_token = claim_token + 1,
    launch_token = claim_token + 1,
    claimed_by = :claimer,
    claimed_in = :incarnation,
    locality = :locality,
    started_at_ms = coalesce(started_at_ms, :now_ms),
    attempt_started_at_ms = :now_ms
WHERE number = (
    -- One step in the index for each owner who waits, however many jobs wait with him.
    WITH RECURSIVE waiting (name) AS (
        SELECT * FROM (
            SELECT owner FROM jobs INDEXED BY jobs_due_of
            WHERE status IN ('pending', 'retrying')
            ORDER BY owner
            LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT owner FROM jobs INDEXED BY jobs_due_of
            WHERE status IN ('pending', 'retrying') AND owner > waiting.name
            ORDER BY owner
            LIMIT 1
        )
        FROM waiting
        WHERE waiting.name IS NOT NULL
    )
    SELECT oldest.number FROM waiting
    JOIN jobs AS oldest ON oldest.number = (
        SELECT number FROM jobs
        WHERE owner = waiting.name AND status IN ('pending', 'retrying') AND run_at_ms <= :now_ms
        AND (locality = :locality OR shared)
        ORDER BY run_at_ms, number
        LIMIT 1
    )
    LEFT JOIN job_counts AS busy ON busy.owner = waiting.name AND busy.status = 'running'
    LEFT JOIN turns ON turns.owner = waiting.name
    ORDER BY coalesce(busy.total, 0), coalesce(turns.turn, 0), oldest.run_at_ms, oldest.number
    LIMIT 1
)
AND (
    SELECT count(*) FROM jobs
    WHERE status IN ('running', 'input_required') AND status = 'running'
) < :capacity
RETURNING *, (
    SELECT count(*) + 1 FROM jobs AS other
    WHERE other.status IN ('running', 'input_required') AND other.status = 'running'
    AND other.number <> jobs.number
) AS running, (
    SELECT min(run_at_ms) FROM jobs
    WHERE status IN ('pending', 'retrying') AND (locality = :locality OR shared)
) AS next_due_ms;

-- name: launch_of
-- How a job is to be run.
SELECT launch FROM launches WHERE job_id = :id;

-- name: keep_launch
-- Take over how a job of an older version is to be run, which only its files say.
INSERT INTO launches (job_id, launch) SELECT id, :launch FROM jobs
WHERE id = :id AND claim_token = :token AND status IN ('running', 'input_required')
ON CONFLICT (job_id) DO NOTHING
RETURNING job_id;

-- name: set_prepared
-- The files that a launch needs have been made anew, for the holder of the claim only.
UPDATE jobs SET prepared_in = :incarnation
WHERE id = :id AND claim_token = :token AND status IN ('running', 'input_required')
RETURNING *;

-- name: take_over_job
-- Adopt a running job from an owner that is gone. The new token makes the old owner's writes void.
UPDATE jobs SET claimed_by = :claimer, claim_token = claim_token + 1
WHERE id = :id AND claimed_by = :previous AND claim_token = :token
RETURNING *;

-- name: settle_job
-- Store how an attempt ended, for the holder of the claim only. A cancel that was asked for
-- meanwhile wins over another attempt.
UPDATE jobs SET
    status = :status,
    reason = :reason,
    exit_code = :exit_code,
    error = :error,
    result = :result,
    claimed_by = NULL,
    attempt_started_at_ms = coalesce(:started_at_ms, attempt_started_at_ms),
    attempt_finished_at_ms = :finished_at_ms,
    finished_at_ms = CASE WHEN :status = 'retrying' THEN NULL ELSE :finished_at_ms END,
    output_start = :output_start,
    cpu_s = :cpu_s,
    memory_peak_bytes = :memory_peak_bytes,
    run_at_ms = coalesce(:run_at_ms, run_at_ms),
    interrupts = interrupts + (:status = 'retrying' AND :reason = 'interrupted')
WHERE id = :id AND claim_token = :token AND status IN ('running', 'input_required')
AND NOT (:status = 'retrying' AND cancel_requested_at_ms IS NOT NULL)
RETURNING *;

-- name: set_progress
-- Store how far the current attempt is, for the holder of the claim only.
UPDATE jobs SET progress = :progress
WHERE id = :id AND claim_token = :token AND status IN ('running', 'input_required')
AND claimed_by <> ''
RETURNING *;

-- name: cancel_waiting_job
-- Cancel a job of which nothing runs.
UPDATE jobs SET
    status = 'cancelled',
    reason = 'cancelled_by_user',
    exit_code = NULL,
    error = CASE status
        WHEN 'retrying' THEN 'Cancelled on request before another attempt began.'
        ELSE 'Cancelled on request before it began.'
    END,
    cancel_requested_at_ms = :now_ms,
    finished_at_ms = :now_ms,
    claimed_by = NULL
WHERE id = :id AND owner = :owner
AND (status IN ('pending', 'retrying') OR (status = 'input_required' AND claimed_by = ''))
RETURNING *;

-- name: request_cancel
-- Ask for the end of a running job; `cancelled` follows when its processes are gone.
UPDATE jobs SET cancel_requested_at_ms = :now_ms
WHERE id = :id AND owner = :owner AND status IN ('running', 'input_required')
AND claimed_by <> '' AND cancel_requested_at_ms IS NULL
RETURNING *;

-- name: ask_question
-- A running job asks, for the holder of the claim only. No row: it has asked this before, or the
-- claim is lost, or the job is being stopped.
INSERT INTO questions (job_id, key, message, schema, asked_at_ms)
SELECT id, :key, :message, :schema, :asked_at_ms FROM jobs
WHERE id = :id AND claim_token = :token AND status IN ('running', 'input_required')
AND claimed_by <> '' AND cancel_requested_at_ms IS NULL
ON CONFLICT (job_id, key) DO NOTHING
RETURNING *;

-- name: answer_question
-- The first answer counts. What it does to the job is done by a trigger.
UPDATE questions SET answer = :answer, answered_at_ms = :now_ms
WHERE job_id = :id AND key = :key AND answer IS NULL
AND EXISTS (
    SELECT 1 FROM jobs
    WHERE id = :id AND owner = :owner AND status = 'input_required'
    AND cancel_requested_at_ms IS NULL
)
RETURNING *;

-- name: questions_of
-- What a job has asked, first to last, with the answers that there are.
SELECT * FROM questions WHERE job_id = :id ORDER BY asked_at_ms, key;

-- name: reset_future_run_at
-- After the wall clock was set back, jobs that should be due would wait for it to catch up. An
-- immediate job is due since it was created, and no retry waits for longer than the longest pause,
-- unless it asked for that: then the end of its last attempt is still in the past.
UPDATE jobs SET run_at_ms = :now_ms
WHERE status IN ('pending', 'retrying') AND run_at_ms > :now_ms
AND (
    (status = 'pending' AND run_at_ms = created_at_ms)
    OR (
        status = 'retrying' AND run_at_ms > :now_ms + :longest_pause_ms
        AND attempt_finished_at_ms > :now_ms
    )
)
RETURNING id;

-- name: future_jobs
-- Whether `reset_future_run_at` has anything to do.
SELECT id FROM jobs
WHERE status IN ('pending', 'retrying') AND run_at_ms > :now_ms
AND (
    (status = 'pending' AND run_at_ms = created_at_ms)
    OR (
        status = 'retrying' AND run_at_ms > :now_ms + :longest_pause_ms
        AND attempt_finished_at_ms > :now_ms
    )
)
LIMIT 1;

-- name: next_due
-- When the next waiting job is due here.
SELECT min(run_at_ms) AS run_at_ms FROM jobs
WHERE status IN ('pending', 'retrying') AND (locality = :locality OR shared);

-- name: running_jobs
-- Running jobs, wherever they run, and who supervises them; but of one owner only those that
-- somebody wants something of.
SELECT * FROM jobs WHERE status IN ('running', 'input_required') AND claimed_by <> ''
AND (
    claimed_by <> :needing_care_of
    OR cancel_requested_at_ms IS NOT NULL
    OR EXISTS (SELECT 1 FROM questions WHERE job_id = jobs.id AND answer IS NOT NULL)
);

-- name: waiting_or_running
-- How many jobs have not ended, and wait for nobody's leave to begin.
SELECT (
    SELECT count(*) FROM jobs
    WHERE status IN ('pending', 'retrying') AND (locality = :locality OR shared)
) + (
    SELECT count(*) FROM jobs
    WHERE status IN ('running', 'input_required') AND claimed_by <> '' AND locality = :locality
) AS total;

-- name: queue_position
-- How many jobs of the same owner are due before this one, counting from 1.
SELECT count(*) + 1 AS position FROM jobs AS other
JOIN jobs AS mine ON mine.id = :id
WHERE other.status IN ('pending', 'retrying') AND other.owner = mine.owner
AND (other.run_at_ms, other.number) < (mine.run_at_ms, mine.number);

-- name: attempts_of
-- The ended attempts of one job.
SELECT * FROM attempts WHERE job_id = :id ORDER BY number;

-- name: counts
-- How many jobs an owner has, by state.
SELECT status, total FROM job_counts WHERE owner = :owner;

-- name: totals
-- How many jobs there are, by state, for whoever runs the server.
SELECT status, sum(total) AS total FROM job_counts GROUP BY status;

-- name: running_count
-- How many slots are taken. By the index of what lives, not by the counts of all owners.
SELECT count(*) AS total FROM jobs
WHERE status IN ('running', 'input_required') AND status = 'running';

-- name: recent_ids
-- The newest ids of an owner, for "did you mean".
SELECT id FROM jobs WHERE owner = :owner ORDER BY id DESC LIMIT :limit;

-- name: matching_ids
-- Ids that begin with some characters. '~' comes after every letter of an id.
SELECT id FROM jobs
WHERE owner = :owner AND id >= :part AND id < :part || '~'
ORDER BY id DESC
LIMIT :limit;

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
    'pending', 'running', 'retrying', 'input_required', 'completed', 'failed', 'cancelled'
)
ORDER BY seq LIMIT :limit;

-- name: remove_expired
-- Forget some jobs that ended before a moment, but not one whose end is still to be told. Their
-- attempts, counts and messages follow by trigger.
DELETE FROM jobs
WHERE number IN (
    SELECT number FROM jobs WHERE finished_at_ms < :before_ms
    AND NOT EXISTS (SELECT 1 FROM outbox WHERE job_id = jobs.id AND status = 'pending')
    ORDER BY finished_at_ms LIMIT :limit
)
RETURNING id;

-- name: remove_surplus
-- Forget some ended jobs, oldest first, beyond the newest `keep` jobs of all.
DELETE FROM jobs
WHERE number IN (
    SELECT number FROM jobs
    WHERE number <= (SELECT number FROM jobs ORDER BY number DESC LIMIT 1 OFFSET :keep)
    AND finished_at_ms IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM outbox WHERE job_id = jobs.id AND status = 'pending')
    ORDER BY number LIMIT :limit
)
RETURNING id;

-- name: states_of
-- Which of these ids exist, and in which state.
SELECT id, status FROM jobs WHERE id IN (SELECT value FROM json_each(:ids));

-- name: prune_changes
-- Forget changes that every living reader has seen long ago. The newest row stays.
DELETE FROM changes
WHERE seq IN (
    SELECT seq FROM (SELECT seq, at_ms FROM changes ORDER BY seq LIMIT :limit)
    WHERE at_ms < :before_ms AND seq < (SELECT max(seq) FROM changes)
)
RETURNING seq;

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
