#!/bin/sh
# Healthy: the server accepts connections by TCP, and the database answers a query.
set -eu
user=${POSTGRES_USER:-postgres}
db=${POSTGRES_DB:-$user}
# By TCP: the temporary server of the first start listens on the socket only, and must not pass.
pg_isready -q -t 3 -h 127.0.0.1 -U "$user" -d "$db"
answer=$(PGCONNECT_TIMEOUT=3 psql -XAtqw -U "$user" -d "$db" -c 'SELECT 1' 2>&1) && [ "$answer" = 1 ] && exit
# An owner's pg_hba.conf may refuse this connection: then the server has answered.
case $answer in
*"authentication failed"* | *"no pg_hba.conf entry"* | *"no password supplied"* | *"pg_hba.conf rejects"*) exit 0 ;;
esac
printf '%s\n' "$answer"
exit 1
