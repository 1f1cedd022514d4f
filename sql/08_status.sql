CREATE FUNCTION worker_status(
    OUT enabled boolean, OUT worker text, OUT worker_pid integer, OUT last_absorb_at timestamptz,
    OUT absorbed bigint) RETURNS record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'worker_status';
COMMENT ON FUNCTION worker_status() IS 'the state of this database''s worker, for enrichment_status';

CREATE VIEW enrichment_status AS
SELECT w.enabled, w.worker, w.worker_pid, w.last_absorb_at, w.absorbed,
       (SELECT count(*) FROM ip_observation) AS queued,
       (SELECT greatest(reltuples, 0)::bigint FROM pg_catalog.pg_class WHERE oid = 'ip_inventory'::pg_catalog.regclass) AS addresses_estimate,
       (SELECT coalesce(sum(observations), 0)::bigint FROM ip_source) AS observations,
       (SELECT coalesce(sum(unparsable), 0)::bigint FROM ip_source) AS unparsable,
       (SELECT min(build_time) FROM mmdb_editions()) AS oldest_build,
       (SELECT pg_catalog.string_agg(edition || ': ' || refused, '; ') FROM mmdb_editions() WHERE refused IS NOT NULL) AS refused
FROM worker_status() w;
COMMENT ON VIEW enrichment_status IS 'whether it works and how far it is, in one row; addresses_estimate is the planner''s figure';
COMMENT ON COLUMN enrichment_status.enabled IS 'asn_inventory.enabled, as this session has it';
COMMENT ON COLUMN enrichment_status.worker IS 'running, not running, not preloaded, or standby';
COMMENT ON COLUMN enrichment_status.worker_pid IS 'its process id';
COMMENT ON COLUMN enrichment_status.last_absorb_at IS 'when it last looked at the queue';
COMMENT ON COLUMN enrichment_status.absorbed IS 'queue rows absorbed since the server started';
COMMENT ON COLUMN enrichment_status.queued IS 'queue rows that wait for the worker';
COMMENT ON COLUMN enrichment_status.addresses_estimate IS 'rows of ip_inventory, as the planner estimates them';
COMMENT ON COLUMN enrichment_status.observations IS 'addresses observed in attached tables, repetitions included';
COMMENT ON COLUMN enrichment_status.unparsable IS 'values in attached tables that were no host address';
COMMENT ON COLUMN enrichment_status.oldest_build IS 'when the oldest installed mmdb edition was built';
COMMENT ON COLUMN enrichment_status.refused IS 'mmdb files that were not taken, and why';
