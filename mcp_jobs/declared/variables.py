"""Which parameters may become environment variables of a script."""

from __future__ import annotations

import fnmatch
import re
from typing import Final

from mcp_jobs.declared.params import DeclaredParams
from mcp_jobs.declared.place import Place

REFUSED: Final = (
    # What the shell itself reads or sets.
    *("PATH", "HOME", "IFS", "ENV", "SHELL", "SHELLOPTS", "BASHOPTS", "BASH", "BASH_*", "CDPATH"),
    *("FPATH", "FUNCNEST", "GLOBIGNORE", "HISTFILE", "INPUTRC", "LINENO", "MAIL*", "OPT*", "PPID"),
    *("PROMPT_COMMAND", "PS[0-9]", "PWD", "OLDPWD", "POSIXLY_CORRECT", "TMOUT", "UID", "EUID"),
    *("ZDOTDIR", "_", "TMPDIR", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "NLSPATH", "TZDIR"),
    # What makes other programs load or run something.
    *("LD_*", "DYLD_*", "GCONV_PATH", "GLIBC_*", "MALLOC_*", "LOCPATH", "HOSTALIASES", "TERMINFO*"),
    *("PYTHON*", "PERL*", "RUBY*", "GEM_*", "NODE_*", "NPM_CONFIG_*", "npm_config_*", "JAVA_*"),
    *("JDK_*", "_JAVA_*", "CLASSPATH", "GIT_*", "SSH_*", "EDITOR", "VISUAL", "PAGER", "LESS*"),
    *("MAKEFLAGS", "MFLAGS", "CARGO_*", "RUST*", "GO*", "BUNDLE_*", "PIP_*", "UV_*", "DOCKER_*"),
    *("*_PROXY", "*_proxy", "SSL_*", "CURL_*", "REQUESTS_*", "OPENSSL_*", "XDG_*"),
    "MCP_JOBS_*",
)
"""Names and patterns (case matters) whose variables would change what a script runs."""


_REFUSED: Final = re.compile("|".join(fnmatch.translate(pattern) for pattern in REFUSED))


def refused(name: str) -> bool:
    """Say whether a parameter of this name must not become a variable."""
    return _REFUSED.fullmatch(name) is not None


def check_names(params: DeclaredParams, place: Place) -> None:
    """Raise for a parameter whose variable would change what the script at `place` runs."""
    for name, param in params.params.items():
        if refused(name):
            raise place.error(
                f"the param {name!r} would become the environment variable {name}, which changes "
                "what the script runs; give it another name",
                line=param.line,
            )


def variables(texts: dict[str, str | None]) -> dict[str, str]:
    """Return the variables of a script; a parameter that was left out is the empty text.

    It is set all the same, so that no variable of that name is inherited.
    """
    return {name: text or "" for name, text in texts.items()}
