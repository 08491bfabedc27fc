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
echo "1..$n"
