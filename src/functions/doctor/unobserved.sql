-- Statements whose rows were not observed. $1: the tables that Citus distributes, whose rows cannot be counted afterwards; $2, $3: the
-- shards of this node, and the table of each.
WITH shard AS (SELECT s.shard, s.whole FROM unnest($2, $3) s(shard, whole))
SELECT 'unobserved', 'warning', format('%s statements inserted rows into %s%s and were not observed: asn_inventory.enabled was off in their session, or they went through a table with a foreign partition.', s.unobserved, CASE WHEN s.tbl::oid = ANY ($1) THEN 'shards here of ' END, s.tbl),
       format(CASE WHEN s.tbl::oid = ANY ($1) THEN 'UPDATE %s.ip_source SET unobserved = 0 WHERE tbl = %L::regclass;  -- it is distributed: these rows cannot be counted afterwards. To forbid switching it off: asn_inventory.enabled_by_superuser_only'
                   ELSE 'SELECT %s.populate_ip_inventory(%L); UPDATE %1$s.ip_source SET unobserved = 0 WHERE tbl = %2$L::regclass;  -- to forbid switching it off: asn_inventory.enabled_by_superuser_only' END, '@extschema@', s.tbl::text)
FROM @extschema@.ip_source s WHERE s.unobserved > 0
UNION ALL
SELECT 'unobserved', 'warning', format('%s statements were not observed, the last one at %s into %s: ip_observation or ip_source was locked.',
              u.statements, u.last_at, coalesce(coalesce(h.whole, u.tbl)::regclass::text, 'one of many tables')),
       CASE WHEN u.tbl IS NULL THEN format('SELECT %s.populate_ip_inventory(tbl) FROM %1$s.ip_source WHERE tbl IN (SELECT oid FROM pg_class)%s;  -- adds the rows that are not counted yet', '@extschema@',
                                           CASE WHEN cardinality($1) > 0 THEN format(' AND tbl::oid <> ALL (%L::oid[])', $1) END)
            WHEN coalesce(h.whole, u.tbl) = ANY ($1) THEN format('SELECT pid, mode, granted FROM pg_locks WHERE relation = %L::regclass;  -- who locks it? The table is distributed: these rows cannot be counted afterwards, and a restart of the server forgets the statements', '@extschema@.ip_observation')
            ELSE format('SELECT %s.populate_ip_inventory(%L);  -- adds the rows that are not counted yet', '@extschema@', coalesce(h.whole, u.tbl)::regclass::text) END
FROM @extschema@._unobserved_statements() u LEFT JOIN shard h ON h.shard = u.tbl WHERE u.statements > 0
