-- What is wrong, and the very command that mends it. Reads what the views read; asks nobody outside.
CREATE FUNCTION enrichment_doctor(OUT check_name text, OUT level text, OUT detail text, OUT remedy text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        WITH worker AS (SELECT * FROM worker_status()),
        file AS (SELECT * FROM mmdb_files()),
        source AS (SELECT * FROM source_status),
        inventory AS (SELECT c.oid, c.reloptions, s.n_live_tup, s.n_dead_tup
                      FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
                      WHERE c.oid = 'ip_inventory'::regclass),
        queue AS (SELECT queued AS waiting FROM enrichment_status),
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
                                         AND bool_or(database_type ~ 'City|Country|Enterprise'))
            UNION ALL
            SELECT 'clock', 'warning', format('%s was built at %s, which is still to come here.', edition, build_time),
                   'timedatectl status  # set the server''s clock'
            FROM file WHERE build_time > now() + interval '1 day'
            UNION ALL
            SELECT 'maxmind downloads', 'warning', r.detail, 'SELECT update_maxmind();  -- after mending what it says: asn_inventory.maxmind_license_key, the network, the account'
            FROM (SELECT outcome, detail FROM enrichment_run WHERE kind = 'update' ORDER BY job_id DESC LIMIT 1) r
            WHERE r.outcome = 'failed'
            UNION ALL
            SELECT 'key ' || split_part(r.setting, '_', 1), CASE r.state WHEN 'fails' THEN 'error' ELSE 'ok' END,
                   format('asn_inventory.%s: %s%s', r.setting, r.detail,
                          CASE WHEN r.state IN ('unset', 'none') THEN CASE r.setting WHEN 'maxmind_license_key' THEN '; no file is downloaded'
                                                                      ELSE '; GreyNoise is not asked, unless asn_inventory.greynoise is on' END ELSE '' END),
                   CASE WHEN r.state = 'fails'
                        THEN format('ALTER SYSTEM SET asn_inventory.%s = ''file:/etc/asn_inventory/%s.key''; SELECT pg_reload_conf();  -- or mend what it says', r.setting, split_part(r.setting, '_', 1)) END
            FROM worker, secret_references() r WHERE worker.worker = 'running'
            UNION ALL
            SELECT 'dns', 'error', format('DNS does not answer about addresses: %s. Tried again at %s.', last_error, retry_at),
                   'dig +short TXT 8.8.8.8.origin.asn.cymru.com  # on the server; another resolver: asn_inventory.cymru_dns_servers'
            FROM cymru_ways() WHERE way = 'dns' AND failing
            UNION ALL
            SELECT 'port 43', 'warning', format('Bulk sessions with Team Cymru fail, and DNS is asked instead, more slowly: %s. Tried again at %s.', last_error, retry_at),
                   'nc -vz whois.cymru.com 43  # on the server; where it stays blocked: ALTER SYSTEM SET asn_inventory.cymru_bulk_min = 2147483647; SELECT pg_reload_conf();'
            FROM cymru_ways() WHERE way = 'bulk' AND failing
            UNION ALL
            SELECT 'greynoise', CASE state WHEN 'refused' THEN 'error' ELSE 'warning' END,
                   CASE state
                        WHEN 'refused' THEN format('GreyNoise refuses the key: %s.', last_error)
                        WHEN 'quota' THEN format('The quota is spent until %s. The most observed addresses come first then.', quota_reset_at)
                        ELSE format('GreyNoise does not answer: %s. Tried again at %s.', last_error, retry_at) END,
                   CASE state
                        WHEN 'quota' THEN 'SELECT source, quota, quota_used, quota_reset_at FROM source_status WHERE source = ''greynoise'';'
                        WHEN 'failing' THEN 'curl -sSI https://api.greynoise.io/v3/community/8.8.8.8  # from the server'
                        ELSE 'ALTER SYSTEM SET asn_inventory.greynoise_api_key = ''file:/etc/asn_inventory/greynoise.key''; SELECT pg_reload_conf();' END
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
            FROM ip_source s
            JOIN pg_class c ON c.oid = s.tbl  -- the row of a dropped table stays until the next attach
            LEFT JOIN pg_trigger t ON t.tgrelid = s.tbl AND t.tgfoid = 'observe_addresses()'::regprocedure
            WHERE t.oid IS NULL OR t.tgenabled IN ('D', 'R')
            UNION ALL
            SELECT 'index', 'warning', format('%s has no index on %s: finding the events of an address reads all of it.', s.tbl, a.attname),
                   format(CASE c.relkind WHEN 'p' THEN 'CREATE INDEX ON %s (%I);  -- who inserts waits meanwhile'
                                        ELSE 'CREATE INDEX CONCURRENTLY ON %s (%I);' END, s.tbl, a.attname)
            FROM ip_source s JOIN pg_class c ON c.oid = s.tbl
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
            SELECT 'grants', 'warning', format('Everybody may %s %s.', lower(g.privilege_type), c.oid::regclass),
                   format('REVOKE %s ON %s FROM PUBLIC;', g.privilege_type, c.oid::regclass)
            FROM pg_class c, aclexplode(c.relacl) g
            WHERE c.oid IN ('ip_inventory'::regclass, 'ip_observation'::regclass, 'ip_source'::regclass, 'source_quota'::regclass)
              AND g.grantee = 0 AND g.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')),
        named(check_name, place) AS (VALUES ('preload', 1), ('enabled', 2), ('worker', 3), ('mmdb files', 4), ('mmdb refused', 5),
            ('mmdb age', 6), ('mmdb editions', 7), ('clock', 8), ('key maxmind', 9), ('maxmind downloads', 10), ('dns', 11), ('port 43', 12), ('key greynoise', 13), ('greynoise', 14),
            ('queue', 15), ('triggers', 16), ('index', 17), ('autovacuum', 18), ('version', 19), ('grants', 20))
        SELECT n.check_name, coalesce(t.level, 'ok'), t.detail, t.remedy
        FROM named n LEFT JOIN trouble t USING (check_name) ORDER BY n.place, t.detail;
    END;
COMMENT ON FUNCTION enrichment_doctor() IS 'what is wrong with the set-up, a row a check: ok, warning or error, why, and the command that mends it';
