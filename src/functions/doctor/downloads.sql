-- The result of the last look for newer files. One that was cancelled, or met another, was none. $1: there is anybody to ask. If
-- not, who asked for one, to mend files that are missing or refused, learns why it could do nothing.
SELECT 'maxmind downloads', 'warning', r.detail,
       'SELECT @extschema@.update_maxmind(true);  -- after correcting the cause: asn_inventory.maxmind_license_key, the network, the account'
FROM (SELECT outcome, detail FROM @extschema@.enrichment_run
      WHERE kind = 'update' AND outcome <> 'cancelled' AND NOT parameters @> '{"sources": ["own schedules"]}' ORDER BY job_id DESC LIMIT 1) r
WHERE r.outcome = 'failed' AND ($1 OR r.detail ~ '^asn_inventory.maxmind_license_key ')
  -- That there is no key is no trouble while the files are there.
  AND NOT (r.detail ~ 'maxmind_license_key (cannot be resolved|is empty)' AND EXISTS (SELECT FROM @extschema@._mmdb_files() f WHERE f.generation IS NOT NULL)
           AND NOT EXISTS (SELECT FROM @extschema@._mmdb_files() f WHERE f.refused IS NOT NULL))
