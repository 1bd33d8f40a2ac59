-- How many jobs of an owner are in which state in each project, so that nobody counts a history.
CREATE TABLE project_counts (
    owner TEXT NOT NULL,
    project TEXT NOT NULL,
    status TEXT NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (owner, project, status)
) STRICT, WITHOUT ROWID;

INSERT INTO project_counts (owner, project, status, total)
SELECT owner, project, status, count(*) FROM jobs WHERE project IS NOT NULL
GROUP BY owner, project, status;

CREATE TRIGGER jobs_created_in_project AFTER INSERT ON jobs
WHEN NEW.project IS NOT NULL
BEGIN
    INSERT INTO project_counts (owner, project, status, total)
    VALUES (NEW.owner, NEW.project, NEW.status, 1)
    ON CONFLICT DO UPDATE SET total = total + 1;
END;

CREATE TRIGGER jobs_moved_in_project AFTER UPDATE OF status ON jobs
WHEN OLD.status <> NEW.status AND NEW.project IS NOT NULL
BEGIN
    UPDATE project_counts SET total = total - 1
    WHERE owner = OLD.owner AND project = OLD.project AND status = OLD.status;
    INSERT INTO project_counts (owner, project, status, total)
    VALUES (NEW.owner, NEW.project, NEW.status, 1)
    ON CONFLICT DO UPDATE SET total = total + 1;
END;

CREATE TRIGGER jobs_removed_from_project AFTER DELETE ON jobs
WHEN OLD.project IS NOT NULL
BEGIN
    UPDATE project_counts SET total = total - 1
    WHERE owner = OLD.owner AND project = OLD.project AND status = OLD.status;
    DELETE FROM project_counts WHERE owner = OLD.owner AND project = OLD.project AND total <= 0;
END;
