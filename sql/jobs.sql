CREATE FUNCTION @extschema@.backfill_inventory(
    batch_size integer DEFAULT 1000, commit_interval integer DEFAULT 5000, max_ips bigint DEFAULT NULL,
    workers integer DEFAULT 4, ips inet[] DEFAULT NULL, wait boolean DEFAULT true) RETURNS @extschema@.enrichment_summary
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'backfill_inventory';
COMMENT ON FUNCTION @extschema@.backfill_inventory(integer, integer, bigint, integer, inet[], boolean)
    IS 'enriches every row of ip_inventory that is not enriched yet; batch_size rows per write, commit_interval rows per transaction. While the call waits, vacuum cannot remove dead rows in this database: for long jobs use wait => false, then CALL wait_for_job()';

CREATE FUNCTION @extschema@.refresh_stale(source text, n integer DEFAULT 1000, wait boolean DEFAULT true) RETURNS @extschema@.enrichment_summary
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'refresh_stale';
COMMENT ON FUNCTION @extschema@.refresh_stale(text, integer, boolean)
    IS 'enriches again at most n rows whose answer is out of date, most observed first; source: maxmind, cymru, greynoise or all. While the call waits, vacuum cannot remove dead rows in this database: see wait_for_job()';

CREATE FUNCTION @extschema@.refresh_range(range inet, source text DEFAULT 'all', wait boolean DEFAULT true) RETURNS @extschema@.enrichment_summary
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'refresh_range';
COMMENT ON FUNCTION @extschema@.refresh_range(inet, text, boolean)
    IS 'enriches again every known address in a range, fresh or not; source: maxmind, cymru, greynoise or all. While the call waits, vacuum cannot remove dead rows in this database: see wait_for_job()';

CREATE FUNCTION @extschema@.update_maxmind(force boolean DEFAULT false) RETURNS bigint
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'update_maxmind';
COMMENT ON FUNCTION @extschema@.update_maxmind(boolean)
    IS 'asks the worker to look for newer MaxMind builds now; returns the job''s number. force: also downloads files that are not newer or were refused';

CREATE PROCEDURE @extschema@.wait_for_job(job_id bigint)
    LANGUAGE c AS 'MODULE_PATHNAME', 'wait_for_job';
COMMENT ON PROCEDURE @extschema@.wait_for_job(bigint) IS 'returns when a job has ended, and fails if the job failed; holds no snapshot meanwhile, so that vacuum can remove dead rows';

CREATE FUNCTION @extschema@.cancel_enrichment_job(job_id bigint) RETURNS boolean
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'cancel_enrichment_job';
COMMENT ON FUNCTION @extschema@.cancel_enrichment_job(bigint) IS 'ends a running job after its current transaction; returns false if there is no such job';

CREATE FUNCTION @extschema@._enrichment_jobs(
    OUT job_id bigint, OUT kind text, OUT state text, OUT requested_by oid, OUT started_at timestamptz,
    OUT helpers integer, OUT total bigint, OUT processed bigint, OUT enriched bigint, OUT errors bigint,
    OUT elapsed_us bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 4 AS 'MODULE_PATHNAME', 'enrichment_jobs';
COMMENT ON FUNCTION @extschema@._enrichment_jobs() IS 'running jobs of this database, for enrichment_progress';

CREATE VIEW @extschema@.enrichment_progress AS
SELECT j.job_id, j.kind, j.state, r.rolname AS requested_by, j.started_at, j.helpers, j.total, j.processed, j.enriched,
       j.errors,
       CASE WHEN j.total > 0 THEN round(least(100.0 * j.processed / j.total, 100), 1) END AS percent,
       CASE WHEN j.elapsed_us > 0 THEN round(j.processed * 1e6 / j.elapsed_us) END AS ips_per_second,
       CASE WHEN j.processed > 0 AND j.total >= j.processed
            THEN make_interval(secs => round((j.total - j.processed) * (j.elapsed_us / 1e6) / j.processed)) END AS remaining
FROM @extschema@._enrichment_jobs() j LEFT JOIN pg_catalog.pg_roles r ON r.oid = j.requested_by;
COMMENT ON VIEW @extschema@.enrichment_progress IS 'running jobs and their progress, one row per job';
COMMENT ON COLUMN @extschema@.enrichment_progress.job_id IS 'number for cancel_enrichment_job';
COMMENT ON COLUMN @extschema@.enrichment_progress.kind IS 'kind of work: backfill, refresh, update (of MaxMind''s files) or walk (after a newer build)';
COMMENT ON COLUMN @extschema@.enrichment_progress.state IS 'submitted, running, cancelling or ended';
COMMENT ON COLUMN @extschema@.enrichment_progress.requested_by IS 'role that requested it';
COMMENT ON COLUMN @extschema@.enrichment_progress.started_at IS 'when it was requested';
COMMENT ON COLUMN @extschema@.enrichment_progress.helpers IS 'number of background workers; 0: the worker does the job itself';
COMMENT ON COLUMN @extschema@.enrichment_progress.total IS 'addresses to look at';
COMMENT ON COLUMN @extschema@.enrichment_progress.processed IS 'addresses looked at so far';
COMMENT ON COLUMN @extschema@.enrichment_progress.enriched IS 'addresses that a source knew';
COMMENT ON COLUMN @extschema@.enrichment_progress.errors IS 'addresses that could not be written';
COMMENT ON COLUMN @extschema@.enrichment_progress.percent IS 'processed as a share of total';
COMMENT ON COLUMN @extschema@.enrichment_progress.ips_per_second IS 'average number of addresses per second';
COMMENT ON COLUMN @extschema@.enrichment_progress.remaining IS 'estimated time left';
