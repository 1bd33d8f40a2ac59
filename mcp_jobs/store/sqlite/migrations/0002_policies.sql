-- The rules that a job's type gave it: retries, success codes, limits. See policy.py.

ALTER TABLE jobs ADD COLUMN policy TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(policy));
