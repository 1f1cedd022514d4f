-- The last turn of sources with schedules of their own, if it failed and no update went well since.
SELECT 'mmdb sources', 'warning', 'The last turn of sources with schedules of their own failed: ' || r.detail,
       'SELECT @extschema@.update_maxmind(true);  -- after correcting the cause: a setting, the disk, the network, the source'
FROM (SELECT job_id, outcome, detail FROM @extschema@.enrichment_run WHERE kind = 'update' AND outcome <> 'cancelled' AND parameters @> '{"sources": ["own schedules"]}' ORDER BY job_id DESC LIMIT 1) r
WHERE r.outcome = 'failed'
  AND NOT EXISTS (SELECT FROM @extschema@.enrichment_run later WHERE later.kind = 'update' AND later.job_id > r.job_id
                  AND later.outcome = 'done' AND later.detail IS DISTINCT FROM 'another update is running')
