-- The files that the server followed by this one shares, beside those in use here. $1: those, by edition; $2: the editions
-- in use; $3: whom this server follows; $4: files are not shared; $5: seconds that a file may travel; $6: the tables are a
-- superuser's; $7: the entries of $2, with their roles.
WITH shared AS (SELECT s.edition, s.sha256, s.built_at, s.shared_at, $1::json -> s.edition AS here, s.edition = ANY ($2) AS is_listed
                FROM @extschema@.mmdb_shared s WHERE s.shared_at < now() - make_interval(secs => $5))
SELECT 'mmdb elsewhere', 'warning',
       format('%s: %s shares the build of %s since %s; this server %s.', s.edition, $3, s.built_at, s.shared_at,
              CASE WHEN NOT s.is_listed THEN 'does not use this edition'
                   WHEN s.here IS NULL THEN 'has no file'
                   ELSE format('uses that of %s since %s', s.here ->> 'built', s.here ->> 'since') END),
       CASE WHEN NOT s.is_listed
            THEN format('ALTER SYSTEM SET asn_inventory.maxmind_editions = %L; SELECT pg_reload_conf();  -- in the same order and with the same roles as on %s',
                        (SELECT array_to_string($7 || array_agg(o.edition ORDER BY o.edition), ',') FROM shared o WHERE NOT o.is_listed), $3)
            WHEN $4 THEN 'ALTER SYSTEM SET asn_inventory.share_mmdb_files = ''auto''; SELECT pg_reload_conf();'
            WHEN NOT $6
            THEN format('DELETE FROM @extschema@.mmdb_shared; DELETE FROM @extschema@.mmdb_shared_part; ALTER TABLE @extschema@.mmdb_shared OWNER TO CURRENT_USER; ALTER TABLE @extschema@.mmdb_shared_part OWNER TO CURRENT_USER;  -- on %s, as a superuser: files are taken from tables of one alone', $3)
            WHEN s.here ->> 'taken' = s.sha256
            THEN format('SHOW asn_inventory.maxmind_dir;  -- the file came from this directory of this server; put it into that of %s as well', $3)
            ELSE 'SELECT * FROM @extschema@.worker_errors();  -- why it was not installed here; see also the server''s log' END
FROM shared s
WHERE NOT s.is_listed OR s.here ->> 'sha256' IS DISTINCT FROM s.sha256
UNION ALL
SELECT 'mmdb elsewhere', 'ok', format('Not known here: %s shares no files through this database. Of several, the one with the lowest OID carries them.', $3), NULL
WHERE NOT EXISTS (SELECT FROM @extschema@.mmdb_shared)
