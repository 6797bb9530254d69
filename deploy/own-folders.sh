#!/bin/sh
# The one-shot service `folders` of docker-compose.yml: gives each folder, with its content, to the containers' user $1.
# Docker creates a missing host folder as root, and an earlier server may have written files as another user. If the
# owner can't be changed (on some network shares), it prints what to do on the host; the services start nevertheless,
# since reading may be enough.
set -eu

user=$1
shift
for folder in "$@"; do
    # Other file systems mounted inside and targets of links are left alone.
    if ! find "$folder" -xdev ! -user "$user" -exec chown --no-dereference "$user:$user" {} + 2>/dev/null; then
        echo "$folder cannot be given to user $user, the user of the containers. On the host, run:" \
            "sudo chown -R $user:$user on the folder that is mounted there." >&2
        continue
    fi
    find "$folder" -xdev -type d ! -perm -u=rwx -exec chmod u+rwx {} +
done
