"""What the programs that a script may give a parameter to make of their arguments.

An allow-list: a program that is not here may run what it is given, as wrappers and interpreters do.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

DATA: Final = frozenset(
    {
        *("echo", "cat", "tac", "rev", "nl", "wc", "head", "tail", "cut", "tr", "uniq", "comm"),
        *("join", "paste", "fold", "fmt", "expand", "unexpand", "column", "od", "xxd", "strings"),
        *("ls", "stat", "du", "df", "touch", "mkdir", "rmdir", "rm", "cp", "mv", "ln", "chmod"),
        *("chown", "truncate", "mktemp", "tee", "basename", "dirname", "readlink", "realpath"),
        *("grep", "egrep", "fgrep", "diff", "cmp", "seq", "sleep", "true", "false", ":", "date"),
        *("base64", "base32", "cksum", "md5sum", "sha1sum", "sha256sum", "sha512sum", "shuf"),
        *("gzip", "gunzip", "zcat", "bzip2", "bunzip2", "xz", "unxz", "zstd", "unzip"),
        *("ping", "host", "dig", "nslookup", "logger", "pwd", "which", "id", "test", "["),
    }
)
"""No argument makes them run another program or read a text as code, and none their input.

Of `test`, `[` and `printf` the places are looked at as well.
"""


class Wrapper(NamedTuple):
    """A program that runs the one which follows its own options and operands."""

    flags: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    """Options with a value."""
    operands: int = 0
    assigns: bool = False
    """NAME=VALUE may stand before the program."""


def _wrapper(
    flags: str = "", values: str = "", operands: int = 0, *, assigns: bool = False
) -> Wrapper:
    return Wrapper(frozenset(flags.split()), frozenset(values.split()), operands, assigns)


WRAPPERS: Final = {
    "command": _wrapper("-p"),
    "builtin": _wrapper(),
    "exec": _wrapper(),
    "nohup": _wrapper(),
    "chronic": _wrapper(),
    "setsid": _wrapper("-c -f -w --ctty --fork --wait"),
    "time": _wrapper("-p -v", "-f -o"),
    "nice": _wrapper("", "-n --adjustment"),
    "ionice": _wrapper("-t", "-c -n --class --classdata"),
    "stdbuf": _wrapper("", "-i -o -e --input --output --error"),
    "timeout": _wrapper(
        "--foreground --preserve-status -v --verbose", "-k -s --kill-after --signal", 1
    ),
    "env": _wrapper("-i - --ignore-environment", "-u -C --unset --chdir", assigns=True),
    "sudo": _wrapper("-n -E -H -k", "-u -g --user --group", assigns=True),
    "doas": _wrapper("-n", "-u"),
    "flock": _wrapper("-n -x -s -e -u -o --nonblock", "-w -E --timeout", 1),
}

INTERPRETERS: Final = (
    (re.compile(r"(?:ba|da|z|k|mk|a|fi)?sh"), re.compile(r"-[euxfn]+")),
    (re.compile(r"(?:python|pypy)[0-9.]*"), re.compile(r"-[uBEIsSPOqb]+")),
    (re.compile(r"perl|ruby|node|nodejs|php|Rscript|lua[0-9.]*|tclsh"), re.compile(r"(?!)")),
)
"""Programs whose first operand is a script, and the options that may stand before it."""

REREADS: Final = frozenset(
    {
        *("parallel", "ssh", "rsh", "su", "runuser", "watch", "script", "expect", "at", "batch"),
        *("crontab", "busybox", "toybox", "strace", "ltrace", "gdb", "valgrind", "perf", "chroot"),
        *("unshare", "nsenter", "setarch", "taskset", "chrt", "systemd-run", "tmux", "screen"),
        *("entr", "firejail", "bwrap", "faketime", "catchsegv", "eval", "source", ".", "trap"),
    }
)
"""Any argument of theirs may be a program, or code for a shell."""

STARTS: Final = frozenset({"npx", "bunx", "uvx"})
"""Their first operand names what they run."""

RUNNERS: Final = (
    REREADS
    | STARTS
    | frozenset(
        {
            *(
                "xargs",
                "find",
                "npm",
                "pnpm",
                "yarn",
                "bun",
                "deno",
                "uv",
                "pipx",
                "poetry",
                "bundle",
            ),
            *("make", "gmake", "awk", "gawk", "mawk", "nawk", "sed", "gsed", "pytest"),
            *("alias", "let", "declare", "typeset", "local", "export", "readonly"),
            *(
                "read",
                "mapfile",
                "readarray",
                "getopts",
                "unset",
                "wait",
                "set",
                "printf",
                "test",
                "[",
            ),
        }
    )
)
"""They run or read again some of what they are given; named so that a message can say so."""

CODE_FLAGS: Final = re.compile(r"-[A-Za-z]*[ceErpRB]|--(?:eval|print|command|run)", re.A)
"""Options of interpreters after which code stands."""

DEFINES: Final = frozenset(
    {"eval", "alias", "declare", "typeset", "local", "nameref", "enable", "hash", "coproc"}
)
"""After them a script no longer does what its words say."""


class Tool(NamedTuple):
    """A program with subcommands or options that run things, and what is safe in it."""

    commands: frozenset[str] | None
    """The first operand must be one of these."""
    loose: bool
    """No option makes it run anything, so that a value may look like one."""
    values: frozenset[str]
    """Options whose next argument is a text."""
    pairs: frozenset[str] = frozenset()
    """Options that take a name and a text."""
    refused: frozenset[str] = frozenset()
    """Options that must not be there."""


def _tool(
    commands: str = "", values: str = "", *, loose: bool = False, pairs: str = "", refused: str = ""
) -> Tool:
    return Tool(
        frozenset(commands.split()) or None,
        loose,
        frozenset(values.split()),
        frozenset(pairs.split()),
        frozenset(refused.split()),
    )


_CONTAINERS: Final = _tool(
    "logs ps inspect stop start restart rm rmi kill pause unpause port images stats pull wait diff "
    "history",
    loose=True,
)
TOOLS: Final = {
    "redis-cli": _tool(
        "get set del exists keys scan type ttl expire incr decr hget hset hgetall hdel lpush rpush "
        "lpop rpop llen lrange sadd srem smembers zadd zrange publish xadd ping",
        "-h -p -n -u -a",
        loose=True,
        refused="--eval",
    ),
    "docker": _CONTAINERS,
    "podman": _CONTAINERS,
    "git": _tool(
        "add commit log show diff status checkout switch branch tag restore rm mv blame rev-parse "
        "cat-file ls-files",
        "-m --message -n --max-count --author --since --until",
    ),
    "curl": _tool(
        "",
        "-d --data --data-raw --data-binary --data-urlencode -H --header -X --request -u --user -A "
        "-o --output -m --max-time --url",
        refused="-K --config",
    ),
    "kubectl": _tool("get describe logs delete scale top", "-n --namespace -c -l --selector"),
    "systemctl": _tool("status start stop restart reload is-active show"),
    "journalctl": _tool("", "-u --unit -n --lines --since --until -g --grep"),
    "jq": _tool("", pairs="--arg --argjson", refused="-f --from-file"),
    "sort": _tool("", "-k -t -o"),
}

UNARY: Final = frozenset(f"-{letter}" for letter in "bcdefghknprstuwxzLOGSN")
BINARY: Final = frozenset({"=", "==", "!=", "-nt", "-ot", "-ef"})
"""Operators of `test` that look at texts and files. Those for numbers read expressions in some
shells."""

FORMAT: Final = re.compile(r"(?!-)(?:[^%\\]|\\.|%%|%-?[0-9]*(?:\.[0-9]+)?[sbc])*", re.S)
"""What `printf` may be told; the other conversions read numbers, which are expressions in some
shells, or set variables."""

SED_FLAGS: Final = re.compile(r"-[nErsuz]+|-i")
_ADDRESS: Final = r"(?:(?:[0-9]+|\$)(?:,(?:[0-9]+|\$))?|/[^/\n\\]*/)?"
SED: Final = re.compile(
    rf"{_ADDRESS} ?(?:[pdq=]|s([/|#,:@])(?:(?!\1)[^\n\\]|\\[^\n])*\1(?:(?!\1)[^\n\\]|\\[^\n])*\1"
    r"[gpiI0-9]*)"
)
"""One command that prints, deletes or replaces; `e` and `w` would run and write."""

_FIELD: Final = r"(?:\$?(?:[0-9]+|N[RF])|[A-Za-z_][A-Za-z0-9_]*)"
AWK: Final = re.compile(
    rf"(?:/[^/\\\n]*/|N[RF] ?[=!<>]=? ?[0-9]+|END)? ?"
    rf"(?:\{{ ?print(?: {_FIELD}(?: ?,? ?{_FIELD})*)? ?\}})?"
)
"""A pattern, and printing: no call, no pipe."""

FIND_VALUES: Final = frozenset(
    {
        *("-name", "-iname", "-path", "-ipath", "-wholename", "-regex", "-iregex", "-type"),
        *("-size", "-mtime", "-mmin", "-ctime", "-cmin", "-newer", "-user", "-group", "-perm"),
        *("-maxdepth", "-mindepth", "-printf"),
    }
)
FIND_RUNS: Final = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
XARGS: Final = _wrapper("-0 -r -t --null --no-run-if-empty", "-n -P -L -d -s")
