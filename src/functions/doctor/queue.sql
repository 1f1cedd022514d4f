-- Whether observations are absorbed.
-- 0.1.0 has no margin of error.
WITH status AS (SELECT queued, queue_age, last_absorb_at, coalesce((to_jsonb(s) ->> 'queued_off_by')::bigint, 0) AS off_by
                FROM @extschema@.enrichment_status s),
patience AS (SELECT greatest(interval '10 minutes', 2 * current_setting('asn_inventory.absorb_interval', true)::interval) AS longest)
SELECT 'queue', 'warning', format('%s addresses%s wait%s%s.', queued, CASE WHEN off_by > 0 THEN format(', give or take %s,', off_by) END, coalesce(', the oldest for ' || date_trunc('second', queue_age), ''),
              coalesce(', and the worker last looked at them at ' || last_absorb_at, '')),
       'SELECT @extschema@.absorb_observations();  -- and the server''s log for why the worker does not keep up'
FROM status, patience
WHERE queued > 1000000 OR queue_age > longest OR queued > 0 AND last_absorb_at < now() - longest
