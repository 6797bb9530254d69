#!/bin/sh
# Runs a program so that Ctrl-C reaches it as SIGTERM: programs that end silently on SIGTERM print a traceback or a
# message on SIGINT (Python during startup, pip). If the signal ended the program, prints "stopping", unless SILENT is set.
stopped=
child=
name_of() { cat "/proc/$1/comm" 2>/dev/null; }
end_child() {
    # Before its exec, the child is a copy of this shell, which would lose the signal. If the program is itself a shell,
    # this cannot be distinguished, so the wait is bounded.
    tries=0
    while [ "$tries" -lt 20 ] && [ "$(name_of "$child")" = "$(name_of $$)" ]; do
        sleep 0.01
        tries=$((tries + 1))
    done
    kill -TERM "$child" 2>/dev/null
}
trap 'stopped=1; [ -z "$child" ] || end_child' INT TERM HUP
# In the background, since a shell makes background programs ignore SIGINT.
"$@" &
child=$!
[ -z "$stopped" ] || end_child
# A signal interrupts `wait` even if the program continues.
while :; do
    wait "$child" 2>/dev/null # dash prints "Terminated" here
    status=$?
    kill -0 "$child" 2>/dev/null || break
done
if [ -n "$stopped" ] && [ "$status" -eq 143 ]; then
    [ -n "${SILENT:-}" ] || echo stopping
    exit 130
fi
exit "$status"
