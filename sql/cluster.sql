-- One inventory for the nodes of a Citus cluster.
CREATE FUNCTION @extschema@.asn_inventory_distribute() RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'asn_inventory_distribute';
COMMENT ON FUNCTION @extschema@.asn_inventory_distribute() IS 'on the coordinator of a Citus cluster: makes one inventory of all nodes; what each node had is merged by its worker. Repeating it does no harm';

CREATE FUNCTION @extschema@.asn_inventory_undistribute() RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'asn_inventory_undistribute';
COMMENT ON FUNCTION @extschema@.asn_inventory_undistribute() IS 'takes the inventory of the cluster back to the coordinator, with all rows';

CREATE FUNCTION @extschema@._backfill_here(batch_size integer, commit_interval integer, workers integer, wait boolean) RETURNS @extschema@.enrichment_summary
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'backfill_here';
COMMENT ON FUNCTION @extschema@._backfill_here(integer, integer, integer, boolean) IS 'the part of backfill_inventory() that a node of a cluster does';

-- What a worker counts of a distributed table it counts in its own ip_source: the row is written there with the rights of the
-- extension's owner, and the coordinator's session says no more than this call.
CREATE FUNCTION @extschema@._note_source(tbl text, ip_columns text[], observed_at text, observed_path text, observed_zone text, only_where text, sensor text, method text) RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'note_source';
COMMENT ON FUNCTION @extschema@._note_source(text, text[], text, text, text, text, text, text) IS 'what attach_ip_source() and detach_ip_source() have the workers of a cluster note of a distributed table; ip_columns null: it was detached';

-- What each node says of itself.
CREATE FUNCTION @extschema@._every_node(
    what text, OUT node text, OUT is_coordinator boolean, OUT is_here boolean, OUT answer jsonb, OUT failure text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT ROWS 4 SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'every_node';
COMMENT ON FUNCTION @extschema@._every_node(text) IS 'asks every node of a Citus cluster for the rows of one of its views, with the caller''s rights there; for the cluster_ views';

CREATE VIEW @extschema@.cluster_status AS
SELECT n.node, n.is_coordinator, n.is_here, s.enabled, s.worker, s.last_absorb_at, s.absorbed, s.queued, s.queue_age,
       s.observations, s.unparsable, s.oldest_build, s.mmdb_ages, s.last_error, s.last_error_at, n.failure
FROM @extschema@._every_node('status') n
LEFT JOIN LATERAL pg_catalog.jsonb_to_recordset(n.answer) AS s(
    enabled boolean, worker text, last_absorb_at timestamptz, absorbed bigint, queued bigint, queue_age interval,
    observations bigint, unparsable bigint, oldest_build timestamptz, mmdb_ages text, last_error text,
    last_error_at timestamptz) ON true;
COMMENT ON VIEW @extschema@.cluster_status IS 'state of the extension on each node of a Citus cluster, one row per node; of a plain server, one row';
COMMENT ON COLUMN @extschema@.cluster_status.node IS 'host and port of the node; local: a server that is not a node of a cluster';
COMMENT ON COLUMN @extschema@.cluster_status.is_coordinator IS 'whether it is the coordinator, which asks the network sources for all';
COMMENT ON COLUMN @extschema@.cluster_status.is_here IS 'whether it is the node that was asked for this view';
COMMENT ON COLUMN @extschema@.cluster_status.enabled IS 'value of asn_inventory.enabled there';
COMMENT ON COLUMN @extschema@.cluster_status.worker IS 'running, not running, not preloaded, or standby';
COMMENT ON COLUMN @extschema@.cluster_status.last_absorb_at IS 'when its worker last looked at its queue';
COMMENT ON COLUMN @extschema@.cluster_status.absorbed IS 'queued addresses that its worker absorbed since the server started';
COMMENT ON COLUMN @extschema@.cluster_status.queued IS 'addresses that wait in its queue';
COMMENT ON COLUMN @extschema@.cluster_status.queue_age IS 'how long the oldest of them has waited';
COMMENT ON COLUMN @extschema@.cluster_status.observations IS 'addresses observed there, repetitions included';
COMMENT ON COLUMN @extschema@.cluster_status.unparsable IS 'values observed there that are not a host address';
COMMENT ON COLUMN @extschema@.cluster_status.oldest_build IS 'build time of the oldest mmdb edition installed there';
COMMENT ON COLUMN @extschema@.cluster_status.mmdb_ages IS 'age of each mmdb edition installed there';
COMMENT ON COLUMN @extschema@.cluster_status.last_error IS 'latest failure of its worker at work that has not succeeded since';
COMMENT ON COLUMN @extschema@.cluster_status.last_error_at IS 'time of that failure';
COMMENT ON COLUMN @extschema@.cluster_status.failure IS 'why the node did not answer; null: it answered';

CREATE VIEW @extschema@.cluster_source_status AS
SELECT n.node, s.source, s.state, s.last_success_at, s.last_error_at, s.last_error, s.retry_at, s.in_flight, s.requests,
       s.errors, s.quota, s.quota_used, s.quota_left, s.quota_reset_at, s.oldest_build, n.failure
FROM @extschema@._every_node('sources') n
LEFT JOIN LATERAL pg_catalog.jsonb_to_recordset(n.answer) AS s(
    source text, state text, last_success_at timestamptz, last_error_at timestamptz, last_error text, retry_at timestamptz,
    in_flight bigint, requests bigint, errors bigint, quota bigint, quota_used bigint, quota_left bigint,
    quota_reset_at timestamptz, oldest_build timestamptz) ON true;
COMMENT ON VIEW @extschema@.cluster_source_status IS 'source_status of each node of a Citus cluster';
COMMENT ON COLUMN @extschema@.cluster_source_status.node IS 'host and port of the node; local: a server that is not a node of a cluster';
COMMENT ON COLUMN @extschema@.cluster_source_status.source IS 'maxmind, cymru or greynoise';
COMMENT ON COLUMN @extschema@.cluster_source_status.state IS 'state of the source there, as in source_status';
COMMENT ON COLUMN @extschema@.cluster_source_status.last_success_at IS 'time of the last answer';
COMMENT ON COLUMN @extschema@.cluster_source_status.last_error_at IS 'time of the last failure';
COMMENT ON COLUMN @extschema@.cluster_source_status.last_error IS 'reason of that failure';
COMMENT ON COLUMN @extschema@.cluster_source_status.retry_at IS 'the source is not asked before this time';
COMMENT ON COLUMN @extschema@.cluster_source_status.in_flight IS 'requests without an outcome yet';
COMMENT ON COLUMN @extschema@.cluster_source_status.requests IS 'finished requests of this node since the server started';
COMMENT ON COLUMN @extschema@.cluster_source_status.errors IS 'failed ones of these requests';
COMMENT ON COLUMN @extschema@.cluster_source_status.quota IS 'maximum number of requests in a window';
COMMENT ON COLUMN @extschema@.cluster_source_status.quota_used IS 'requests spent in the present window';
COMMENT ON COLUMN @extschema@.cluster_source_status.quota_left IS 'requests left in the present window';
COMMENT ON COLUMN @extschema@.cluster_source_status.quota_reset_at IS 'when the quota is available again';
COMMENT ON COLUMN @extschema@.cluster_source_status.oldest_build IS 'build time of the oldest mmdb edition installed there';
COMMENT ON COLUMN @extschema@.cluster_source_status.failure IS 'why the node did not answer; null: it answered';

CREATE VIEW @extschema@.cluster_progress AS
SELECT n.node, s.job_id, s.kind, s.state, s.requested_by, s.started_at, s.helpers, s.total, s.processed, s.enriched,
       s.errors, s.percent, s.ips_per_second, s.remaining, n.failure
FROM @extschema@._every_node('progress') n
LEFT JOIN LATERAL pg_catalog.jsonb_to_recordset(n.answer) AS s(
    job_id bigint, kind text, state text, requested_by name, started_at timestamptz, helpers integer, total bigint,
    processed bigint, enriched bigint, errors bigint, percent numeric, ips_per_second numeric, remaining interval) ON true
WHERE s.job_id IS NOT NULL OR n.failure IS NOT NULL;
COMMENT ON VIEW @extschema@.cluster_progress IS 'running jobs of each node of a Citus cluster, one row per job, and one per node that does not answer';
COMMENT ON COLUMN @extschema@.cluster_progress.node IS 'host and port of the node; local: a server that is not a node of a cluster';
COMMENT ON COLUMN @extschema@.cluster_progress.job_id IS 'number for cancel_enrichment_job on that node';
COMMENT ON COLUMN @extschema@.cluster_progress.kind IS 'kind of work: backfill, refresh, update (of MaxMind''s files) or walk (after a newer build)';
COMMENT ON COLUMN @extschema@.cluster_progress.state IS 'submitted, running, cancelling or ended';
COMMENT ON COLUMN @extschema@.cluster_progress.requested_by IS 'role that requested it';
COMMENT ON COLUMN @extschema@.cluster_progress.started_at IS 'when it was requested';
COMMENT ON COLUMN @extschema@.cluster_progress.helpers IS 'number of background workers; 0: the worker does the job itself';
COMMENT ON COLUMN @extschema@.cluster_progress.total IS 'addresses to look at on that node';
COMMENT ON COLUMN @extschema@.cluster_progress.processed IS 'addresses looked at so far';
COMMENT ON COLUMN @extschema@.cluster_progress.enriched IS 'addresses that a source knew';
COMMENT ON COLUMN @extschema@.cluster_progress.errors IS 'addresses that could not be written';
COMMENT ON COLUMN @extschema@.cluster_progress.percent IS 'processed as a share of total';
COMMENT ON COLUMN @extschema@.cluster_progress.ips_per_second IS 'average number of addresses per second';
COMMENT ON COLUMN @extschema@.cluster_progress.remaining IS 'estimated time left';
COMMENT ON COLUMN @extschema@.cluster_progress.failure IS 'why the node did not answer; null: it answered';

CREATE VIEW @extschema@.cluster_run AS
SELECT n.node, s.job_id, s.kind, s.parameters, s.requested_by, s.started_at, s.ended_at, s.outcome, s.detail, s.processed,
       s.enriched, s.errors, n.failure
FROM @extschema@._every_node('runs') n
LEFT JOIN LATERAL pg_catalog.jsonb_to_recordset(n.answer) AS s(
    job_id bigint, kind text, parameters jsonb, requested_by name, started_at timestamptz, ended_at timestamptz,
    outcome text, detail text, processed bigint, enriched bigint, errors bigint) ON true
WHERE s.job_id IS NOT NULL OR n.failure IS NOT NULL;
COMMENT ON VIEW @extschema@.cluster_run IS 'the last 100 ended jobs of each node of a Citus cluster, and one row per node that does not answer';
COMMENT ON COLUMN @extschema@.cluster_run.node IS 'host and port of the node; local: a server that is not a node of a cluster';
COMMENT ON COLUMN @extschema@.cluster_run.job_id IS 'number of the job on that node';
COMMENT ON COLUMN @extschema@.cluster_run.kind IS 'kind of work: backfill, refresh, update (of MaxMind''s files) or walk (after a newer build)';
COMMENT ON COLUMN @extschema@.cluster_run.parameters IS 'limits of the job';
COMMENT ON COLUMN @extschema@.cluster_run.requested_by IS 'role that requested it; the worker''s own for work by schedule or after a newer build';
COMMENT ON COLUMN @extschema@.cluster_run.started_at IS 'when it was requested';
COMMENT ON COLUMN @extschema@.cluster_run.ended_at IS 'end of its last transaction';
COMMENT ON COLUMN @extschema@.cluster_run.outcome IS 'done, cancelled or failed';
COMMENT ON COLUMN @extschema@.cluster_run.detail IS 'why it failed';
COMMENT ON COLUMN @extschema@.cluster_run.processed IS 'addresses looked at';
COMMENT ON COLUMN @extschema@.cluster_run.enriched IS 'addresses that a source knew';
COMMENT ON COLUMN @extschema@.cluster_run.errors IS 'addresses that could not be written';
COMMENT ON COLUMN @extschema@.cluster_run.failure IS 'why the node did not answer; null: it answered';

CREATE VIEW @extschema@.cluster_ip_source AS
WITH answer AS MATERIALIZED (SELECT * FROM @extschema@._every_node('tables'))
SELECT s.name, max(s.ip_columns) AS ip_columns, count(*)::integer AS nodes, sum(s.observations) AS observations,
       sum(s.unparsable) AS unparsable, sum(s.unobserved) AS unobserved, sum(s.rows_seen) AS rows_seen,
       max(s.last_observed_at) AS last_observed_at,
       (SELECT count(*) FROM answer f WHERE f.failure IS NOT NULL)::integer AS nodes_missing
FROM answer n CROSS JOIN LATERAL pg_catalog.jsonb_to_recordset(n.answer) AS s(
    name text, ip_columns text[], observations bigint, unparsable bigint, unobserved bigint, rows_seen bigint,
    last_observed_at timestamptz)
GROUP BY s.name;
COMMENT ON VIEW @extschema@.cluster_ip_source IS 'attached tables of all nodes of a Citus cluster, by name, with the sums of their counts';
COMMENT ON COLUMN @extschema@.cluster_ip_source.name IS 'name of the table, with its schema';
COMMENT ON COLUMN @extschema@.cluster_ip_source.ip_columns IS 'columns and JSON paths that hold addresses';
COMMENT ON COLUMN @extschema@.cluster_ip_source.nodes IS 'number of nodes where it is attached';
COMMENT ON COLUMN @extschema@.cluster_ip_source.observations IS 'addresses observed, repetitions included';
COMMENT ON COLUMN @extschema@.cluster_ip_source.unparsable IS 'values that were not host addresses';
COMMENT ON COLUMN @extschema@.cluster_ip_source.unobserved IS 'statements whose rows were not observed';
COMMENT ON COLUMN @extschema@.cluster_ip_source.rows_seen IS 'rows that were read';
COMMENT ON COLUMN @extschema@.cluster_ip_source.last_observed_at IS 'latest time of an event in it';
COMMENT ON COLUMN @extschema@.cluster_ip_source.nodes_missing IS 'number of nodes that did not answer, whose counts are missing here';
