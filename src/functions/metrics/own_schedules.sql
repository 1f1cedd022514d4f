-- 1: the last turn of sources with schedules of their own failed, and no update went well since, as the doctor's check
-- `mmdb sources` has it (src/functions/doctor/downloads_own.sql). Where there are none any more, stored.rs says 0.
SELECT pg_catalog.count(*)
FROM (SELECT job_id, outcome FROM {schema}.enrichment_run WHERE kind = 'update' AND outcome <> 'cancelled' AND parameters @> '{"sources": ["own schedules"]}' ORDER BY job_id DESC LIMIT 1) r
WHERE r.outcome = 'failed'
  AND NOT EXISTS (SELECT FROM {schema}.enrichment_run later WHERE later.kind = 'update' AND later.job_id > r.job_id
                  AND later.outcome = 'done' AND later.detail IS DISTINCT FROM 'another update is running')
