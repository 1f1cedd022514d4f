-- Attached tables of which no row has ever named a sensor, though one is named for it. $1: the tables that Citus distributes; $2:
-- whether this is a node of its cluster that is not the coordinator.
SELECT 'sensors', 'warning',
       format('None of the %s observations of %s names a sensor%s.', s.observations, s.tbl,
              coalesce(': ' || substring(s.unreadable_reason, '^sensor: (.*)$'), '')),
       -- Where the inventory is distributed, nothing is taken back, and what was counted would be counted again.
       format(CASE WHEN h.is_by_hand THEN '-- make the index that observes %2$s anew: %7$s'
                   WHEN c.oid = ANY ($1) OR i.is_distributed
                   THEN 'SELECT %1$s.detach_ip_source(%2$L); SELECT %1$s.attach_ip_source(%2$L, %3$L, %4$L%5$s);  -- %6$s%7$s'
                   ELSE 'SELECT %1$s.forget_ip_source(%2$L); SELECT %1$s.attach_ip_source(%2$L, %3$L, %4$L%5$s); SELECT %1$s.populate_ip_inventory(%2$L);  -- %7$s' END,
              '@extschema@', s.tbl::text, s.ip_columns, coalesce(s.observed_path, s.observed_at::text) || coalesce('@' || s.observed_zone, ''),
              concat(CASE WHEN s.method <> 'trigger' THEN format(', %L', s.method) END,
                     CASE WHEN s.only_where IS NOT NULL THEN format(', only_where => %L', s.only_where) END, format(', sensor => %L', s.sensor)),
              CASE WHEN $2 AND c.oid = ANY ($1) THEN 'on the coordinator; ' END,
              'replace sensor by the column or JSON path that names it, or leave it out')
FROM (SELECT coalesce(to_regclass('@extschema@.ip_inventory')::oid = ANY ($1), false) AS is_distributed) i
CROSS JOIN @extschema@.ip_source s JOIN pg_class c ON c.oid = s.tbl JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    -- No call makes such indexes, and one that takes them off would find nothing to attach the table by.
    SELECT count(*) > 1 OR bool_or(x.indpred IS NOT NULL OR x.indexprs IS NOT NULL) AS is_by_hand
    FROM pg_index x JOIN pg_class o ON o.oid = x.indexrelid JOIN pg_am a ON a.oid = o.relam
    WHERE a.amname = 'ip_observer' AND x.indrelid = s.tbl) h
CROSS JOIN LATERAL (
    -- The nodes of a cluster know a table by its name.
    SELECT bool_or(l.sensor <> '') AS has_any FROM @extschema@.ip_sighting_source l
    WHERE l.tbl = s.tbl OR l.tbl IS NULL AND l.attached AND split_part(l.name, ' (node ', 1) = format('%I.%I', n.nspname, c.relname)) named
-- What was observed before the sensor was named has none: the reason says that rows were read by it since.
WHERE s.sensor IS NOT NULL AND s.observations >= 100 AND s.unreadable_reason LIKE 'sensor: %' AND NOT named.has_any
