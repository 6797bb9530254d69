#!/bin/sh
# Runs a program so that Ctrl-C reaches it as SIGTERM: what ends without a word by that one answers Ctrl-C with a
# traceback (Python while it starts, pip) or a message of its own. Where that ended the program, says "stopping", unless
# SILENT is set.
stopped=
child=
name_of() { cat "/proc/$1/comm" 2>/dev/null; }
end_child() {
    # Until it has become the program it is a copy of this shell, which would lose the signal. A program that is a shell
    # itself cannot be told apart from that, so the wait has a bound.
    tries=0
    while [ "$tries" -lt 20 ] && [ "$(name_of "$child")" = "$(name_of $$)" ]; do
        sleep 0.01
        tries=$((tries + 1))
    done
    kill -TERM "$child" 2>/dev/null
}
trap 'stopped=1; [ -z "$child" ] || end_child' INT TERM HUP
# In the background, where a shell lets a program ignore SIGINT.
"$@" &
child=$!
[ -z "$stopped" ] || end_child
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
