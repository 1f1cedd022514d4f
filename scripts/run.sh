#!/usr/bin/env bash
# run.sh COMMAND…: runs what starts private clusters, and tells it where the installation is
# (ASN_INVENTORY_TREE), where clusters may live (ASN_INVENTORY_WORK) and, for root, which user servers run as
# (ASN_INVENTORY_USER). Where that user cannot reach the checkout, both are in a temporary directory that
# goes away with the command.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
load_setup
choose_place
[ -n "$temporary" ] || exec "$@"

trap 'rm -rf "$temporary"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
"$@"
