-- Whether all is kept of who saw what. $1: the size of ip_sighting, on all nodes of a cluster.
SELECT 'sightings', 'warning', format('ip_sighting has reached %s MB: %s observations have no row there, and new addresses get none.',
              l.megabytes, l.left_out),
       format('ALTER SYSTEM SET asn_inventory.sightings_max_size = ''%s MB''; SELECT pg_reload_conf();  -- or 0: nothing more is written there', 2 * l.megabytes)
FROM (SELECT sum(l.left_out) AS left_out, ceil($1 / 1048576.0) AS megabytes FROM @extschema@.ip_sighting_source l) l
WHERE l.left_out > 0 AND (SELECT setting::bigint FROM pg_settings WHERE name = 'asn_inventory.sightings_max_size') > 0
  AND $1 >= (SELECT setting::bigint * 1048576 FROM pg_settings WHERE name = 'asn_inventory.sightings_max_size')
UNION ALL
-- Rows of before would pass for all that was seen.
SELECT 'sightings', 'warning', format('asn_inventory.sightings_max_size is 0, and ip_sighting has %s of rows: nothing is added to them any more.', pg_size_pretty($1)),
       'TRUNCATE @extschema@.ip_sighting;  -- or keep it up again, without what came meanwhile: ALTER SYSTEM RESET asn_inventory.sightings_max_size; SELECT pg_reload_conf();'
WHERE $1 > 0 AND (SELECT setting::bigint FROM pg_settings WHERE name = 'asn_inventory.sightings_max_size') = 0
