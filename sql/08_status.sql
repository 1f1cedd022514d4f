CREATE FUNCTION worker_status(
    OUT enabled boolean, OUT worker text, OUT worker_pid integer, OUT last_absorb_at timestamptz,
    OUT absorbed bigint) RETURNS record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'worker_status';
COMMENT ON FUNCTION worker_status() IS 'the state of this database''s worker, for enrichment_status';

CREATE FUNCTION network_sources(
    OUT source text, OUT state text, OUT last_success_at timestamptz, OUT last_error_at timestamptz, OUT last_error text,
    OUT retry_at timestamptz, OUT in_flight bigint, OUT requests bigint, OUT errors bigint, OUT rate bigint,
    OUT quota bigint, OUT quota_window text) RETURNS SETOF record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'network_sources';
COMMENT ON FUNCTION network_sources() IS 'how Team Cymru and GreyNoise stand, for source_status';

CREATE VIEW source_status AS
SELECT 'maxmind'::text AS source,
       CASE WHEN count(m.generation) = 0 THEN 'unavailable'
            WHEN min(m.build_time) < now() - current_setting('asn_inventory.maxmind_max_age', true)::interval THEN 'outdated'
            ELSE 'ok' END AS state,
       max(m.installed_at) AS last_success_at, max(m.refused_at) AS last_error_at,
       pg_catalog.string_agg(m.edition || ': ' || m.refused, '; ') FILTER (WHERE m.refused IS NOT NULL) AS last_error,
       NULL::timestamptz AS retry_at, 0::bigint AS in_flight, NULL::bigint AS requests, NULL::bigint AS errors,
       NULL::bigint AS rate, NULL::bigint AS quota, NULL::text AS quota_window, NULL::bigint AS quota_used,
       NULL::bigint AS quota_left, NULL::timestamptz AS quota_reset_at, min(m.build_time) AS oldest_build
FROM mmdb_files() m
UNION ALL
SELECT n.source, n.state, n.last_success_at, n.last_error_at, n.last_error, n.retry_at, n.in_flight, n.requests, n.errors,
       n.rate, n.quota, n.quota_window, w.used,
       CASE WHEN n.quota IS NULL THEN NULL WHEN q.closed_until > now() THEN 0 ELSE greatest(n.quota - w.used, 0) END,
       CASE WHEN n.quota IS NOT NULL
            THEN CASE WHEN q.closed_until > now() AND w.used < n.quota THEN q.closed_until ELSE greatest(q.closed_until, (date_trunc(n.quota_window, now() AT TIME ZONE 'UTC') + ('1 ' || n.quota_window)::interval) AT TIME ZONE 'UTC') END
       END, NULL
FROM network_sources() n
LEFT JOIN source_quota q ON q.source = n.source
CROSS JOIN LATERAL (SELECT CASE WHEN n.quota IS NULL THEN NULL
                                WHEN q.window_start >= date_trunc(n.quota_window, now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' THEN q.used
                                ELSE 0 END AS used) w;
COMMENT ON VIEW source_status IS 'how each source stands, a row a source';
COMMENT ON COLUMN source_status.source IS 'maxmind, cymru or greynoise';
COMMENT ON COLUMN source_status.state IS 'ok, off, unavailable (no file), outdated (a build is older than maxmind_max_age), no key, refused (the key), quota (spent), failing (tried again at retry_at), unknown (no worker)';
COMMENT ON COLUMN source_status.last_success_at IS 'when it last answered; for maxmind, when a file was last installed';
COMMENT ON COLUMN source_status.last_error_at IS 'when it last failed';
COMMENT ON COLUMN source_status.last_error IS 'why';
COMMENT ON COLUMN source_status.retry_at IS 'not asked before this';
COMMENT ON COLUMN source_status.in_flight IS 'questions without an outcome yet';
COMMENT ON COLUMN source_status.requests IS 'outcomes since the server started';
COMMENT ON COLUMN source_status.errors IS 'of these, failures';
COMMENT ON COLUMN source_status.rate IS 'most requests a second';
COMMENT ON COLUMN source_status.quota IS 'most requests of a window';
COMMENT ON COLUMN source_status.quota_window IS 'day or week, UTC';
COMMENT ON COLUMN source_status.quota_used IS 'spent in the present window';
COMMENT ON COLUMN source_status.quota_left IS 'left in the present window';
COMMENT ON COLUMN source_status.quota_reset_at IS 'when there is more';
COMMENT ON COLUMN source_status.oldest_build IS 'when the oldest installed mmdb edition was built';

CREATE VIEW enrichment_status AS
SELECT w.enabled, w.worker, w.worker_pid, w.last_absorb_at, w.absorbed,
       (SELECT count(*) FROM ip_observation) AS queued,
       (SELECT greatest(reltuples, 0)::bigint FROM pg_catalog.pg_class WHERE oid = 'ip_inventory'::pg_catalog.regclass) AS addresses_estimate,
       (SELECT coalesce(sum(observations), 0)::bigint FROM ip_source) AS observations,
       (SELECT coalesce(sum(unparsable), 0)::bigint FROM ip_source) AS unparsable,
       (SELECT min(build_time) FROM mmdb_files()) AS oldest_build,
       (SELECT pg_catalog.string_agg(edition || ': ' || refused, '; ') FROM mmdb_files() WHERE refused IS NOT NULL) AS refused
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

CREATE FUNCTION purge_expired_maxmind(older_than interval DEFAULT '30 days') RETURNS bigint
    LANGUAGE sql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        WITH installed AS (
            SELECT min(f.build_time) AS oldest, array_agg(f.generation) AS generations FROM mmdb_files() f
            WHERE f.generation IS NOT NULL),
        -- A row's own time says no more than that its build was not younger. What a walk has confirmed came from, or
        -- stands in, the builds that are installed.
        cleared AS (
            UPDATE ip_inventory i SET
                network = CASE WHEN i.asn_source = 'cymru' THEN i.network END,
                asn_number = CASE WHEN i.asn_source = 'cymru' THEN i.asn_number END,
                asn_org = CASE WHEN i.asn_source = 'cymru' THEN i.asn_org END,
                asn_source = CASE WHEN i.asn_source = 'cymru' THEN i.asn_source END,
                country_code = CASE WHEN i.country_source = 'cymru' THEN i.country_code END,
                country_source = CASE WHEN i.country_source = 'cymru' THEN i.country_source END,
                region = NULL, city = NULL, latitude = NULL, longitude = NULL, accuracy_radius_km = NULL,
                time_zone = NULL, maxmind_status = 'unavailable', maxmind_ts = NULL,
                enrichment_ts = CASE WHEN i.asn_source = 'cymru' THEN i.enrichment_ts END,
                cymru_status = CASE WHEN i.cymru_status = 'skipped' AND i.cymru_detail IS NULL THEN 'pending' ELSE i.cymru_status END
            FROM installed
            WHERE i.maxmind_status IN ('found', 'not_found')
              AND (coalesce(installed.oldest, '-infinity') < now() - $1
                   OR i.maxmind_ts < now() - $1
                      AND NOT EXISTS (SELECT FROM maxmind_walk w WHERE installed.generations <@ w.generations))
            RETURNING 1)
        SELECT count(*) FROM cleared;
    END;
COMMENT ON FUNCTION purge_expired_maxmind(interval) IS 'clears what builds older than this left in ip_inventory, as GeoLite2''s licence asks; how many rows';
