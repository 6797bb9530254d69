#!/bin/sh
# The one-shot service `folders` of docker-compose.yml: gives each of the folders, with all that is in it, to the
# containers' user $1. Docker makes a missing folder of the host as root, and an earlier server may have filled it as
# another user. Where that can't be done (a share that does not allow it), says what to do on the host; the services
# start all the same, since what they only read may be there.
set -eu

user=$1
shift
for folder in "$@"; do
    # Nothing of another file system that is mounted in it, and no target of a link.
    if ! find "$folder" -xdev ! -user "$user" -exec chown --no-dereference "$user:$user" {} + 2>/dev/null; then
        echo "$folder cannot be given to user $user, whom the containers run as. On the host, run:" \
            "sudo chown -R $user:$user with the folder that is mounted there." >&2
        continue
    fi
    find "$folder" -xdev -type d ! -perm -u=rwx -exec chmod u+rwx {} +
done
