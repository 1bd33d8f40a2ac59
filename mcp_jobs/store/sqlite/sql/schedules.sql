-- name: add_schedule
-- Store a schedule, unless its name is taken or its owner has too many.
INSERT INTO schedules (
    id, owner, name, type, params, cron, timezone, overlap, catchup_s, cwd, project, declared_in,
    shared, created_at_ms, next_fire_at_ms
)
SELECT
    :id, :owner, :name, :type, :params, :cron, :timezone, :overlap, :catchup_s, :cwd, :project,
    :declared_in, :shared, :created_at_ms, :next_fire_at_ms
WHERE (SELECT count(*) FROM schedules WHERE owner = :owner) < :most
ON CONFLICT DO NOTHING
RETURNING id;

-- name: declare_schedule
-- Store what a file declares. Another rule has other times; the same one keeps its next.
INSERT INTO schedules (
    id, owner, name, type, params, cron, timezone, overlap, catchup_s, cwd, project, declared_in,
    shared, created_at_ms, next_fire_at_ms
)
VALUES (
    :id, :owner, :name, :type, :params, :cron, :timezone, :overlap, :catchup_s, :cwd, :project,
    :declared_in, :shared, :created_at_ms, :next_fire_at_ms
)
ON CONFLICT (owner, coalesce(declared_in, ''), name) DO UPDATE SET
    type = excluded.type,
    params = excluded.params,
    overlap = excluded.overlap,
    catchup_s = excluded.catchup_s,
    cwd = excluded.cwd,
    project = excluded.project,
    next_fire_at_ms = CASE
        WHEN (schedules.cron, schedules.timezone) = (excluded.cron, excluded.timezone)
            THEN schedules.next_fire_at_ms
        ELSE excluded.next_fire_at_ms
    END,
    cron = excluded.cron,
    timezone = excluded.timezone,
    problem = NULL
WHERE (
    schedules.type, schedules.params, schedules.overlap, schedules.catchup_s, schedules.cron,
    schedules.timezone
) <> (
    excluded.type, excluded.params, excluded.overlap, excluded.catchup_s, excluded.cron,
    excluded.timezone
)
OR schedules.cwd IS NOT excluded.cwd OR schedules.project IS NOT excluded.project
RETURNING id;

-- name: remove_schedule
-- Forget a schedule; its jobs stay.
DELETE FROM schedules
WHERE id = :id AND NOT (:unless_paused AND paused_at_ms IS NOT NULL)
RETURNING id;

-- name: schedule_by_id
-- One schedule of anybody.
SELECT * FROM schedules WHERE id = :id;

-- name: schedules_of
-- The schedules of an owner, or of all.
SELECT * FROM schedules WHERE :owner IS NULL OR owner = :owner ORDER BY name, number;

-- name: schedules_in_file
-- Those that a file declares.
SELECT * FROM schedules WHERE declared_in = :file ORDER BY name;

-- name: due_schedules
-- Those that are due.
SELECT * FROM schedules WHERE paused_at_ms IS NULL AND next_fire_at_ms <= :now_ms AND (NOT shared OR :shared)
ORDER BY next_fire_at_ms, number LIMIT :limit;

-- name: next_due_schedule
-- When the next one will be due that is not yet.
SELECT min(next_fire_at_ms) AS next_ms FROM schedules
WHERE paused_at_ms IS NULL AND next_fire_at_ms > :after_ms;

-- name: advance_schedule
-- Store what became of a fire, once.
UPDATE schedules SET
    next_fire_at_ms = :next_fire_at_ms,
    last_fire_at_ms = coalesce(:fire_at_ms, last_fire_at_ms),
    missed = missed + :missed,
    skipped = skipped + :skipped,
    problem = :problem
WHERE id = :id AND paused_at_ms IS NULL AND next_fire_at_ms = :seen_ms
RETURNING id;

-- name: pause_schedule
-- Hold a schedule.
UPDATE schedules SET paused_by = :by, paused_why = :why, paused_at_ms = :now_ms
WHERE id = :id AND paused_at_ms IS NULL
RETURNING id;

-- name: resume_schedule
-- Let a schedule go on, with the next of its times: those that have passed are not made up for.
UPDATE schedules SET
    paused_by = NULL, paused_why = NULL, paused_at_ms = NULL, next_fire_at_ms = :next_fire_at_ms
WHERE id = :id AND paused_at_ms IS NOT NULL
RETURNING id;

-- name: jobs_of_schedule
-- What a schedule has started, newest first.
SELECT * FROM jobs WHERE schedule = :id ORDER BY fire_at_ms DESC LIMIT :limit;

-- name: unfinished_of_schedule
-- What of it has not ended.
SELECT * FROM jobs INDEXED BY jobs_scheduled
WHERE schedule = :id AND status IN ('pending', 'retrying', 'running', 'input_required')
ORDER BY number;
