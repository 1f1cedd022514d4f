-- What is wrong, and the very command that mends it. Reads what the views read; asks nobody outside.
CREATE FUNCTION @extschema@.enrichment_doctor(OUT check_name text, OUT level text, OUT detail text, OUT remedy text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        WITH worker AS (SELECT * FROM @extschema@.worker_status()),
        file AS (SELECT * FROM @extschema@.mmdb_files()),
        source AS (SELECT * FROM @extschema@.source_status),
        inventory AS (SELECT c.oid, c.reloptions, s.n_live_tup, s.n_dead_tup
                      FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
                      WHERE c.oid = '@extschema@.ip_inventory'::regclass),
        queue AS (SELECT queued AS waiting FROM @extschema@.enrichment_status),
        member AS MATERIALIZED (SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                                WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'asn_inventory'),
        ours AS MATERIALIZED (SELECT c.* FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid),
        trouble(check_name, level, detail, remedy) AS (
            SELECT 'preload', 'error', 'asn_inventory is not in shared_preload_libraries: there is no worker.',
                   format('ALTER SYSTEM SET shared_preload_libraries = %s;  -- then restart the server',
                          array_to_string(array_remove(string_to_array(current_setting('shared_preload_libraries'), ','), '') || 'asn_inventory'::text, ', '))
            FROM worker WHERE worker = 'not preloaded'
            UNION ALL
            SELECT 'enabled', 'warning', 'asn_inventory.enabled is off: nothing is observed, and the worker rests.',
                   'ALTER SYSTEM SET asn_inventory.enabled = on; SELECT pg_reload_conf();'
            FROM worker WHERE NOT enabled
            UNION ALL
            SELECT 'worker', 'error', 'No worker runs in this database: max_worker_processes may be used up, or asn_inventory.databases names others.',
                   'SHOW max_worker_processes; SHOW asn_inventory.databases;  -- and the server''s log'
            FROM worker WHERE worker = 'not running'
            UNION ALL
            SELECT 'worker errors', CASE WHEN e.work LIKE 'writing single %' THEN 'warning' ELSE 'error' END,
                   format('The worker fails at %s, since %s: %s.', e.work, e.since, e.last_error),
                   CASE WHEN e.sqlstate = '53100' THEN 'df -h  # on the server: make room where it is full; the worker goes on by itself then'
                        WHEN e.sqlstate = '53200' THEN 'free -h  # on the server: make room; the worker goes on by itself then'
                        WHEN e.work LIKE 'writing single %'
                        THEN 'SELECT address, attempts, retry_at FROM ip_observation WHERE attempts > 0;  -- and look for constraints and triggers of your own on ip_inventory'
                        ELSE 'SELECT work, last_error_at, sqlstate, last_error FROM worker_errors();  -- and the server''s log' END
            FROM @extschema@.worker_errors() e
            UNION ALL
            SELECT 'mmdb files', 'error', 'No mmdb file is installed.',
                   'SELECT update_maxmind();  -- or put the files into the directory that SHOW asn_inventory.maxmind_dir names'
            WHERE NOT EXISTS (SELECT FROM file WHERE generation IS NOT NULL)
            UNION ALL
            SELECT 'mmdb refused', 'warning', edition || ': ' || refused, 'SELECT update_maxmind();  -- or put another file there'
            FROM file WHERE refused IS NOT NULL
            UNION ALL
            SELECT 'mmdb age', 'warning', format('%s was built %s days ago.', edition, extract(day FROM now() - build_time)),
                   'SELECT update_maxmind();  -- if that fails: SELECT detail FROM enrichment_run WHERE kind = ''update'' ORDER BY job_id DESC LIMIT 1;'
            FROM file WHERE build_time < now() - current_setting('asn_inventory.maxmind_max_age', true)::interval
            UNION ALL
            SELECT 'mmdb editions', 'warning',
                   CASE WHEN bool_or(database_type LIKE '%ASN%' OR database_type LIKE '%ISP%')
                        THEN 'An ASN file is installed and no City or Country file: places stay unknown.'
                        ELSE 'A City or Country file is installed and no ASN file: every ASN has to come from Team Cymru.' END,
                   'SHOW asn_inventory.maxmind_editions;  -- and install what is missing'
            FROM file WHERE generation IS NOT NULL
            HAVING count(*) > 0 AND NOT (bool_or(database_type LIKE '%ASN%' OR database_type LIKE '%ISP%')
                                         AND bool_or(database_type ~ 'City|Country|Enterprise|Location'))
            UNION ALL
            SELECT 'clock', 'warning', format('%s was built at %s, which is still to come here.', edition, build_time),
                   'timedatectl status  # set the server''s clock'
            FROM file WHERE build_time > now() + interval '1 day'
            UNION ALL
            SELECT 'maxmind downloads', 'warning', r.detail, 'SELECT update_maxmind(true);  -- after mending what it says: asn_inventory.maxmind_license_key, the network, the account'
            FROM (SELECT outcome, detail FROM @extschema@.enrichment_run WHERE kind = 'update' ORDER BY job_id DESC LIMIT 1) r
            WHERE r.outcome = 'failed'
            UNION ALL
            SELECT 'key ' || split_part(r.setting, '_', 1), CASE r.state WHEN 'fails' THEN 'error' WHEN 'missing' THEN 'warning' ELSE 'ok' END,
                   format('asn_inventory.%s: %s%s', r.setting, r.detail,
                          CASE WHEN r.state IN ('unset', 'none', 'missing') THEN CASE r.setting WHEN 'maxmind_license_key' THEN '; no file is downloaded'
                                                                      ELSE '; GreyNoise is not asked, unless asn_inventory.greynoise is on' END ELSE '' END),
                   CASE WHEN r.state IN ('fails', 'missing')
                        THEN format('ALTER SYSTEM SET asn_inventory.%s = ''file:/etc/asn_inventory/%s.key''; SELECT pg_reload_conf();  -- or mend what it says', r.setting, split_part(r.setting, '_', 1)) END
            FROM worker, @extschema@.secret_references() r WHERE worker.worker = 'running'
            UNION ALL
            SELECT 'dns', 'error', format('DNS does not answer about addresses: %s. Tried again at %s.', last_error, retry_at),
                   'dig +short TXT 8.8.8.8.origin.asn.cymru.com  # on the server; another resolver: asn_inventory.cymru_dns_servers'
            FROM @extschema@.cymru_ways() WHERE way = 'dns' AND failing
            UNION ALL
            SELECT 'port 43', 'warning', format('Bulk sessions with Team Cymru fail, and DNS is asked instead, more slowly: %s. Tried again at %s.', last_error, retry_at),
                   'nc -vz whois.cymru.com 43  # on the server; where it stays blocked: ALTER SYSTEM SET asn_inventory.cymru_bulk_min = 2147483647; SELECT pg_reload_conf();'
            FROM @extschema@.cymru_ways() WHERE way = 'bulk' AND failing
            UNION ALL
            SELECT 'greynoise', CASE state WHEN 'refused' THEN 'error' ELSE 'warning' END,
                   CASE state
                        WHEN 'refused' THEN format('GreyNoise refuses the key: %s.', last_error)
                        WHEN 'quota' THEN format('The quota is spent until %s. The most observed addresses come first then.', quota_reset_at)
                        ELSE format('GreyNoise does not answer: %s. Tried again at %s.', last_error, retry_at) END,
                   CASE state
                        WHEN 'quota' THEN 'SELECT source, quota, quota_used, quota_reset_at FROM source_status WHERE source = ''greynoise'';  -- where GreyNoise itself said so, pg_reload_conf() asks again now'
                        WHEN 'failing' THEN 'curl -sSI https://api.greynoise.io/v3/community/8.8.8.8  # from the server'
                        ELSE 'ALTER SYSTEM SET asn_inventory.greynoise_api_key = ''file:/etc/asn_inventory/greynoise.key''; SELECT pg_reload_conf();  -- or put a good key where the reference points to' END
            FROM source WHERE source = 'greynoise'
              AND state IN ('refused', 'quota', 'failing')
            UNION ALL
            SELECT 'queue', 'warning', format('%s addresses wait%s.', waiting,
                          coalesce(', and the worker last looked at them at ' || last_absorb_at, '')),
                   'SELECT absorb_observations();  -- and the server''s log for why the worker does not keep up'
            FROM queue, worker WHERE waiting > 1000000
               OR waiting > 0 AND last_absorb_at < now() - greatest(interval '10 minutes', 2 * current_setting('asn_inventory.absorb_interval', true)::interval)
            UNION ALL
            SELECT 'triggers', 'error', format('Rows inserted into %s are not observed: its trigger is %s.', s.tbl,
                          CASE WHEN t.oid IS NULL THEN 'gone' ELSE 'disabled' END),
                   CASE WHEN t.oid IS NULL THEN format('SELECT attach_ip_source(%L, %L, %L);', s.tbl::text, s.ip_columns, s.observed_at)
                        ELSE format('ALTER TABLE %s ENABLE TRIGGER %I;', s.tbl, t.tgname) END
            FROM @extschema@.ip_source s
            JOIN pg_class c ON c.oid = s.tbl  -- the row of a dropped table stays until the next attach
            LEFT JOIN pg_trigger t ON t.tgrelid = s.tbl AND t.tgfoid = '@extschema@.observe_addresses()'::regprocedure
            WHERE t.oid IS NULL OR t.tgenabled IN ('D', 'R')
            UNION ALL
            SELECT 'index', 'warning', format('%s has no index on %s: finding the events of an address reads all of it.', s.tbl, a.attname),
                   format(CASE c.relkind WHEN 'p' THEN 'CREATE INDEX ON %s (%I);  -- who inserts waits meanwhile'
                                        ELSE 'CREATE INDEX CONCURRENTLY ON %s (%I);' END, s.tbl, a.attname)
            FROM @extschema@.ip_source s JOIN pg_class c ON c.oid = s.tbl
            JOIN pg_attribute a ON a.attrelid = s.tbl AND a.attname = ANY (s.ip_columns) AND a.atttypid = 'inet'::regtype
            WHERE c.reltuples > 1000000
              AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = s.tbl AND x.indkey[0] = a.attnum AND x.indisvalid
                              AND x.indpred IS NULL)
            UNION ALL
            SELECT 'autovacuum', 'warning', 'Autovacuum is off: dead rows stay.', 'ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf();'
            WHERE current_setting('autovacuum') = 'off'
            UNION ALL
            SELECT 'autovacuum', 'warning', 'Autovacuum is off for ip_inventory.', format('ALTER TABLE %s RESET (autovacuum_enabled);', oid::regclass)
            FROM inventory
            WHERE EXISTS (SELECT FROM pg_options_to_table(reloptions) o
                          WHERE CASE o.option_name WHEN 'autovacuum_enabled' THEN NOT o.option_value::boolean END)
            UNION ALL
            SELECT 'autovacuum', 'warning', format('%s dead rows beside %s living ones in ip_inventory.', n_dead_tup, n_live_tup),
                   format('VACUUM (VERBOSE) %s;', oid::regclass)
            FROM inventory WHERE n_dead_tup > 100000 + n_live_tup / 2
            UNION ALL
            SELECT 'version', 'error', format('The extension is %s, the library %s.', e.extversion, v.default_version), 'ALTER EXTENSION asn_inventory UPDATE;'
            FROM pg_extension e JOIN pg_available_extensions v ON v.name = e.extname
            WHERE e.extname = 'asn_inventory' AND e.extversion IS DISTINCT FROM v.default_version
            UNION ALL
            SELECT 'grants', 'warning', format('%s may %s %s.', CASE g.grantee WHEN 0 THEN 'Everybody' ELSE pg_get_userbyid(g.grantee) END,
                          lower(g.privilege_type), g.object),
                   format('REVOKE %s ON %s FROM %s;', g.privilege_type, g.object,
                          CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
            FROM (SELECT c.oid::regclass::text AS object, c.relname AS name, a.privilege_type, a.grantee
                  FROM ours c, aclexplode(c.relacl) a WHERE a.grantee <> c.relowner
                  UNION
                  SELECT c.oid::regclass::text, c.relname, a.privilege_type, a.grantee
                  FROM ours c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a WHERE a.grantee <> c.relowner
                  UNION
                  SELECT 'FUNCTION ' || p.oid::regprocedure, p.proname, a.privilege_type, a.grantee
                  FROM member m JOIN pg_proc p ON p.oid = m.objid, aclexplode(p.proacl) a
                  WHERE m.classid = 'pg_proc'::regclass AND a.grantee = 0
                    AND p.proname NOT IN ('ip_class', 'lookup_ip', 'ip_asn', 'ip_asn_org', 'ip_country', 'ip_city', 'mmdb_record')
                  UNION
                  SELECT 'TYPE ' || y.oid::regtype, y.typname, a.privilege_type, a.grantee
                  FROM member m JOIN pg_type y ON y.oid = m.objid, aclexplode(y.typacl) a WHERE m.classid = 'pg_type'::regclass AND a.grantee NOT IN (0, y.typowner)) g
            WHERE NOT (g.grantee <> 0 AND (g.privilege_type IN ('SELECT', 'USAGE') AND g.name <> 'ip_observation'
                       OR g.name = 'ip_inventory' AND g.privilege_type IN ('INSERT', 'UPDATE', 'DELETE')
                       OR g.name IN ('ip_asn_history', 'cymru_prefix', 'enrichment_run') AND g.privilege_type = 'DELETE'))
            UNION ALL
            SELECT 'owners', CASE WHEN o.kind IN ('FUNCTION', 'EVENT TRIGGER', 'VIEW') THEN 'error' ELSE 'warning' END,
                   format(CASE WHEN o.kind IN ('FUNCTION', 'EVENT TRIGGER', 'VIEW')
                               THEN '%s belongs to %s, the extension to %s: %2$s decides what everybody runs who calls or reads it.'
                               ELSE '%s belongs to %s, the extension to %s: what stands on it runs with the rights of %2$s.' END,
                          o.object, pg_get_userbyid(o.owner), pg_get_userbyid(e.extowner)),
                   format('ALTER %s %s OWNER TO %I;', o.kind, o.object, pg_get_userbyid(e.extowner))
            FROM (SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS object, c.relowner AS owner
                  FROM ours c WHERE c.relkind <> 'c'
                  UNION ALL
                  SELECT 'FUNCTION', p.oid::regprocedure::text, p.proowner
                  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
                  UNION ALL
                  SELECT 'TYPE', t.oid::regtype::text, t.typowner
                  FROM member m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
                  UNION ALL
                  SELECT 'EVENT TRIGGER', quote_ident(t.evtname), t.evtowner
                  FROM member m JOIN pg_event_trigger t ON m.classid = 'pg_event_trigger'::regclass AND t.oid = m.objid) o
            JOIN pg_extension e ON e.extname = 'asn_inventory' WHERE o.owner <> e.extowner
            UNION ALL
            SELECT 'foreign code', 'warning', format('%s on %s is not the extension''s own. %s', f.what, f.object,
                          CASE WHEN f.always THEN 'It runs when the worker writes, as the table''s owner.' ELSE 'It does nothing when the worker writes.' END),
                   f.remedy
            FROM (SELECT format('Trigger %I', t.tgname) AS what, c.oid::regclass AS object, t.tgenabled IN ('A', 'R') AS always,
                         format('DROP TRIGGER %I ON %s;', t.tgname, c.oid::regclass) AS remedy
                  FROM ours c JOIN pg_trigger t ON t.tgrelid = c.oid
                  WHERE NOT t.tgisinternal AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = t.tgfoid)
                  UNION ALL
                  SELECT format('Rule %I', r.rulename), c.oid::regclass, r.ev_enabled IN ('A', 'R'),
                         format('DROP RULE %I ON %s;', r.rulename, c.oid::regclass)
                  FROM ours c JOIN pg_rewrite r ON r.ev_class = c.oid WHERE NOT (c.relkind = 'v' AND r.rulename = '_RETURN')
                  UNION ALL
                  SELECT format('Policy %I', p.polname), c.oid::regclass, false,
                         format('DROP POLICY %I ON %s;', p.polname, c.oid::regclass)
                  FROM ours c JOIN pg_policy p ON p.polrelid = c.oid
                  UNION ALL
                  SELECT format('The child table %s', i.inhrelid::regclass), c.oid::regclass, false,
                         format('ALTER TABLE %s NO INHERIT %s;  -- until then nothing is written', i.inhrelid::regclass, c.oid::regclass)
                  FROM ours c JOIN pg_inherits i ON i.inhparent = c.oid WHERE c.relkind = 'r'
                  UNION ALL
                  SELECT format('Index %I', x.relname), c.oid::regclass, true, format('DROP INDEX %s;', x.oid::regclass)
                  FROM ours c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid
                  WHERE c.relname = 'ip_observation' OR i.indexprs IS NOT NULL) f
            UNION ALL
            SELECT 'locks', 'warning', format('%s %s %s on what the worker needs%s.',
                          coalesce('Process ' || h.pid || coalesce(' (' || h.usename || ')', ''), 'The prepared transaction ' || quote_literal(h.gid), 'A prepared transaction'),
                          CASE WHEN h.granted THEN 'holds a lock' ELSE 'waits for a lock' END, h.mode, coalesce(', since ' || h.since, '')),
                   CASE WHEN h.pid IS NOT NULL THEN format('SELECT pg_terminate_backend(%s);', h.pid)
                        WHEN h.gid IS NOT NULL THEN format('ROLLBACK PREPARED %L;', h.gid) ELSE 'SELECT gid FROM pg_prepared_xacts;' END
            FROM (SELECT DISTINCT ON (l.pid, x.gid) l.pid, l.granted, l.mode, a.usename, x.gid,
                         coalesce(l.waitstart, a.xact_start, x.prepared) AS since
                  FROM pg_locks l
                  LEFT JOIN pg_stat_activity a ON a.pid = l.pid
                  LEFT JOIN (SELECT t.virtualtransaction, p.gid, p.prepared FROM pg_locks t JOIN pg_prepared_xacts p ON p.transaction = t.transactionid
                             WHERE t.locktype = 'transactionid' AND t.pid IS NULL) x ON l.pid IS NULL AND x.virtualtransaction = l.virtualtransaction
                  WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    AND coalesce(a.backend_type, '') NOT LIKE 'asn_inventory %'
                    AND (l.locktype = 'object' AND l.classid = 'pg_extension'::regclass
                            AND l.objid = (SELECT oid FROM pg_extension WHERE extname = 'asn_inventory')
                            AND (l.objsubid = 1 AND l.mode = 'ExclusiveLock' AND l.granted OR l.objsubid = 0 AND l.mode = 'AccessExclusiveLock')
                         OR l.locktype = 'relation' AND l.relation IN (SELECT oid FROM ours WHERE relkind = 'r')
                            AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
                  ORDER BY l.pid, x.gid, l.granted, since) h
            WHERE h.since IS NULL OR h.since < clock_timestamp() - interval '5 seconds'
            UNION ALL
            SELECT 'unobserved', 'warning', format('%s statements inserted rows into %s and were not observed: asn_inventory.enabled was off in their session, or they went through a table with a foreign partition.', s.unobserved, s.tbl),
                   format('SELECT populate_ip_inventory(%L);  -- and where nobody may switch it off: asn_inventory.enabled_by_superuser_only', s.tbl::text)
            FROM @extschema@.ip_source s WHERE s.unobserved > 0
            UNION ALL
            SELECT 'unobserved', 'warning', format('%s statements were not observed since the server started, the last one at %s into %s: somebody held ip_observation.',
                          u.statements, u.last_at, u.tbl::regclass),
                   format('SELECT populate_ip_inventory(%L);  -- brings in what is not known yet', u.tbl::regclass::text)
            FROM @extschema@.unobserved_statements() u WHERE u.statements > 0),
        named(check_name, place) AS (VALUES ('preload', 1), ('enabled', 2), ('worker', 3), ('mmdb files', 4), ('mmdb refused', 5),
            ('mmdb age', 6), ('mmdb editions', 7), ('clock', 8), ('key maxmind', 9), ('maxmind downloads', 10), ('dns', 11), ('port 43', 12), ('key greynoise', 13), ('greynoise', 14),
            ('queue', 15), ('triggers', 16), ('index', 17), ('autovacuum', 18), ('version', 19), ('grants', 20), ('owners', 21), ('foreign code', 22),
            ('locks', 23), ('unobserved', 24),
            ('worker errors', 25))
        SELECT n.check_name, coalesce(t.level, 'ok'), t.detail, t.remedy
        FROM named n LEFT JOIN trouble t USING (check_name) ORDER BY n.place, t.detail;
    END;
COMMENT ON FUNCTION @extschema@.enrichment_doctor() IS 'what is wrong with the set-up, a row a check: ok, warning or error, why, and the command that mends it';
