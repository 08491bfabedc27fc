#!/bin/bash
# TAP: the layer rule and the size limits of HACKING.md, read off the sources and off libchsk.a.
# shellcheck source=tests/unit/tap.sh
. "$(dirname "$0")/tap.sh"
builddir=${DW_BUILDDIR:-$srcdir}

sources_of() { # FOLDER...
    local folder
    for folder in "$@"; do
        [ ! -d "$folder" ] || find "$folder" -name '*.[ch]' | sort
    done
}

may_include() { # FOLDER ALLOWED-FOLDER...
    local folder=$1 allowed
    shift
    allowed=$(IFS='|' && echo "$*")
    verdict "$folder/ includes only $*" "$(sources_of "$folder" |
        xargs -r grep -nE '^#include "' | grep -vE "#include \"(($allowed)/[a-z0-9_]+\.h|config\.h)\"")"
}

only_in() { # HEADER FILE-PATTERN...
    local header=$1 files
    shift
    files=$(sources_of base chsk store hub fcgi ws cli | xargs grep -lE "^#include <.*\b${header/./\\.}>")
    for pattern in "$@"; do
        files=$(grep -vE "$pattern" <<<"$files")
    done
    verdict "$header is included only by ${*//\\/}" "$files"
}

may_include base base
may_include chsk base chsk
may_include store base store
may_include hub base chsk store hub
may_include fcgi base chsk store hub fcgi
may_include ws base chsk store hub ws
may_include cli base chsk store hub cli
only_in sqlite3.h '^store/sqlite[a-z_]*\.[ch]$'
only_in fcgiapp.h '^fcgi/message\.[ch]$'
only_in libwebsockets.h '^ws/'
only_in uv.h '^ws/'
only_in zlib.h '^chsk/'
only_in sodium.h '^chsk/token\.c$' '^hub/rates\.c$' '^hub/keyfile\.c$'
verdict "fcgi_stdio.h, which redefines standard names, is included by nobody" \
    "$(sources_of base chsk store hub fcgi ws cli tests bench fuzz | xargs grep -ln 'fcgi_stdio\.h>')"
verdict "no test or benchmark includes a .c file" \
    "$(sources_of tests bench fuzz | xargs -r grep -nE '^#include .*\.c[">]')"
verdict "chsk/ includes no header of I/O, time or threads" \
    "$(sources_of chsk | xargs grep -nE '^#include <(stdio|unistd|fcntl|time|poll|pthread|signal|sys/.*|netinet/.*|arpa/.*)\.?h?>' |
        grep -vE '^[^:]+:[0-9]+:#include <(stdio\.h|sys/types\.h)>')" # stdio.h for snprintf; see the next test

# What the protocol may call: memory, text, numbers, zlib, a MAC, assert.  Everything else is a finding, whatever it is.
outside='calloc|malloc|realloc|reallocarray|free|mem(chr|rchr|cmp|cpy|move|set|mem)|str(chr|rchr|cmp|cspn|len|ncmp|spn|casecmp|ncasecmp|dup|ndup|pbrk|tod|tof|tol|toul|toll|toull|tok_r|nlen)|v?snprintf|qsort|bsearch|abort'
outside+='|deflate[A-Za-z0-9_]*|inflate[A-Za-z0-9_]*|crc32|frexp|ldexp|floor|isnan|isinf|fmod|pow|log10|round|trunc'
outside+='|crypto_auth_hmacsha256_[a-z]*|sodium_(base642bin|bin2base64|memcmp|memzero)'
outside+='|assert_fail|stack_chk_fail|_?GLOBAL_OFFSET_TABLE_|ctype_b_loc|ctype_tolower_loc|ctype_toupper_loc|errno_location'
outside+='|isoc[0-9]*_.*|(asan|ubsan|tsan|lsan|sanitizer|gcov|llvm|cxa|sancov).*'
if [ -f "$builddir/libchsk.a" ]; then
    defined=$(nm -A --defined-only "$builddir/libchsk.a" 2>/dev/null | awk '$(NF-1) ~ /[A-Z]/ {print $NF}' | sort -u)
    wanted=$(nm -A -u "$builddir/libchsk.a" 2>/dev/null | awk '{print $NF}' | sort -u)
    below=$(nm -A --defined-only "$builddir/libbase.a" 2>/dev/null | awk '$(NF-1) ~ /[A-Z]/ {print $NF}' |
        grep -E '^dw_(buf|err)' | sort -u)
    verdict "libchsk.a needs no symbol of I/O, clock, log, SQLite or libfcgi" \
        "$(comm -23 <(printf '%s\n' "$wanted") <(sort -u <<<"$defined"$'\n'"$below") |
            sed 's/@.*//; s/^_*//; s/_chk$//' | grep -vE "^($outside)$|^$")"
    verdict "the check of libchsk.a sees its symbols" "$(grep -qx dw_chsk_step <<<"$defined" || echo "nm found no dw_chsk_step")"
else
    verdict "libchsk.a needs no symbol of I/O, clock, log, SQLite or libfcgi" "there is no $builddir/libchsk.a"
fi

mapfile -t all < <(sources_of base chsk store hub fcgi ws cli tests bench fuzz)
verdict "no file has 600 lines or more" "$(wc -l "${all[@]}" | awk '$2 != "total" && $1 >= 600 { print $2 " has " $1 " lines" }')"
# clang-format puts the braces of a function body, and nothing else with code in it, at the start of a line.
# clang-format puts the braces of a function body, and nothing else with code in it, at the start of a line.
longer_than() { # LINES FILE...
    local limit=$1
    shift
    awk -v limit="$limit" '
        /^[a-z].*\(/ && !/;$/ { name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
        /^\{/ { open = FNR }
        /^\}/ { if (open && FNR - open + 1 > limit) print name " in " FILENAME " has " FNR - open + 1 " lines"; open = 0 }
    ' "$@"
}
mapfile -t product < <(sources_of base chsk store hub fcgi ws cli)
verdict "no function has 100 lines or more" "$(longer_than 99 "${product[@]}")"
verdict "no function, tables of test cases included, has more than 150 lines" "$(longer_than 150 "${all[@]}")"
verdict "every file begins with a comment on its role" "$(for file in "${all[@]}"; do
    head -c 2 "$file" | grep -qF '/*' || echo "$file"
done)"
verdict "every header guards itself as DW_FOLDER_NAME_H" "$(for file in $(sources_of base chsk store hub fcgi ws cli | grep '\.h$'); do
    guard=DW_$(tr 'a-z/.' 'A-Z__' <<<"$file")
    grep -q "^#ifndef $guard\$" "$file" || echo "$file lacks #ifndef $guard"
done)"
# But for ws/reading.c's recv, which takes the C library's place; the file says why.
verdict "all global functions are called dw_..." "$(for library in base chsk store hub fcgiadapter ws cli; do
    nm -A --defined-only "$builddir/lib$library.a" 2>/dev/null | awk '$(NF-1) == "T" { print $NF " in " $1 }' |
        grep -vE '^(dw_|_?_(asan|ubsan|tsan|sanitizer)|_GLOBAL__|asan\.|tsan\.|_sub_|recv in .*-reading\.o:)'
done)"
echo "1..$n"
