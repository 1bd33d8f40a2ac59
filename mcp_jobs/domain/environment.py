"""Which environment variables change what a program loads or runs.

Whoever may set one of them can run what he likes. So callers never give them to a job type, and no
parameter becomes one. Only `shell`, whose callers say what runs anyway, takes any.
"""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache
from typing import Final

NAMES: Final = (
    # What the shell itself reads or sets.
    *("PATH", "HOME", "IFS", "ENV", "SHELL", "SHELLOPTS", "BASHOPTS", "BASH", "BASH_*", "CDPATH"),
    *("FPATH", "FUNCNEST", "GLOBIGNORE", "HISTFILE", "INPUTRC", "LINENO", "MAIL*", "OPT*", "PPID"),
    *("PROMPT_COMMAND", "PS[0-9]", "PWD", "OLDPWD", "POSIXLY_CORRECT", "TMOUT", "UID", "EUID"),
    *("BASHPID", "COMP_*", "EPOCH*", "HISTCMD", "RANDOM", "SECONDS", "SHLVL", "SRANDOM"),
    *("ZDOTDIR", "_", "TMPDIR", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "NLSPATH", "TZDIR"),
    # What makes other programs load or run something.
    *("LD_*", "DYLD_*", "GCONV_PATH", "GLIBC_*", "MALLOC_*", "LOCPATH", "HOSTALIASES", "TERMINFO*"),
    *("PYTHON*", "PERL*", "RUBY*", "GEM_*", "NODE_*", "JAVA_*", "JDK_*", "_JAVA_*", "CLASSPATH"),
    *("LUA_*", "PHPRC", "PHP_INI_*", "DOTNET_*", "CORECLR_*", "DENO_*", "BUN_*", "ERL_*", "R_*"),
    *("GIT_*", "SSH_*", "SUDO_*", "RSYNC_*", "CVS_*", "TAR_OPTIONS", "EDITOR", "VISUAL", "PAGER"),
    *("*_EDITOR", "*_PAGER", "MANPAGER", "LESS*", "BROWSER", "MAKEFLAGS", "GNUMAKEFLAGS", "MFLAGS"),
    *("MAKE", "MAKEFILES", "MAKESHELL", "CMAKE_*", "CTEST_*", "CFLAGS", "CXXFLAGS", "CPPFLAGS"),
    *("LDFLAGS", "CPATH", "LIBRARY_PATH", "*_INCLUDE_PATH", "PKG_CONFIG*", "ANSIBLE_*", "TF_CLI_*"),
    *("COVERAGE_*", "TOX_*", "DJANGO_SETTINGS_MODULE", "COMPOSER_*", "NUGET_*", "MSBUILD*"),
    *("PSModulePath", "TCLLIBPATH", "JULIA_*", "GUILE_*", "OCAML*", "CAML_*", "GHC*", "MIX_*"),
    *("ANT_*", "M2_HOME", "HELM_*", "VIMINIT", "EXINIT", "PSQLRC", "GREP_OPTIONS"),
    *("CC", "CXX", "CPP", "LD", "AS", "AR", "COMPILER_PATH", "GCC_*", "*_WRAPPER", "CARGO_*"),
    *("RUST*", "GO*", "BUNDLE_*", "PIP_*", "UV_*", "PIPX_*", "POETRY_*", "CONDA_*", "VIRTUAL_ENV"),
    *("PYTEST_*", "DOCKER_*", "KUBECONFIG", "AWS_CONFIG_FILE", "MAVEN_*", "GRADLE_*", "SBT_*"),
    *("SSL_*", "CURL_*", "WGETRC", "REQUESTS_*", "OPENSSL_*", "XDG_*", "QT_*", "GTK_*", "GIO_*"),
    "MCP_JOBS_*",
)
"""Names and patterns of names; case matters."""

IN_ANY_CASE: Final = ("NPM_CONFIG_*", "YARN_*", "*_PROXY")
"""Those that programs read in any case."""


def changes_what_runs(name: str) -> bool:
    """Say whether an environment variable of this name makes programs load or run something."""
    return _pattern().fullmatch(name) is not None


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    # Made on first use: the process of a job, which must start quickly, has no use for it.
    any_case = "|".join(fnmatch.translate(name) for name in IN_ANY_CASE)
    return re.compile("|".join((*map(fnmatch.translate, NAMES), f"(?i:{any_case})")))
