#!/bin/bash
# TAP: built with --enable-static-libs, the programs need nothing that a host with a C library lacks, and run.
set -u
export LC_ALL=C
builddir=${DW_BUILDDIR:-$(pwd)}
n=0
for program in fcgi/dumbwaiter.fcgi cli/dumbwaiter; do
    needed=$(ldd "$builddir/$program" 2>&1)
    strange=$(grep -vE '(linux-vdso|linux-gate|ld-linux[^ ]*|/ld64|lib(c|m|pthread|dl|gcc_s))\.so' <<<"$needed")
    n=$((n + 1))
    if [ -z "$strange" ]; then
        echo "ok $n - $program needs the C library alone"
    else
        echo "not ok $n - $program needs the C library alone"
        sed 's/^/#   /' <<<"$strange"
    fi
    n=$((n + 1))
    if version=$("$builddir/$program" --version) && [ -n "$version" ]; then
        echo "ok $n - $program starts"
    else
        echo "not ok $n - $program starts"
    fi
done
echo "1..$n"
