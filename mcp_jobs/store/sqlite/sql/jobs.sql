-- Every statement that the store runs, by name. One statement each; a change of state is one
-- guarded UPDATE, and zero rows returned mean that somebody else was first.

-- name: create_job
-- Accept a job. No row: the owner used this idempotency key before; or a job that does the same has
-- not ended, and is to be attached to; or a job that it waits for is unknown or came to nothing.
INSERT INTO jobs (
    id, owner, locality, type, params, title, cwd, created_at_ms, run_at_ms, max_attempts,
    timeout_s, idle_timeout_s, retry_on_interrupt, idempotency_key, fingerprint, shared,
    webhooks, policy, confirm, launch, prepared_in, status, claimed_by, priority, locks,
    after_ids, after_any_end, unmet, likeness, if_running, retry_of, parent_job_id, client_name,
    client_version, project, session, schedule, fire_at_ms
)
SELECT
    :id, :owner, :locality, :type, :params, :title, :cwd, :created_at_ms, :run_at_ms,
    :max_attempts, :timeout_s, :idle_timeout_s, :retry_on_interrupt, :idempotency_key,
    :fingerprint, :shared, :webhooks, :policy, :confirm, :launch, :prepared_in,
    CASE WHEN :confirm IS NULL THEN 'pending' ELSE 'input_required' END,
    CASE WHEN :confirm IS NULL THEN NULL ELSE '' END,
    :priority, :locks, :after_ids, :after_any_end,
    (
        SELECT count(*) FROM jobs AS parent
        WHERE (
            parent.id IN (SELECT value FROM json_each(:after_ids))
            AND parent.status NOT IN ('completed', 'failed', 'cancelled')
        )
        OR (
            :if_running = 'supersede' AND parent.owner = :owner AND parent.likeness = :likeness
            AND parent.status IN ('pending', 'retrying', 'running', 'input_required')
            AND parent.likeness <> '' AND parent.claimed_by <> ''
        )
    ),
    :likeness, :if_running, :retry_of, :parent_job_id, :client_name, :client_version, :project,
    :session, :schedule, :fire_at_ms
WHERE NOT (:if_running = 'attach' AND EXISTS (
    SELECT 1 FROM jobs
    WHERE owner = :owner AND likeness = :likeness AND likeness <> ''
    AND status IN ('pending', 'retrying', 'running', 'input_required')
))
AND NOT EXISTS (
    SELECT 1 FROM json_each(:after_ids) AS wanted
    LEFT JOIN jobs AS parent ON parent.id = wanted.value AND parent.owner = :owner
    WHERE parent.id IS NULL
    OR (parent.status IN ('failed', 'cancelled') AND NOT :after_any_end)
)
ON CONFLICT DO NOTHING
RETURNING *, (
    SELECT count(*) + 1 FROM jobs AS other
    WHERE other.status IN ('pending', 'retrying') AND other.owner = :owner
    AND other.number <> jobs.number
    AND (
        other.priority > :priority
        OR (other.priority = :priority AND other.run_at_ms <= :run_at_ms)
    )
) AS position;

-- name: job_fired
-- The job that a schedule started for one of its times.
SELECT * FROM jobs WHERE schedule = :schedule AND fire_at_ms = :fire_at_ms;

-- name: job_alike
-- The job of an owner that does the same and has not ended, the newest of several.
SELECT * FROM jobs
WHERE owner = :owner AND likeness = :likeness AND likeness <> ''
AND status IN ('pending', 'retrying', 'running', 'input_required')
ORDER BY number DESC LIMIT 1;

-- name: job_by_key
-- The job that an idempotency key belongs to.
SELECT * FROM jobs WHERE owner = :owner AND idempotency_key = :key;

-- name: job_by_id
-- One job of one owner.
SELECT * FROM jobs WHERE id = :id AND owner = :owner;

-- name: job_by_id_of_anyone
-- One job, for the supervisor.
SELECT * FROM jobs WHERE id = :id;

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
    reason = CASE :reason
        WHEN 'cancelled_by_user' THEN coalesce(cancel_reason, :reason)
        ELSE :reason
    END,
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

-- name: running_jobs
-- Running jobs, wherever they run, and who supervises them; but of one owner only those that
-- somebody wants something of.
SELECT * FROM jobs WHERE status IN ('running', 'input_required') AND claimed_by <> ''
AND (
    claimed_by <> :needing_care_of
    OR cancel_requested_at_ms IS NOT NULL
    OR EXISTS (SELECT 1 FROM questions WHERE job_id = jobs.id AND answer IS NOT NULL)
);

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

-- name: remove_expired
-- Forget some jobs that ended before a moment, but not one whose end is still to be told, or for which another one waits. Their
-- attempts, counts and messages follow by trigger.
DELETE FROM jobs
WHERE number IN (
    SELECT number FROM jobs WHERE finished_at_ms < :before_ms
    AND NOT EXISTS (SELECT 1 FROM outbox WHERE job_id = jobs.id AND status = 'pending')
    AND NOT EXISTS (
        SELECT 1 FROM dependencies JOIN jobs AS child ON child.id = dependencies.job_id
        WHERE dependencies.parent_id = jobs.id
        AND child.status NOT IN ('completed', 'failed', 'cancelled')
    )
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
    AND NOT EXISTS (
        SELECT 1 FROM dependencies JOIN jobs AS child ON child.id = dependencies.job_id
        WHERE dependencies.parent_id = jobs.id
        AND child.status NOT IN ('completed', 'failed', 'cancelled')
    )
    ORDER BY number LIMIT :limit
)
RETURNING id;

-- name: states_of
-- Which of these ids exist, and in which state.
SELECT id, status FROM jobs WHERE id IN (SELECT value FROM json_each(:ids));
