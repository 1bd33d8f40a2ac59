"""The detached side: launcher, runner, process tree, spool.

Nothing in here imports more than the standard library and this package itself: the launcher runs
as `python -I -S`, starts no thread, and forks one runner for each job.
"""
