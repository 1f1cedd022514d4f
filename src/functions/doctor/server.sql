-- The server and the database around the extension. Catalogs only, which all roles may read.
WITH extension AS (SELECT e.*, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'asn_inventory'),
ours AS MATERIALIZED (
    SELECT c.* FROM extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid),
here AS (SELECT oid, datname FROM pg_database WHERE datname = current_database()),
-- Settings of databases and roles that matter here: the database or role, in words and as SQL.
set_for AS (
    SELECT CASE WHEN s.setrole = 0 AND s.setdatabase = 0 THEN 'all roles'
                WHEN s.setrole = 0 THEN 'this database'
                ELSE 'role ' || quote_ident(pg_get_userbyid(s.setrole)) || CASE s.setdatabase WHEN 0 THEN '' ELSE ' in this database' END END AS whom,
           CASE WHEN s.setrole = 0 AND s.setdatabase = 0 THEN 'ROLE ALL'
                WHEN s.setrole = 0 THEN format('DATABASE %I', h.datname)
                ELSE format('ROLE %I', pg_get_userbyid(s.setrole)) || CASE s.setdatabase WHEN 0 THEN '' ELSE format(' IN DATABASE %I', h.datname) END END AS target,
           split_part(c, '=', 1) AS name, lower(substr(c, strpos(c, '=') + 1)) AS value,
           s.setrole, s.setrole <> 0 AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = s.setrole AND r.rolsuper) AS superuser
    FROM here h JOIN pg_db_role_setting s ON s.setdatabase IN (0, h.oid), unnest(s.setconfig) c)
SELECT 'settings', 'warning', format('%s = %s is set for %s: %s.', s.name, s.value, s.whom,
              CASE s.name WHEN 'event_triggers' THEN 'partitions and children that its sessions make are not observed'
                          ELSE 'what its sessions insert is not observed' END),
       format('ALTER %s RESET %s;  -- for sessions from then on', s.target, s.name)
FROM set_for s
WHERE s.name = 'asn_inventory.enabled' AND s.value IN ('off', 'of', 'false', 'fals', 'fal', 'fa', 'f', 'no', 'n', '0')
      -- If only superusers may switch it, values of other roles are ignored.
      AND (s.superuser OR current_setting('asn_inventory.enabled_by_superuser_only', true) IS DISTINCT FROM 'on')
   OR s.name = 'session_replication_role' AND s.value = 'replica'
   OR s.name = 'event_triggers' AND s.value IN ('off', 'of', 'false', 'fals', 'fal', 'fa', 'f', 'no', 'n', '0')
UNION ALL
SELECT 'settings', 'warning', 'session_replication_role is replica, in this session at least: what is inserted is not observed.',
       'ALTER SYSTEM RESET session_replication_role; SELECT pg_reload_conf();  -- or, where this session alone has it: RESET session_replication_role;'
WHERE current_setting('session_replication_role') = 'replica' AND NOT EXISTS (SELECT FROM set_for WHERE name = 'session_replication_role')
UNION ALL
SELECT 'settings', 'ok', format('Set for %s, but without effect on the worker, which has its own values: %s.', s.whom, string_agg(s.name, ', ' ORDER BY s.name)), NULL
FROM set_for s
WHERE s.setrole IN (0, 10) AND s.name IN ('role', 'session_authorization', 'search_path', 'row_security', 'statement_timeout', 'transaction_timeout',
    'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'default_transaction_read_only',
    'default_transaction_isolation', 'default_transaction_deferrable', 'synchronous_commit', 'temp_file_limit')
GROUP BY s.whom
UNION ALL
SELECT 'event trigger', 'warning',
       CASE WHEN t.evtname IS NULL THEN 'The extension''s event trigger is gone: new partitions and children of attached tables are not observed.'
            ELSE format('The event trigger %I %s: new partitions and children of attached tables are not observed.', t.evtname,
                        CASE t.evtenabled WHEN 'D' THEN 'is disabled' ELSE 'fires only for replication' END) END,
       CASE WHEN t.evtname IS NULL
            THEN coalesce((SELECT format('ALTER EVENT TRIGGER %I RENAME TO %I; ', o.evtname, 'not_asn_inventory_' || o.oid)
                           FROM pg_event_trigger o WHERE o.evtname = 'asn_inventory_new_partition'), '')
                 || format('CREATE EVENT TRIGGER asn_inventory_new_partition ON ddl_command_end WHEN TAG IN (''CREATE TABLE'', ''ALTER TABLE'', ''CREATE SCHEMA'', ''CREATE FOREIGN TABLE'') EXECUTE FUNCTION %I.attach_new_partitions(); ALTER EXTENSION asn_inventory ADD EVENT TRIGGER asn_inventory_new_partition;', e.nspname)
            ELSE format('ALTER EVENT TRIGGER %I ENABLE;', t.evtname) END
FROM extension e
LEFT JOIN LATERAL (
    SELECT g.evtname, g.evtenabled FROM pg_event_trigger g JOIN pg_proc p ON p.oid = g.evtfoid
    WHERE p.proname = 'attach_new_partitions' AND p.pronamespace = e.extnamespace AND g.evtevent = 'ddl_command_end'
    ORDER BY g.evtenabled IN ('O', 'A') DESC LIMIT 1) t ON true
WHERE t.evtname IS NULL OR t.evtenabled IN ('D', 'R')
UNION ALL
SELECT 'event trigger', 'warning', 'event_triggers is off: new partitions and children of attached tables are not observed.',
       'ALTER SYSTEM SET event_triggers = on; SELECT pg_reload_conf();'
WHERE current_setting('event_triggers', true) = 'off' AND NOT EXISTS (SELECT FROM set_for WHERE name = 'event_triggers')
UNION ALL
SELECT 'publication', 'warning',
       format('Publication %I publishes tables of the extension: %s. Each server keeps its own queue, counts and files, and rows from another server are wrong there.', p.pubname, p.names),
       CASE WHEN p.puballtables
            THEN format('DROP PUBLICATION %I;', p.pubname)
                 || CASE WHEN o.names IS NULL THEN '' ELSE format(' CREATE PUBLICATION %I FOR TABLE %s WITH (publish = %L, publish_via_partition_root = %s);', p.pubname, o.names,
                                    concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                                              CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END), CASE WHEN p.pubviaroot THEN 'true' ELSE 'false' END) END
            WHEN p.singly = p.tables THEN format('ALTER PUBLICATION %I DROP TABLE %s;', p.pubname, p.names)
            ELSE CASE WHEN p.singly = 0 THEN '' ELSE format('ALTER PUBLICATION %I DROP TABLE %s; ', p.pubname, p.singly_names) END
                 || format('ALTER PUBLICATION %I DROP TABLES IN SCHEMA %I;', p.pubname, e.nspname)
                 || CASE WHEN o.in_schema IS NULL THEN '' ELSE format(' ALTER PUBLICATION %I ADD TABLE %s;', p.pubname, o.in_schema) END END
FROM extension e,
     (SELECT u.oid, u.pubname, u.puballtables, u.pubinsert, u.pubupdate, u.pubdelete, u.pubtruncate, u.pubviaroot, count(*) AS tables,
             count(r.oid) AS singly, string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname) AS names,
             string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname) FILTER (WHERE r.oid IS NOT NULL) AS singly_names
      FROM pg_publication u JOIN pg_publication_tables t ON t.pubname = u.pubname
      JOIN ours c ON c.relname = t.tablename JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = t.schemaname
      LEFT JOIN pg_publication_rel r ON r.prpubid = u.oid AND r.prrelid = c.oid
      GROUP BY u.oid, u.pubname, u.puballtables, u.pubinsert, u.pubupdate, u.pubdelete, u.pubtruncate, u.pubviaroot) p
LEFT JOIN LATERAL (
     -- Other published tables, which can stay published by their own names.
     SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid) AS names,
            string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid) FILTER (WHERE c.relnamespace = (SELECT extnamespace FROM extension)
                AND NOT EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid)) AS in_schema
     FROM pg_class c
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p' AND c.oid >= 16384
       AND c.relnamespace <> 'pg_toast'::regnamespace AND NOT EXISTS (SELECT FROM ours WHERE ours.oid = c.oid)) o ON true
UNION ALL
SELECT 'autovacuum', 'warning', 'Autovacuum is off: dead rows stay.', 'ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf();'
WHERE current_setting('autovacuum') = 'off'
UNION ALL
SELECT 'autovacuum', 'warning', format('Autovacuum is off for %s.', c.relname), format('ALTER TABLE %s RESET (autovacuum_enabled);', c.oid::regclass)
FROM ours c
WHERE c.relkind = 'r'
  AND EXISTS (SELECT FROM pg_options_to_table(c.reloptions) o
              WHERE o.option_name = 'autovacuum_enabled' AND lower(o.option_value) IN ('off', 'of', 'false', 'fals', 'fal', 'fa', 'f', 'no', 'n', '0'))
UNION ALL
SELECT 'autovacuum', 'warning', format('%s dead rows and %s live rows in ip_inventory.', s.n_dead_tup, s.n_live_tup),
       format('VACUUM (VERBOSE) %s;', c.oid::regclass)
FROM ours c, LATERAL (SELECT pg_stat_get_dead_tuples(c.oid) AS n_dead_tup, pg_stat_get_live_tuples(c.oid) AS n_live_tup) s
WHERE c.relname = 'ip_inventory' AND s.n_dead_tup > 100000 + s.n_live_tup / 2
UNION ALL
SELECT 'version', 'error', format('The extension is %s, the library %s.', e.extversion, v.default_version), 'ALTER EXTENSION asn_inventory UPDATE;'
FROM extension e JOIN pg_available_extensions v ON v.name = e.extname
WHERE e.extversion IS DISTINCT FROM v.default_version AND v.default_version = $1
UNION ALL
SELECT 'version', 'error', format('The server runs the library of %s; that of %s is installed.', $1, v.default_version),
       'pg_ctl restart  # or as your system restarts it; then in each database: ALTER EXTENSION asn_inventory UPDATE;'
FROM pg_available_extensions v WHERE v.name = 'asn_inventory' AND v.default_version <> $1
