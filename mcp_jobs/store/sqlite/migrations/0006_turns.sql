-- Fair shares of the slots: whose turn it is when several owners wait.

-- Which owner waits, and the oldest due job of each.
CREATE INDEX jobs_due_of ON jobs (owner, run_at_ms, number)
WHERE status IN ('pending', 'retrying');

-- When each owner got a slot last: a rising number, since several come in one millisecond.
CREATE TABLE turns (
    owner TEXT NOT NULL PRIMARY KEY,
    turn INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX turns_last ON turns (turn);

CREATE TRIGGER jobs_turn AFTER UPDATE OF status ON jobs
WHEN NEW.status = 'running' AND OLD.status IN ('pending', 'retrying')
BEGIN
    INSERT INTO turns (owner, turn)
    VALUES (NEW.owner, (SELECT coalesce(max(turn), 0) + 1 FROM turns))
    ON CONFLICT (owner) DO UPDATE SET turn = excluded.turn;
END;
