#!/bin/bash
# make lint: clang-format, clang-tidy, cppcheck and gcc -fanalyzer over our C code; shell syntax.  Prints
# "lint: ok TOOL" or the findings and "lint: FAILED TOOL"; a tool that is missing fails.
#   lint.sh SRCDIR BUILDDIR COMPILER-FLAG...
# BUILDDIR has config.h.  DW_LINT_JOBS: how many files at a time (default: the number of CPUs).
set -u
srcdir=$(cd "$1" && pwd) || exit 1
builddir=$(cd "$2" && pwd) || exit 1
shift 2
cd "$srcdir" || exit 1
jobs=${DW_LINT_JOBS:-$(nproc)}
flags=(-std=c11 -I"$srcdir" -I"$builddir" "$@")
failed=0

mapfile -t sources < <(find base chsk store hub fcgi cli ws tests bench fuzz -name '*.c' 2>/dev/null | sort)
mapfile -t headers < <(find base chsk store hub fcgi cli ws tests bench fuzz -name '*.h' 2>/dev/null | sort)
# The linters of code look at what runs; tests and benchmarks are only formatted and compiled with -Werror.
mapfile -t product < <(printf '%s\n' "${sources[@]}" | grep -Ev '^(tests|bench|fuzz)/')

verdict() { # TOOL STATUS
    if [ "$2" -eq 0 ]; then
        echo "lint: ok $1"
    else
        echo "lint: FAILED $1"
        failed=1
    fi
}

each() { # COMMAND...: for every product file, several at a time; findings on standard output
    # One file per process: clang-tidy 14 misreads va_start in the second of several files.
    printf '%s\0' "${product[@]}" | xargs -0 -P "$jobs" -I {} "$@" 2>&1
}

clang-format --dry-run -Werror "${sources[@]}" "${headers[@]}"
verdict clang-format $?

# --quiet still counts the suppressed warnings of system headers
each sh -c 'file=$1; shift; exec clang-tidy --quiet "$file" -- "$@"' sh {} "${flags[@]}" | grep -v 'warnings generated\.$'
verdict clang-tidy "${PIPESTATUS[0]}"

cppcheck --std=c11 --enable=warning,performance,portability --inline-suppr --suppress=missingIncludeSystem \
    --error-exitcode=1 --quiet -j "$jobs" -D_GNU_SOURCE -I "$srcdir" -I "$builddir" "${product[@]}"
verdict cppcheck $?

# gcc 12 loses track of what is stored through an index or a pointer to a pointer and calls it leaked, and
# of what a NULL goes together with (an error code, a depth of 0).  LeakSanitizer and clang watch these.
each gcc -fanalyzer -Wno-analyzer-malloc-leak -Wno-analyzer-null-dereference \
    -Wno-analyzer-possible-null-dereference -Werror -Wall -Wextra -O1 -c -o /dev/null "${flags[@]}" {}
verdict gcc-analyzer $?

status=0
for script in quickstart runtests autogen.sh .ci/run bench/run build-aux/embed-sql.sh tools/*.sh tests/*/*.sh; do
    [ ! -f "$script" ] || bash -n "$script" || status=1
done
verdict shell-syntax $status
exit $failed
