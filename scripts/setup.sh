#!/bin/sh
# Put the package and one of its extras into .venv: `sh scripts/setup.sh EXTRA PYTHON...`, in the
# project's directory. The first Python that will do is taken. An environment that works is kept and
# added to, so that the extras can come in any order.
set -eu
extra="$1"
shift
venv=.venv

# tests/processes/project/test_setup.py compares these figures with what is installed.
case "$extra" in
demo) purpose='The demo needs'; figures='about 45 packages (15 MB)' ;;
dev) purpose='Tests and checks need'; figures='about 125 packages (80 MB)' ;;
*) echo "mcp_jobs: there is no extra '$extra' to set up; choose demo or dev." >&2; exit 2 ;;
esac

installer=pip
if command -v uv >/dev/null; then installer=uv; fi

python=''
bare=''
for candidate in "$@"; do
    found=$("$candidate" -c 'import sys
if sys.version_info < (3, 11): sys.exit(1)
print(sys.executable)' 2>/dev/null) || continue
    # uv needs nothing of the standard library to make an environment.
    if [ "$installer" = uv ] || "$found" -c 'import ensurepip, venv' 2>/dev/null; then
        python="$found"
        break
    fi
    bare="${bare:-$found}"
done
if [ -z "$python" ] && [ -n "$bare" ]; then
    version=$("$bare" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "mcp_jobs: $bare cannot make a virtual environment, because it has no ensurepip." >&2
    echo "On Debian and Ubuntu: apt install python$version-venv. Or install uv." >&2
    exit 1
fi
if [ -z "$python" ]; then
    echo "mcp_jobs needs Python 3.11 or newer; none of these is: $*" >&2
    echo "Install one, or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi

usable() {
    "$venv/bin/python" -c "import sys$1; sys.exit(sys.version_info < (3, 11))" 2>/dev/null
}

with_uv() {
    usable '' || { rm -rf "$venv" && uv venv --quiet --python "$python" "$venv"; } || return 1
    uv pip install --quiet --python "$venv/bin/python" --editable ".[$extra]"
}

with_pip() {
    # An environment that uv made has no pip, and may be of another Python.
    usable ', pip' || "$python" -m venv --clear "$venv" || return 1
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extra]"
}

echo "$purpose $figures, which $installer now puts into $venv,"
echo 'from its cache or else from the package index.'
if [ "$installer" = uv ]; then
    with_uv && exit 0
    echo 'uv could not do it; trying pip.' >&2
fi
with_pip
