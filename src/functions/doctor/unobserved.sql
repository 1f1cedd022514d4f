-- Statements whose rows were not observed.
SELECT 'unobserved', 'warning', format('%s statements inserted rows into %s and were not observed: asn_inventory.enabled was off in their session, or they went through a table with a foreign partition.', s.unobserved, s.tbl),
       format('SELECT %s.populate_ip_inventory(%L); UPDATE %1$s.ip_source SET unobserved = 0 WHERE tbl = %2$L::regclass;  -- to forbid switching it off: asn_inventory.enabled_by_superuser_only', '@extschema@', s.tbl::text)
FROM @extschema@.ip_source s WHERE s.unobserved > 0
UNION ALL
SELECT 'unobserved', 'warning', format('%s statements were not observed, the last one at %s into %s: ip_observation or ip_source was locked.',
              u.statements, u.last_at, coalesce(u.tbl::regclass::text, 'one of many tables')),
       CASE WHEN u.tbl IS NULL THEN format('SELECT %s.populate_ip_inventory(tbl) FROM %1$s.ip_source WHERE tbl IN (SELECT oid FROM pg_class);  -- adds the rows that are not counted yet', '@extschema@')
            ELSE format('SELECT %s.populate_ip_inventory(%L);  -- adds the rows that are not counted yet', '@extschema@', u.tbl::regclass::text) END
FROM @extschema@._unobserved_statements() u WHERE u.statements > 0
