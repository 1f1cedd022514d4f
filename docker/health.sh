#!/bin/sh
# Healthy: the server accepts connections by TCP, and the database answers a query.
set -eu
# As entrypoint.sh has them: the variable, or the file that another one names, which may be gone when the cluster is made.
user=${POSTGRES_USER:-$(cat "${POSTGRES_USER_FILE:-/dev/null}" 2>/dev/null || true)}
: "${user:=postgres}"
db=${POSTGRES_DB:-$(cat "${POSTGRES_DB_FILE:-/dev/null}" 2>/dev/null || true)}
: "${db:=$user}"
# By TCP: the temporary server of the first start listens on the socket only, and must not pass.
pg_isready -q -t 3 -h 127.0.0.1 -U "$user" -d "$db"
answer=$(PGCONNECT_TIMEOUT=3 psql -XAtqw -U "$user" -d "$db" -c 'SELECT 1' 2>&1) && [ "$answer" = 1 ] && exit
# The variables count when the cluster is made: a role or database may have another name since. An owner's pg_hba.conf may
# refuse this connection, and others may have taken all of them. In any case the server has answered.
case $answer in
*"does not exist"* | *"too many clients"* | *"remaining connection slots"*) exit 0 ;;
*"authentication failed"* | *"no pg_hba.conf entry"* | *"no password supplied"* | *"pg_hba.conf rejects"*) exit 0 ;;
esac
printf '%s\n' "$answer"
exit 1
