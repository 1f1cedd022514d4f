#!/usr/bin/env bash
# A compiler wrapper for scripts/check-versions.sh: gives pgrx-pg-sys, and only it, the flag with which it takes the
# bindings that ship inside the crate instead of generating them from a server's headers.
rustc=$1
shift
case " $* " in
*" --crate-name pgrx_pg_sys "*) exec "$rustc" "$@" --cfg docsrs ;;
*) exec "$rustc" "$@" ;;
esac
