#!/bin/bash
# TAP: the hardening that configure asks for is in the built programs.
set -u
export LC_ALL=C
builddir=${DW_BUILDDIR:-.}
n=0

check() { # NAME COMMAND-OUTPUT PATTERN
    n=$((n + 1))
    if grep -qE "$3" <<<"$2"; then echo "ok $n - $1"; else echo "not ok $n - $1"; fi
}
check_not() {
    n=$((n + 1))
    if [ -n "$2" ] && ! grep -qE "$3" <<<"$2"; then echo "ok $n - $1"; else echo "not ok $n - $1"; fi
}

for program in fcgi/dumbwaiter.fcgi cli/dumbwaiter ws/dumbwaiter-ws ws/dumbwaiter-listen; do
    file=$builddir/$program
    [ -f "$file" ] || continue
    header=$(readelf -Wh "$file")
    segments=$(readelf -Wl "$file")
    dynamic=$(readelf -Wd "$file")
    symbols=$(readelf -Ws --dyn-syms "$file")
    check "$program is position independent" "$header" 'Type: +DYN'
    check "$program has read-only relocations" "$segments" 'GNU_RELRO'
    check "$program binds all symbols at start" "$dynamic" 'BIND_NOW|Flags:.*NOW'
    check_not "$program has no executable stack" "$(grep GNU_STACK <<<"$segments")" 'RWE'
    check "$program has stack protectors" "$symbols" '__stack_chk_fail'
    check "$program checks buffer sizes (_FORTIFY_SOURCE)" "$symbols" '__(mem|str|v?s?n?printf|snprintf|memcpy)[a-z]*_chk|__[a-z]+_chk@'
done
[ "$n" -gt 0 ] || { n=1; echo "not ok 1 - there is a program to look at in $builddir"; }
echo "1..$n"
