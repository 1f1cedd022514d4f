-- Whether the inventory is counted. Where anything was written, the worker counts within minutes, and each hour in any case; a
-- process of its own counts a large inventory, and may hang. $1: what the worker compares, the number of the last change. Where that
-- is not known, as on a node of a cluster, the count's age says enough. Never the times of events: archives are older than any count.
-- The table is read by itself: on a node that lacks it, one that was added, Citus refuses to join it with a function.
WITH c AS MATERIALIZED (SELECT i.counted_at, (to_jsonb(i) ->> 'changes')::bigint AS changes FROM @extschema@.inventory_count i)
SELECT 'count', 'warning', format('The inventory was last counted at %s: figures, views and the report are of then.', c.counted_at),
       'SELECT pid, backend_type, state, wait_event FROM pg_stat_activity WHERE backend_type IN (''asn_inventory counter'', ''asn_inventory worker'') AND datname = current_database();  -- pg_terminate_backend() ends a counter that hangs; another one is started'
FROM @extschema@._worker_status() w, c
WHERE w.worker = 'running' AND w.enabled AND c.counted_at < now() - interval '1 day'
  -- 0.1.0 has no column for that number.
  AND coalesce(c.changes <> $1, true)
