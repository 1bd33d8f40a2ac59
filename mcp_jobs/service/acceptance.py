"""From what a caller asks for to a job that can be stored and a file that it can be run from."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain import secrecy
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.ids import new_id
from mcp_jobs.domain.models import UNKNOWN_ORIGIN, Launch, NewJob
from mcp_jobs.domain.secrecy import MASKED, looks_secret
from mcp_jobs.execution import private_files
from mcp_jobs.execution.launcher.mask import mask_text
from mcp_jobs.job_types import registry
from mcp_jobs.service.lock_names import capacities_of
from mcp_jobs.service.repetition import masked_in
from mcp_jobs.service.requests import StartJob
from mcp_jobs.service.terms import terms_of
from mcp_jobs.settings import project_directory, project_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.models import Job, JobOrigin
    from mcp_jobs.execution.base import Origin
    from mcp_jobs.job_types.registry import JobType, Registry
    from mcp_jobs.service.terms import Terms
    from mcp_jobs.settings import Settings


_NEVER: Final = object()
_NEWER: Final = {
    name: StartJob.model_fields[name].default
    for name in ("priority", "locks", "if_running", "after", "after_any_end", "retry_of")
}


class Acceptor:
    """Checks requests against the job types and fills in what they leave open."""

    def __init__(
        self, *, registry: Registry, settings: Settings, clock: Clock, origin: Origin
    ) -> None:
        self.registry = registry
        self._settings = settings
        self._clock = clock
        self._origin = origin
        self.inside = origin.inside

    def with_types(self, registry: Registry) -> Acceptor:
        """Return an acceptor of this process that knows other job types."""
        other = copy(self)
        other.registry = registry
        return other

    def draft(
        self,
        owner: str,
        request: StartJob,
        webhooks: tuple[str, ...] = (),
        *,
        known_cwd: str | None = None,
        origin: JobOrigin = UNKNOWN_ORIGIN,
    ) -> NewJob:
        """Return the job that a request means. Raises `InvalidInputError`.

        Of a client without a project it is the one of the directory that the job runs in.
        """
        job_type = self.registry.get(request.type)
        prepared = registry.prepare(job_type, request.params)
        terms = terms_of(
            job_type,
            request,
            default_cwd=_default_directory,
            only_declared=self._settings.only_declared,
            known_cwd=known_cwd,
        )
        now_ms = self._clock.now_ms()
        added = {**request.env, **job_type.env, **prepared.env}
        params, hidden = secrecy.hidden(job_type.params.schema(), request.params)
        launch = self._launch(terms.cwd, prepared, added, hidden)
        hashed = partial(self._hashed, secret=bool(hidden) or any(map(looks_secret, request.env)))
        return NewJob(
            id=new_id(now_ms),
            owner=owner,
            locality=self._origin.locality,
            type=request.type,
            params=params,
            title=mask_text(request.title or prepared.title, map(os.fsencode, launch.secrets)),
            cwd=terms.cwd,
            created_at_ms=now_ms,
            run_at_ms=now_ms + round(request.delay_seconds * 1000),
            max_attempts=1 + terms.max_retries,
            timeout_s=terms.timeout_s,
            idle_timeout_s=terms.idle_timeout_s,
            retry_on_interrupt=terms.retry_on_interrupt,
            idempotency_key=request.idempotency_key,
            # Only ever compared between jobs of one key.
            fingerprint=hashed(_asked(request, terms.cwd, webhooks))
            if request.idempotency_key
            else "",
            shared=self._origin.shared,
            webhooks=_hooks(job_type, webhooks),
            policy=job_type.policy,
            confirm=registry.question_of(job_type, params, besides=_chosen(request, terms)),
            launch=launch,
            prepared_in=self._origin.here,
            origin=replace(origin, project=origin.project or project_of(terms.cwd)),
            priority=terms.priority,
            locks=terms.locks,
            after=tuple(dict.fromkeys(request.after)),
            after_any_end=request.after_any_end,
            likeness=hashed(_alike(request.type, request.params, terms.cwd, request.env)),
            if_running=request.if_running,
            retry_of=request.retry_of,
        )

    def had_env(self, old: Job) -> bool:
        """Say whether variables were given with an earlier job, which are not kept after its end.

        Of one with secret parameters, or from an older version, that is not known, and not said.
        """
        if not old.likeness or masked_in(old.params):
            return False
        return old.likeness != self._hashed(_alike(old.type, old.params, old.cwd, {}), secret=False)

    def capacities(self, new: NewJob) -> Mapping[str, int]:
        """Return what is declared of how many may hold the locks of a job at once."""
        return capacities_of(self.registry.capacities(), new.locks, new.cwd)

    def _launch(
        self,
        cwd: str,
        prepared: registry.Prepared,
        added: Mapping[str, str],
        hidden: tuple[str, ...],
    ) -> Launch:
        environ = {**self._origin.environ, "PWD": cwd, **added}
        script = prepared.script
        return Launch(
            argv=prepared.argv if script is None else self._origin.shells.argv(script),
            cwd=cwd,
            umask=self._origin.umask,
            environ=environ,
            secrets=(*(v for name, v in environ.items() if looks_secret(name)), *hidden),
            rlimit_nofile=self._origin.rlimit_nofile,
            call=prepared.call,
        )

    def _hashed(self, values: Mapping[str, Any], *, secret: bool) -> str:
        """Hash what the caller asked for.

        A plain hash would let whoever reads the store try passwords, so a secret is hashed with a
        key that is not in it.
        """
        text = json.dumps(values, sort_keys=True).encode()
        if secret:
            key = private_files.fingerprint_key(self._settings.home)
            return hmac.new(key, text, hashlib.sha256).hexdigest()
        return hashlib.sha256(text).hexdigest()


def _asked(request: StartJob, cwd: str, webhooks: tuple[str, ...]) -> dict[str, Any]:
    """Return what makes another start of a key a conflict; how long it waits is not part of it."""
    asked = {**request.model_dump(exclude={"wait_seconds"}), "cwd": cwd}
    # Older versions hashed without these.
    asked = {name: value for name, value in asked.items() if value != _NEWER.get(name, _NEVER)}
    return {**asked, "webhooks": webhooks} if webhooks else asked


def _alike(
    job_type: str, params: Mapping[str, Any], cwd: str, env: Mapping[str, str]
) -> dict[str, Any]:
    """Return in what jobs are alike that do the same."""
    return {"type": job_type, "params": dict(params), "cwd": cwd, "env": dict(env)}


def _chosen(request: StartJob, terms: Terms) -> dict[str, str]:
    """Return what of a caller's choice, besides the parameters, decides what will run."""
    chosen = {} if request.cwd is None else {"cwd": terms.cwd}
    # The question is kept with the job, where no secret belongs.
    env = {name: MASKED if looks_secret(name) else value for name, value in request.env.items()}
    return chosen | {f"env {name}": value for name, value in env.items()}


def _default_directory() -> str:
    directory = project_directory()
    if directory is None:
        raise InvalidInputError(
            "cwd is needed: this server was started in / and has no project. Pass the absolute "
            "path of the directory to run in."
        )
    try:
        directory.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            f"cwd is needed: the name of this server's directory, {directory!a}, is not "
            "UTF-8. Pass the absolute path of another directory to run in."
        ) from None
    return directory


def _hooks(job_type: JobType, given: tuple[str, ...]) -> tuple[Mapping[str, Any], ...]:
    """Return who is told of the end: as the type declares, and those given with the job."""
    declared = () if job_type.policy.webhook is None else (job_type.policy.webhook,)
    return (*declared, *({"url": url} for url in given))
