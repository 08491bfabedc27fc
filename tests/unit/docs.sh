#!/bin/bash
# TAP: all of docs/ is installed and in README's table, and links between the texts lead somewhere.
# shellcheck source=tests/unit/tap.sh
. "$(dirname "$0")/tap.sh"

verdict "every page of docs/ is installed" "$(for page in docs/*.md; do
    grep -q "^dist_docs_DATA = .*\b$page\b" Makefile.am || echo "$page is not in dist_docs_DATA"
done)"
verdict "every page of docs/ is in README's table" "$(for page in docs/*.md; do
    grep -qF "| [$page]($page)" README.md || echo "$page is not in README.md"
done)"
verdict "links between the texts lead to files" "$(for page in README.md HACKING.md docs/*.md; do
    grep -oE '\]\([^)]*\)' "$page" | sed 's/^](//; s/)$//' | grep -v '^https\?:' | while read -r link; do
        [ -e "$(dirname "$page")/${link%%#*}" ] || echo "$page: $link is not there"
    done
done)"
# Promises name their tests: `file::name`, the file in tests/unit or tests/integration.
named=$(grep -ohE '`[a-z0-9_]+\.(py|c|sh)(::[a-z0-9_]+)?`' docs/security.md | tr -d '`' | sort -u)
verdict "docs/security.md names tests" "$([ "$(wc -l <<<"$named")" -ge 40 ] || echo "found only: $named")"
verdict "the tests that docs/security.md names are there" "$(while read -r test; do
    file=$(ls "tests/unit/${test%%::*}" "tests/integration/${test%%::*}" 2>/dev/null)
    if [ -z "$file" ]; then
        echo "${test%%::*} is not there"
    elif [[ $test == *::* ]]; then
        grep -qE "(def|static void) ${test##*::}\(" "$file" || echo "$file has no ${test##*::}"
    fi
done <<<"$named")"
verdict "docs/security.md names every test of attacks" "$(for file in tests/integration/test_attacks*.py; do
    sed -n 's/^def \(test_[a-z0-9_]*\)(.*/\1/p' "$file" | while read -r name; do
        grep -qF "$(basename "$file")::$name" <<<"$named" || echo "$file: $name is not there"
    done
done)"
echo "1..$n"
