# What the TAP tests in shell share (bash; sourced): the source folder, and a verdict for each test.
set -u
export LC_ALL=C
srcdir=${DW_SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$srcdir" || exit 1
n=0

verdict() { # NAME FINDINGS: ok when there are none
    n=$((n + 1))
    if [ -z "$2" ]; then
        echo "ok $n - $1"
    else
        echo "not ok $n - $1"
        printf '%s\n' "$2" | sed 's/^/#   /'
    fi
}
