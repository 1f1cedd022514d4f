-- Who saw what, and when: whether it is all kept and counted.
SELECT 'sightings', 'warning', format('ip_sighting has reached %s MB: %s observations have no row there, and new addresses get none.',
              l.megabytes, l.left_out),
       format('ALTER SYSTEM SET asn_inventory.sightings_max_size = ''%s MB''; SELECT pg_reload_conf();  -- or 0: nothing is kept there', 2 * l.megabytes)
FROM (SELECT sum(l.left_out) AS left_out, ceil(pg_relation_size('@extschema@.ip_sighting') / 1048576.0) AS megabytes FROM @extschema@.ip_sighting_source l) l
WHERE l.left_out > 0
  AND pg_relation_size('@extschema@.ip_sighting') >= (SELECT setting::bigint * 1048576 FROM pg_settings WHERE name = 'asn_inventory.sightings_max_size')
UNION ALL
SELECT 'activity', 'warning', format('Days and hours are not counted: there is something new from %s on, and the last count was at %s.', min(a.bucket), min(c.counted_at)),
       'SELECT * FROM @extschema@.worker_errors();  -- and the server''s log'
FROM @extschema@.ip_activity a, @extschema@.inventory_count c
WHERE NOT a.counted AND a.source_id <> -1 AND c.counted_at < now() - interval '1 hour'
HAVING count(*) > 0
