#!/bin/sh
# Counts words: a persistent handler for the shell. It reads the job's number and a text without quotes and backslashes
# from the line; a real one would use jq(1).

field() { # NAME LINE: what follows "NAME": as far as the next comma, brace or quote
    printf '%s\n' "$2" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"
}

echo '{"jobq":"ready"}'
while IFS= read -r line; do
    case $line in '{"cancel":'*) continue ;; esac
    # The job comes first in the line, so that no payload can hide it.
    job=${line#'{"job":'}
    job=${job%%,*}
    text=$(field text "$line")
    echo "counting ${#text} characters"
    # shellcheck disable=SC2086 # It is to be split into words.
    set -- $text
    echo "{\"jobq\":\"done\",\"job\":$job,\"result\":{\"words\":$#,\"pid\":$$}}"
done
