-- Whether the inventory is counted. Where anything was written, the worker counts within minutes; a process of its own counts a
-- large inventory, and may hang.
SELECT 'count', 'warning', format('The inventory was last counted at %s: figures, views and the report are of then.', c.counted_at),
       'SELECT pid, backend_type, state, wait_event FROM pg_stat_activity WHERE backend_type IN (''asn_inventory counter'', ''asn_inventory worker'') AND datname = current_database();  -- pg_terminate_backend() ends a counter that hangs; another one is started'
FROM @extschema@._worker_status() w, @extschema@.inventory_count c
WHERE w.worker = 'running' AND w.enabled AND c.counted_at < now() - interval '1 day'
  AND EXISTS (SELECT FROM @extschema@.ip_source s WHERE s.last_observed_at > c.counted_at + interval '1 day')
