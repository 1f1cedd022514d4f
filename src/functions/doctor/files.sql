-- The data of the mmdb files in use.
WITH file AS (SELECT * FROM @extschema@._mmdb_files())
SELECT 'mmdb files', 'error',
       CASE WHEN l.is_empty THEN 'No mmdb file is in use: asn_inventory.maxmind_editions is empty.' ELSE 'No mmdb file is installed.' END,
       CASE WHEN l.is_empty THEN 'ALTER SYSTEM SET asn_inventory.maxmind_editions = ''GeoLite2-City,GeoLite2-ASN''; SELECT pg_reload_conf();  -- or other editions'
            ELSE 'SELECT @extschema@.update_maxmind();  -- or put the files into the directory that SHOW asn_inventory.maxmind_dir names' END
FROM (SELECT current_setting('asn_inventory.maxmind_editions', true) !~ '[^ ,]' AS is_empty) l
WHERE NOT EXISTS (SELECT FROM file WHERE generation IS NOT NULL)
UNION ALL
SELECT 'mmdb refused', 'warning', edition || ': ' || refused, 'SELECT @extschema@.update_maxmind();  -- or put another file there'
FROM file WHERE refused IS NOT NULL
UNION ALL
SELECT 'mmdb age', 'warning', format('%s was built %s days ago.', edition, extract(day FROM now() - build_time)),
       'SELECT @extschema@.update_maxmind();  -- if that fails: SELECT detail FROM enrichment_run WHERE kind = ''update'' ORDER BY job_id DESC LIMIT 1;'
FROM file WHERE build_time < now() - current_setting('asn_inventory.maxmind_max_age', true)::interval
UNION ALL
SELECT 'clock', 'warning', format('%s was built at %s, which is in the future by this server''s clock.', edition, build_time),
       'timedatectl status  # set the server''s clock'
FROM file WHERE build_time > now() + interval '1 day'
