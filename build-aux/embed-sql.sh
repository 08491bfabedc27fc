#!/bin/sh
# Turns numbered migrations (sql/queue-0001.sql ...) into a C file: one table of
# struct dw_migration per engine file, in the order of their numbers.
#   embed-sql.sh NAME FILE...        writes dw_sql_NAME and dw_sql_NAME_count to standard output
set -eu
name=$1
shift
echo "/* Made from sql/ by build-aux/embed-sql.sh: don't edit. */"
echo '#include "store/migrate.h"'
echo
echo "const struct dw_migration dw_sql_$name[] = {"
expected=1
for file in "$@"; do
    number=$(basename "$file" .sql | sed 's/.*-0*//')
    if [ "$number" != "$expected" ]; then
        echo "embed-sql.sh: $file: expected migration number $expected" >&2
        exit 1
    fi
    echo "    {$number,"
    # comments and indentation are for readers of sql/, and stay there
    LC_ALL=C sed -e '/^ *--/d' -e '/^ *$/d' -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^ */     "/' -e 's/$/\\n"/' "$file"
    echo '    },'
    expected=$((expected + 1))
done
echo "};"
echo "const size_t dw_sql_${name}_count = sizeof dw_sql_$name / sizeof dw_sql_$name[0];"
