#!/bin/bash
# TAP: docs/settings.md, dumbwaiter.conf(5) and the sample configuration name every setting of
# base/conf.h with its default, and no others.
# shellcheck source=tests/unit/tap.sh
. "$(dirname "$0")/tap.sh"

# "section.key default" of each setting; the default of a WORD is its first word, the session query is a macro.
settings=$(awk '
    /^#define DW_SETTINGS/ { on = 1; next }
    on && /X\((INT|STR|WORD),/ {
        line = $0; sub(/^ *X\(/, "", line); sub(/\) *\\?$/, "", line)
        split(line, f, /, */)
        gsub(/"/, "", f[3]); gsub(/"/, "", f[4]); gsub(/"/, "", f[5])
        if (f[1] == "WORD") sub(/\|.*/, "", f[5])
        print f[3] "." f[4] " " f[5]
    }
    on && !/\\$/ && !/X\(/ { on = 0 }
' base/conf.h)
names=$(cut -d' ' -f1 <<<"$settings" | sort)
verdict "the settings can be read from base/conf.h" "$([ "$(wc -l <<<"$names")" -ge 25 ] || echo "found only: $names")"

difference() { # EXPECTED ACTUAL LABEL
    diff <(printf '%s\n' "$1") <(printf '%s\n' "$2") |
        sed -n "s|^< \(.*\)|\1 is not in $3|p; s|^> \(.*\)|$3 has \1, which is no setting|p"
}
in_docs=$(sed -n 's/^| `\([a-z]*\.[a-z_]*\)` .*/\1/p' docs/settings.md | sort)
verdict "docs/settings.md lists exactly the settings" "$(difference "$names" "$in_docs" docs/settings.md)"
verdict "docs/settings.md gives each default" "$(while read -r name default; do
    case $default in DW_SESSION_SQL) continue ;; esac
    row=$(grep -F "| \`$name\` |" docs/settings.md)
    if [ -z "$default" ]; then pattern='| (empty) |'; else pattern="| \`$default\` |"; fi
    [[ $row == *"$pattern"* ]] || echo "$name: expected $pattern"
done <<<"$settings")"

in_man=$(sed -n 's/^\.B \([a-z]*\.[a-z_]*\)$/\1/p' man/dumbwaiter.conf.5 | sort)
verdict "dumbwaiter.conf(5) lists exactly the settings" "$(difference "$names" "$in_man" "the man page")"

in_sample=$(awk '/^\[/ { section = substr($1, 2, length($1) - 2) }
    match($0, /^#?[a-z_]+ *=/) { key = $0; sub(/^#/, "", key); sub(/ *=.*/, "", key); print section "." key }' etc/dumbwaiter.conf | sort)
verdict "the sample configuration has exactly the settings" "$(difference "$names" "$in_sample" etc/dumbwaiter.conf)"
verdict "the sample configuration shows the defaults, commented out" "$(while read -r name default; do
    case $default in DW_SESSION_SQL) continue ;; esac
    grep -qxF "#${name#*.} =${default:+ $default}" etc/dumbwaiter.conf || echo "$name: expected #${name#*.} =${default:+ $default}"
done <<<"$settings")"
echo "1..$n"
