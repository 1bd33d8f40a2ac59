-- Which waiting job begins, when, and what holds it up.

-- name: claim_due_job
-- Take a due job if a slot is free and nothing holds it up: of the owner who has the fewest running
-- and, of several, was served longest ago; of his the one of the highest priority, then the one that
-- is due for longest. Count, choice, claim and its locks are one statement, so no two processes can
-- take the same job, the same slot or the same lock. A job that waits for a person holds no slot.
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
    -- One step in the index for each lane, however many jobs wait in it: the first of them is the one
    -- that is due for longest.
    WITH RECURSIVE heads (number) AS (
        SELECT * FROM (
            SELECT number FROM jobs INDEXED BY jobs_waiting
            WHERE status IN ('pending', 'retrying') AND unmet = 0
            ORDER BY lane, run_at_ms, number
            LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT following.number FROM jobs AS following INDEXED BY jobs_waiting
            WHERE following.status IN ('pending', 'retrying') AND following.unmet = 0
            AND following.lane > head.lane
            ORDER BY following.lane, following.run_at_ms, following.number
            LIMIT 1
        )
        FROM heads JOIN jobs AS head ON head.number = heads.number
    )
    SELECT head.number FROM heads
    JOIN jobs AS head ON head.number = heads.number
    LEFT JOIN job_counts AS busy ON busy.owner = head.owner AND busy.status = 'running'
    LEFT JOIN turns ON turns.owner = head.owner
    WHERE head.run_at_ms <= :now_ms AND (head.locality = :locality OR head.shared)
    AND NOT EXISTS (
        SELECT 1 FROM pauses WHERE kind = 'all' OR (kind = 'type' AND name = head.type)
    )
    AND (head.locks = '[]' OR NOT EXISTS (
        SELECT 1 FROM json_each(head.locks) AS lock
        WHERE EXISTS (SELECT 1 FROM pauses WHERE kind = 'lock' AND name = lock.value)
        OR (SELECT count(*) FROM holds WHERE name = lock.value) >= coalesce(
            (SELECT capacity FROM lock_capacities WHERE name = lock.value), 1
        )
    ))
    ORDER BY coalesce(busy.total, 0), coalesce(turns.turn, 0), head.priority DESC,
        head.run_at_ms, head.number
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
    SELECT min(run_at_ms) FROM jobs INDEXED BY jobs_due
    WHERE status IN ('pending', 'retrying') AND (locality = :locality OR shared) AND unmet = 0
) AS next_due_ms;

-- name: reset_future_run_at
-- After the wall clock was set back, jobs that should be due would wait for it to catch up. An
-- immediate job is due since it was created, and no retry waits for longer than the longest pause,
-- unless it asked for that: then the end of its last attempt is still in the past.
UPDATE jobs SET run_at_ms = :now_ms
WHERE status IN ('pending', 'retrying') AND unmet = 0 AND run_at_ms > :now_ms
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
WHERE status IN ('pending', 'retrying') AND unmet = 0 AND run_at_ms > :now_ms
AND (
    (status = 'pending' AND run_at_ms = created_at_ms)
    OR (
        status = 'retrying' AND run_at_ms > :now_ms + :longest_pause_ms
        AND attempt_finished_at_ms > :now_ms
    )
)
LIMIT 1;

-- name: next_due
-- Since when something is due here that waits for no other job, when the next one will be, and how
-- many run.
SELECT
    (
        SELECT min(run_at_ms) FROM jobs INDEXED BY jobs_due
        WHERE status IN ('pending', 'retrying') AND (locality = :locality OR shared) AND unmet = 0
        AND run_at_ms <= :now_ms
    ) AS since_ms,
    (
        SELECT min(run_at_ms) FROM jobs INDEXED BY jobs_due
        WHERE status IN ('pending', 'retrying') AND (locality = :locality OR shared) AND unmet = 0
        AND run_at_ms > :now_ms
    ) AS next_ms,
    (
        SELECT count(*) FROM jobs
        WHERE status IN ('running', 'input_required') AND status = 'running'
    ) AS running;

-- name: waiting_or_running
-- How many jobs have not ended, and wait for nobody's leave to begin.
SELECT (
    SELECT count(*) FROM jobs
    WHERE status IN ('pending', 'retrying') AND unmet = 0 AND (locality = :locality OR shared)
) + (
    SELECT count(*) FROM jobs
    WHERE status IN ('pending', 'retrying') AND unmet > 0 AND (locality = :locality OR shared)
) + (
    SELECT count(*) FROM jobs
    WHERE status IN ('running', 'input_required') AND claimed_by <> '' AND locality = :locality
) AS total;

-- name: queue_position
-- How many jobs of the same owner come before this one, counting from 1.
SELECT count(*) + 1 AS position FROM jobs AS other
JOIN jobs AS mine ON mine.id = :id
WHERE other.status IN ('pending', 'retrying') AND other.owner = mine.owner
AND (-other.priority, other.run_at_ms, other.number)
    < (-mine.priority, mine.run_at_ms, mine.number);

-- name: obstacles
-- What may hold up some waiting jobs; one statement, so that all of it is so at one moment.
SELECT
    jobs.id, jobs.attempt,
    (
        SELECT json_group_array(json_object(
            'kind', kind, 'name', name, 'paused_by', paused_by, 'why', why, 'at_ms', at_ms
        )) FROM pauses
        WHERE kind = 'all' OR (kind = 'type' AND name = jobs.type)
        OR (kind = 'lock' AND name IN (SELECT value FROM json_each(jobs.locks)))
    ) AS pauses,
    (
        SELECT count(*) FROM jobs
        WHERE status IN ('running', 'input_required') AND status = 'running'
    ) AS running,
    (
        SELECT json_group_array(lock.value) FROM json_each(jobs.locks) AS lock
        WHERE (SELECT count(*) FROM holds WHERE name = lock.value) >= coalesce(
            (SELECT capacity FROM lock_capacities WHERE name = lock.value), 1
        )
    ) AS taken_locks,
    (
        SELECT json_group_array(holder.id) FROM json_each(jobs.locks) AS lock
        JOIN holds ON holds.name = lock.value
        JOIN jobs AS holder ON holder.id = holds.job_id AND holder.owner = jobs.owner
        WHERE (SELECT count(*) FROM holds WHERE name = lock.value) >= coalesce(
            (SELECT capacity FROM lock_capacities WHERE name = lock.value), 1
        )
    ) AS holders,
    (
        SELECT json_group_array(parent.id) FROM dependencies
        JOIN jobs AS parent ON parent.id = dependencies.parent_id
        WHERE dependencies.job_id = jobs.id
        AND parent.status NOT IN ('completed', 'failed', 'cancelled')
    ) AS open_parents
FROM jobs
WHERE id IN (SELECT value FROM json_each(:ids)) AND status IN ('pending', 'retrying');

-- name: ready_before
-- How many jobs of the same owner come before this one and are held up by nothing, at most :most.
SELECT count(*) AS total FROM (
    SELECT 1 FROM jobs AS mine JOIN jobs AS other ON other.owner = mine.owner
    WHERE mine.id = :id AND other.status IN ('pending', 'retrying') AND other.unmet = 0
    AND other.run_at_ms <= :now_ms
    AND (-other.priority, other.run_at_ms, other.number)
        < (-mine.priority, mine.run_at_ms, mine.number)
    AND NOT EXISTS (
        SELECT 1 FROM pauses WHERE kind = 'all' OR (kind = 'type' AND name = other.type)
    )
    AND (other.locks = '[]' OR NOT EXISTS (
        SELECT 1 FROM json_each(other.locks) AS lock
        WHERE EXISTS (SELECT 1 FROM pauses WHERE kind = 'lock' AND name = lock.value)
        OR (SELECT count(*) FROM holds WHERE name = lock.value) >= coalesce(
            (SELECT capacity FROM lock_capacities WHERE name = lock.value), 1
        )
    ))
    LIMIT :most
);

-- name: pause
-- Hold something; what is held already stays as it is.
INSERT INTO pauses (kind, name, paused_by, why, at_ms)
VALUES (:kind, :name, :paused_by, :why, :at_ms)
ON CONFLICT DO NOTHING
RETURNING kind;

-- name: resume
-- Let something go on.
DELETE FROM pauses WHERE kind = :kind AND name = :name RETURNING *;

-- name: pauses
-- What is held, since when and by whom.
SELECT * FROM pauses ORDER BY kind, name;

-- name: set_capacity
-- How many may hold a lock. What a file declares does not change what a person said.
INSERT INTO lock_capacities (name, capacity, declared) VALUES (:name, :capacity, :declared)
ON CONFLICT (name) DO UPDATE SET capacity = excluded.capacity, declared = excluded.declared
WHERE excluded.declared <= lock_capacities.declared
AND (lock_capacities.capacity, lock_capacities.declared)
    <> (excluded.capacity, excluded.declared)
RETURNING name;

-- name: locks
-- Every lock that is held, waited for or declared.
SELECT name, coalesce((SELECT capacity FROM lock_capacities WHERE name = named.name), 1) AS capacity,
    (SELECT json_group_array(job_id) FROM holds WHERE name = named.name) AS holders,
    (
        SELECT count(*) FROM jobs INDEXED BY jobs_waiting, json_each(jobs.locks) AS lock
        WHERE status IN ('pending', 'retrying') AND unmet = 0 AND locks <> '[]'
        AND lock.value = named.name
    ) AS waiting
FROM (
    SELECT name FROM holds UNION SELECT name FROM lock_capacities
    UNION
    SELECT lock.value FROM jobs INDEXED BY jobs_waiting, json_each(jobs.locks) AS lock
    WHERE status IN ('pending', 'retrying') AND unmet = 0 AND locks <> '[]'
) AS named
ORDER BY name;

-- name: set_priority
-- Let a waiting job come sooner or later.
UPDATE jobs SET priority = :priority
WHERE id = :id AND owner = :owner AND (
    status IN ('pending', 'retrying') OR (status = 'input_required' AND claimed_by = '')
)
RETURNING *;
