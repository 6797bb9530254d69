#!/bin/sh
# Runs a program so that Ctrl-C reaches it as SIGTERM: what ends without a word by that one answers Ctrl-C with a
# traceback (Python while it starts, pip) or a message of its own. Where that ended the program, says "stopping", unless
# SILENT is set.
stopped=
child=
trap 'stopped=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' INT TERM HUP
# In the background, where a shell lets a program ignore SIGINT.
"$@" &
child=$!
[ -z "$stopped" ] || kill -TERM "$child" 2>/dev/null
# A signal ends `wait`, and not always the program.
while :; do
    wait "$child" 2>/dev/null # where dash says "Terminated"
    status=$?
    kill -0 "$child" 2>/dev/null || break
done
if [ -n "$stopped" ] && [ "$status" -eq 143 ]; then
    [ -n "${SILENT:-}" ] || echo stopping
    exit 130
fi
exit "$status"
