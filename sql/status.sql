CREATE FUNCTION @extschema@._worker_status(
    OUT enabled boolean, OUT worker text, OUT worker_pid integer, OUT last_absorb_at timestamptz,
    OUT absorbed bigint, OUT waiting_since timestamptz, OUT lookups bigint, OUT cache_hits bigint,
    OUT cache_misses bigint) RETURNS record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'worker_status';
COMMENT ON FUNCTION @extschema@._worker_status() IS 'the state of this database''s worker, for enrichment_status';

CREATE FUNCTION @extschema@._queue_length(OUT addresses bigint, OUT off_by bigint) RETURNS record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'queue_length';
COMMENT ON FUNCTION @extschema@._queue_length() IS 'number of addresses that wait in ip_observation and its margin of error, for enrichment_status';

CREATE FUNCTION @extschema@.worker_errors(
    OUT work text, OUT since timestamptz, OUT last_error_at timestamptz, OUT sqlstate text, OUT last_error text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'worker_errors';
COMMENT ON FUNCTION @extschema@.worker_errors() IS 'work at which the worker and its helpers failed and have not succeeded since, one row per work, latest failure first';

CREATE FUNCTION @extschema@._mmdb_import(OUT since timestamptz, OUT last_error_at timestamptz, OUT sqlstate text, OUT last_error text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'mmdb_import';
COMMENT ON FUNCTION @extschema@._mmdb_import() IS 'failure of the last import of mmdb files, for source_status; no row: it went well';

CREATE FUNCTION @extschema@._update_sources(OUT are_any boolean, OUT with_schedules boolean) RETURNS record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'update_sources';
COMMENT ON FUNCTION @extschema@._update_sources() IS 'whether anybody is to be asked for newer files, and whether sources with schedules of their own are, for source_status';

CREATE FUNCTION @extschema@._network_sources(
    OUT source text, OUT state text, OUT last_success_at timestamptz, OUT last_error_at timestamptz, OUT last_error text,
    OUT retry_at timestamptz, OUT in_flight bigint, OUT requests bigint, OUT errors bigint, OUT rate bigint,
    OUT quota bigint, OUT quota_window text) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 2 AS 'MODULE_PATHNAME', 'network_sources';
COMMENT ON FUNCTION @extschema@._network_sources() IS 'state of Team Cymru and GreyNoise, for source_status';

CREATE FUNCTION @extschema@._quota_ledger(
    OUT source text, OUT window_start timestamptz, OUT used bigint, OUT closed_until timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'quota_ledger';
COMMENT ON FUNCTION @extschema@._quota_ledger() IS 'the ledger of GreyNoise''s quota as the worker has it, for source_status; no row: as in source_quota';

CREATE FUNCTION @extschema@._cymru_ways(
    OUT way text, OUT failing boolean, OUT retry_at timestamptz, OUT last_error text) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 2 AS 'MODULE_PATHNAME', 'cymru_ways';
COMMENT ON FUNCTION @extschema@._cymru_ways() IS 'state of DNS and of bulk sessions with Team Cymru, for enrichment_doctor';

CREATE FUNCTION @extschema@._source_latency(
    OUT source text, OUT timed bigint, OUT p50_ms double precision, OUT p95_ms double precision,
    OUT p99_ms double precision) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 3 AS 'MODULE_PATHNAME', 'source_latency';
COMMENT ON FUNCTION @extschema@._source_latency() IS 'answer times of the sources since the server started, for source_status';

CREATE FUNCTION @extschema@.secret_references(OUT setting text, OUT state text, OUT detail text) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 2 AS 'MODULE_PATHNAME', 'secret_references';
COMMENT ON FUNCTION @extschema@.secret_references() IS 'whether the references to keys resolve; the worker resolves them now, and keeps the answer of a program for a minute';

CREATE VIEW @extschema@.source_status AS
-- What failed is no trouble any more where nothing could follow it that goes well.
WITH asked AS MATERIALIZED (SELECT * FROM @extschema@._update_sources()),
missed AS (
    SELECT r.ended_at, r.detail
    FROM (SELECT outcome, ended_at, detail FROM @extschema@.enrichment_run WHERE kind = 'update' AND outcome <> 'cancelled' AND NOT parameters @> '{"sources": ["own schedules"]}' ORDER BY job_id DESC LIMIT 1) r
    WHERE r.outcome = 'failed' AND (SELECT are_any FROM asked)),
-- The doctor's check `mmdb sources`.
missed_own AS (
    SELECT r.ended_at, r.detail
    FROM (SELECT job_id, outcome, ended_at, detail FROM @extschema@.enrichment_run WHERE kind = 'update' AND outcome <> 'cancelled' AND parameters @> '{"sources": ["own schedules"]}' ORDER BY job_id DESC LIMIT 1) r
    WHERE r.outcome = 'failed' AND (SELECT with_schedules FROM asked)
      AND NOT EXISTS (SELECT FROM @extschema@.enrichment_run later WHERE later.kind = 'update' AND later.job_id > r.job_id
                      AND later.outcome = 'done' AND later.detail IS DISTINCT FROM 'another update is running'))
SELECT 'maxmind'::text AS source,
       CASE WHEN count(m.generation) = 0 THEN 'unavailable'
            WHEN min(m.build_time) < now() - current_setting('asn_inventory.maxmind_max_age', true)::interval THEN 'outdated'
            ELSE 'ok' END AS state,
       max(m.installed_at) AS last_success_at, greatest(max(m.refused_at), (SELECT ended_at FROM missed), (SELECT ended_at FROM missed_own), (SELECT last_error_at FROM @extschema@._mmdb_import())) AS last_error_at,
       nullif(concat_ws('; ', pg_catalog.string_agg(m.edition || ': ' || m.refused, '; ') FILTER (WHERE m.refused IS NOT NULL),
                        (SELECT 'import: ' || last_error FROM @extschema@._mmdb_import()), (SELECT 'update: ' || detail FROM missed),
                        (SELECT 'own schedules: ' || detail FROM missed_own)), '') AS last_error,
       NULL::timestamptz AS retry_at, 0::bigint AS in_flight, (SELECT lookups FROM @extschema@._worker_status()) AS requests, 0::bigint AS errors,
       NULL::bigint AS rate, NULL::bigint AS quota, NULL::text AS quota_window, NULL::bigint AS quota_used,
       NULL::bigint AS quota_left, NULL::timestamptz AS quota_reset_at, min(m.build_time) AS oldest_build,
       l.p50_ms, l.p95_ms, l.p99_ms
FROM @extschema@._source_latency() l LEFT JOIN @extschema@._mmdb_files() m ON true
WHERE l.source = 'maxmind' GROUP BY l.p50_ms, l.p95_ms, l.p99_ms
UNION ALL
SELECT n.source, n.state, n.last_success_at, n.last_error_at, n.last_error, n.retry_at, n.in_flight, n.requests, n.errors,
       n.rate, n.quota, n.quota_window, w.used,
       CASE WHEN n.quota IS NULL THEN NULL WHEN q.closed_until > now() THEN 0 ELSE greatest(n.quota - w.used, 0) END,
       CASE WHEN n.quota IS NOT NULL
            THEN CASE WHEN q.closed_until > now() AND w.used < n.quota THEN q.closed_until ELSE greatest(q.closed_until, (date_trunc(n.quota_window, now() AT TIME ZONE 'UTC') + ('1 ' || n.quota_window)::interval) AT TIME ZONE 'UTC') END
       END, NULL, l.p50_ms, l.p95_ms, l.p99_ms
FROM @extschema@._network_sources() n
JOIN @extschema@._source_latency() l ON l.source = n.source
-- The table may have been made anew, or a dump be restored into it, since the worker read it.
LEFT JOIN @extschema@._quota_ledger() k ON k.source = n.source
LEFT JOIN @extschema@.source_quota t ON t.source = n.source AND k.source IS NULL
CROSS JOIN LATERAL (SELECT coalesce(k.window_start, t.window_start) AS window_start, coalesce(k.used, t.used) AS used,
                           coalesce(k.closed_until, t.closed_until) AS closed_until) q
CROSS JOIN LATERAL (SELECT CASE WHEN n.quota IS NULL THEN NULL
                                WHEN q.window_start >= date_trunc(n.quota_window, now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' THEN q.used
                                ELSE 0 END AS used) w;
COMMENT ON VIEW @extschema@.source_status IS 'state of each source, one row per source';
COMMENT ON COLUMN @extschema@.source_status.source IS 'maxmind, cymru or greynoise';
COMMENT ON COLUMN @extschema@.source_status.state IS 'ok, off, unavailable (no file), outdated (a build is older than maxmind_max_age), no key, refused (the key), quota (spent), failing (tried again at retry_at), elsewhere (another node of the cluster asks), unknown (no worker)';
COMMENT ON COLUMN @extschema@.source_status.last_success_at IS 'time of the last answer; for maxmind, when a file was last installed';
COMMENT ON COLUMN @extschema@.source_status.last_error_at IS 'time of the last failure; for maxmind, of a refused file, a failed import or a failed look for newer ones';
COMMENT ON COLUMN @extschema@.source_status.last_error IS 'reason of that failure';
COMMENT ON COLUMN @extschema@.source_status.retry_at IS 'the source is not asked before this time';
COMMENT ON COLUMN @extschema@.source_status.in_flight IS 'requests without an outcome yet';
COMMENT ON COLUMN @extschema@.source_status.requests IS 'finished requests since the server started; for maxmind, addresses looked up';
COMMENT ON COLUMN @extschema@.source_status.errors IS 'failed ones of these requests';
COMMENT ON COLUMN @extschema@.source_status.rate IS 'maximum number of requests per second';
COMMENT ON COLUMN @extschema@.source_status.quota IS 'maximum number of requests in a window, less what other databases of the server have spent with the same key; null where another node asks';
COMMENT ON COLUMN @extschema@.source_status.quota_window IS 'day or week, UTC';
COMMENT ON COLUMN @extschema@.source_status.quota_used IS 'requests spent in the present window';
COMMENT ON COLUMN @extschema@.source_status.quota_left IS 'requests left in the present window';
COMMENT ON COLUMN @extschema@.source_status.quota_reset_at IS 'when the quota is available again';
COMMENT ON COLUMN @extschema@.source_status.oldest_build IS 'build time of the oldest installed mmdb edition';
COMMENT ON COLUMN @extschema@.source_status.p50_ms IS 'median answer time since the server started, ms; accurate to within a quarter';
COMMENT ON COLUMN @extschema@.source_status.p95_ms IS '95th percentile of the answer time, ms';
COMMENT ON COLUMN @extschema@.source_status.p99_ms IS '99th percentile of the answer time, ms';

CREATE VIEW @extschema@.enrichment_status AS
WITH counted AS MATERIALIZED (SELECT * FROM @extschema@.inventory_count LIMIT 1),
     observed AS MATERIALIZED (
         SELECT coalesce(sum(observations), 0)::bigint AS observations, coalesce(sum(unparsable), 0)::bigint AS unparsable FROM @extschema@.ip_source),
     file AS MATERIALIZED (
         SELECT min(build_time) AS oldest_build,
                pg_catalog.string_agg(edition || ' ' || extract(day FROM now() - build_time) || ' d', ', ' ORDER BY edition) AS mmdb_ages,
                pg_catalog.string_agg(edition || ': ' || refused, '; ') AS refused
         FROM @extschema@._mmdb_files()),
     list AS MATERIALIZED (
         SELECT count(installed_at) AS lists, pg_catalog.string_agg(coalesce(list, file) || ': ' || refused, '; ') AS refused
         FROM @extschema@.network_lists())
SELECT w.enabled, w.worker, w.worker_pid, w.last_absorb_at, w.absorbed,
       q.addresses AS queued, CASE WHEN q.addresses + q.off_by > 0 AND w.waiting_since IS NOT NULL THEN greatest(pg_catalog.clock_timestamp() - w.waiting_since, '0') END AS queue_age,
       coalesce(c.addresses, (SELECT greatest(reltuples, 0)::bigint FROM pg_catalog.pg_class WHERE oid = '@extschema@.ip_inventory'::pg_catalog.regclass)) AS addresses,
       c.enriched, c.missing_asn, trunc(100.0 * least(c.enriched, c.public_addresses) / nullif(c.public_addresses, 0), 1) AS coverage_percent, c.counted_at,
       o.observations, o.unparsable,
       w.cache_hits, w.cache_misses, round(100.0 * w.cache_hits / nullif(w.cache_hits + w.cache_misses, 0), 1) AS cache_hit_percent,
       s.maxmind_lookups, s.maxmind_p50_ms, s.maxmind_p95_ms, s.maxmind_p99_ms,
       s.cymru_requests, s.cymru_errors, s.cymru_p50_ms, s.cymru_p95_ms, s.cymru_p99_ms,
       s.greynoise_requests, s.greynoise_errors, s.greynoise_p50_ms, s.greynoise_p95_ms, s.greynoise_p99_ms,
       s.greynoise_quota_left, s.greynoise_quota_reset_at,
       f.oldest_build, f.mmdb_ages, f.refused,
       e.last_error, e.last_error_at, q.off_by AS queued_off_by,
       trunc(100.0 * (c.public_addresses - c.missing_asn) / nullif(c.public_addresses, 0), 1) AS asn_coverage_percent,
       n.lists, n.refused AS lists_refused
FROM @extschema@._worker_status() w CROSS JOIN @extschema@._queue_length() q
LEFT JOIN (SELECT t.work || ': ' || t.last_error AS last_error, t.last_error_at FROM @extschema@.worker_errors() t LIMIT 1) e ON true
LEFT JOIN counted c ON true CROSS JOIN observed o CROSS JOIN file f CROSS JOIN list n
CROSS JOIN (
    SELECT max(requests) FILTER (WHERE source = 'maxmind') AS maxmind_lookups,
           max(p50_ms) FILTER (WHERE source = 'maxmind') AS maxmind_p50_ms,
           max(p95_ms) FILTER (WHERE source = 'maxmind') AS maxmind_p95_ms,
           max(p99_ms) FILTER (WHERE source = 'maxmind') AS maxmind_p99_ms,
           max(requests) FILTER (WHERE source = 'cymru') AS cymru_requests,
           max(errors) FILTER (WHERE source = 'cymru') AS cymru_errors,
           max(p50_ms) FILTER (WHERE source = 'cymru') AS cymru_p50_ms,
           max(p95_ms) FILTER (WHERE source = 'cymru') AS cymru_p95_ms,
           max(p99_ms) FILTER (WHERE source = 'cymru') AS cymru_p99_ms,
           max(requests) FILTER (WHERE source = 'greynoise') AS greynoise_requests,
           max(errors) FILTER (WHERE source = 'greynoise') AS greynoise_errors,
           max(p50_ms) FILTER (WHERE source = 'greynoise') AS greynoise_p50_ms,
           max(p95_ms) FILTER (WHERE source = 'greynoise') AS greynoise_p95_ms,
           max(p99_ms) FILTER (WHERE source = 'greynoise') AS greynoise_p99_ms,
           max(quota_left) FILTER (WHERE source = 'greynoise') AS greynoise_quota_left,
           max(quota_reset_at) FILTER (WHERE source = 'greynoise') AS greynoise_quota_reset_at
    FROM @extschema@.source_status) s;
COMMENT ON VIEW @extschema@.enrichment_status IS 'state of the extension in this database, one row';
COMMENT ON COLUMN @extschema@.enrichment_status.enabled IS 'whether asn_inventory.enabled is on, on the server and in this session: off on the server, the worker is idle; off in the session, it is not observed';
COMMENT ON COLUMN @extschema@.enrichment_status.worker IS 'running, not running, not preloaded, or standby';
COMMENT ON COLUMN @extschema@.enrichment_status.worker_pid IS 'process id of the worker';
COMMENT ON COLUMN @extschema@.enrichment_status.last_absorb_at IS 'when the worker last looked at the queue';
COMMENT ON COLUMN @extschema@.enrichment_status.absorbed IS 'queued addresses absorbed since the server started';
COMMENT ON COLUMN @extschema@.enrichment_status.queued IS 'addresses that wait for the worker, counted again by each statement; where the queue''s file is above 2 MB, estimated from its last 64 blocks and 128 of the others: see queued_off_by';
COMMENT ON COLUMN @extschema@.enrichment_status.queue_age IS 'how long the oldest of them has waited for the worker; null when none does. Those that were put back, since they cannot be written, do not count: see worker_errors()';
COMMENT ON COLUMN @extschema@.enrichment_status.addresses IS 'rows of ip_inventory at counted_at; before the first count, the planner''s estimate';
COMMENT ON COLUMN @extschema@.enrichment_status.enriched IS 'addresses with an ASN, a country or both';
COMMENT ON COLUMN @extschema@.enrichment_status.missing_asn IS 'public addresses without an ASN, with or without a country; asn_coverage_percent is their complement';
COMMENT ON COLUMN @extschema@.enrichment_status.coverage_percent IS 'share of the public addresses with an ASN or a country, rounded down: 100.0 means all; for the ASN alone see asn_coverage_percent';
COMMENT ON COLUMN @extschema@.enrichment_status.counted_at IS 'when the worker last counted; it counts after changes, less often in a larger inventory';
COMMENT ON COLUMN @extschema@.enrichment_status.observations IS 'addresses observed in attached tables, repetitions included';
COMMENT ON COLUMN @extschema@.enrichment_status.unparsable IS 'values in attached tables that are not a host address';
COMMENT ON COLUMN @extschema@.enrichment_status.cache_hits IS 'enrich_ip() calls since the server started that a fresh row of ip_inventory answered';
COMMENT ON COLUMN @extschema@.enrichment_status.cache_misses IS 'enrich_ip() calls that needed more than that';
COMMENT ON COLUMN @extschema@.enrichment_status.cache_hit_percent IS 'share of cache_hits in all enrich_ip() calls';
COMMENT ON COLUMN @extschema@.enrichment_status.maxmind_lookups IS 'addresses looked up in MaxMind''s files since the server started';
COMMENT ON COLUMN @extschema@.enrichment_status.maxmind_p50_ms IS 'median time of a look-up in MaxMind''s files, ms (one in 256 is timed)';
COMMENT ON COLUMN @extschema@.enrichment_status.maxmind_p95_ms IS '95th percentile of the look-up time, ms';
COMMENT ON COLUMN @extschema@.enrichment_status.maxmind_p99_ms IS '99th percentile of the look-up time, ms';
COMMENT ON COLUMN @extschema@.enrichment_status.cymru_requests IS 'DNS queries and bulk sessions with Team Cymru since the server started, including failed ones';
COMMENT ON COLUMN @extschema@.enrichment_status.cymru_errors IS 'failed ones of these requests';
COMMENT ON COLUMN @extschema@.enrichment_status.cymru_p50_ms IS 'median answer time of Team Cymru, ms';
COMMENT ON COLUMN @extschema@.enrichment_status.cymru_p95_ms IS '95th percentile of the answer time, ms';
COMMENT ON COLUMN @extschema@.enrichment_status.cymru_p99_ms IS '99th percentile of the answer time, ms';
COMMENT ON COLUMN @extschema@.enrichment_status.greynoise_requests IS 'requests to GreyNoise since the server started, including failed ones';
COMMENT ON COLUMN @extschema@.enrichment_status.greynoise_errors IS 'failed ones of these requests';
COMMENT ON COLUMN @extschema@.enrichment_status.greynoise_p50_ms IS 'median answer time of GreyNoise, ms';
COMMENT ON COLUMN @extschema@.enrichment_status.greynoise_p95_ms IS '95th percentile of the answer time, ms';
COMMENT ON COLUMN @extschema@.enrichment_status.greynoise_p99_ms IS '99th percentile of the answer time, ms';
COMMENT ON COLUMN @extschema@.enrichment_status.greynoise_quota_left IS 'requests left of GreyNoise''s quota';
COMMENT ON COLUMN @extschema@.enrichment_status.greynoise_quota_reset_at IS 'when the quota is available again';
COMMENT ON COLUMN @extschema@.enrichment_status.oldest_build IS 'build time of the oldest installed mmdb edition';
COMMENT ON COLUMN @extschema@.enrichment_status.mmdb_ages IS 'installed mmdb editions, and how many days ago each was built';
COMMENT ON COLUMN @extschema@.enrichment_status.refused IS 'refused mmdb files, with the reason';
COMMENT ON COLUMN @extschema@.enrichment_status.last_error IS 'last failure of the worker or a helper, with the reason; null once the same work has succeeded. worker_errors() lists all';
COMMENT ON COLUMN @extschema@.enrichment_status.last_error_at IS 'time of that failure';
COMMENT ON COLUMN @extschema@.enrichment_status.queued_off_by IS 'margin of error of queued at 95 % confidence, in either direction; 0: it was counted';
COMMENT ON COLUMN @extschema@.enrichment_status.asn_coverage_percent IS 'share of the public addresses with an ASN, rounded down; the others are missing_asn';
COMMENT ON COLUMN @extschema@.enrichment_status.lists IS 'installed lists of networks';
COMMENT ON COLUMN @extschema@.enrichment_status.lists_refused IS 'refused files of lists, with the reason: network_lists() has more';

CREATE FUNCTION @extschema@.purge_expired_maxmind(older_than interval DEFAULT '30 days') RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    -- The age of other vendors' files, and of one's own, says nothing of MaxMind's, unless none of those is installed.
    oldest timestamptz;
    installed text[];
    is_walked boolean;
    is_everywhere boolean := false;
    -- Nodes of a cluster that do not answer, and those whose builds are old.
    silent text;
    behind text;
    -- What was answered before this time goes.
    answered_before timestamptz := now() - older_than;
    changed_before timestamptz := answered_before;
    cleared bigint;
    of_rows jsonb;
    foreign_table text;
BEGIN
    -- A negative age is a slip, and no reason to clear everything.
    IF older_than < '0' THEN
        RETURN 0;
    END IF;
    -- Whoever reads or writes a table runs the code that its owner has put there. Nothing of it is read before this.
    IF (SELECT u.rolsuper FROM pg_catalog.pg_roles u WHERE u.rolname = current_user) THEN
        SELECT format('%s belongs to %I: code on it would run with the rights of a superuser.', c.oid::regclass, o.rolname) INTO foreign_table
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
        WHERE NOT o.rolsuper AND c.oid IN ('@extschema@.ip_inventory'::regclass, '@extschema@.ip_asn_history'::regclass,
            '@extschema@.asn_inventory'::regclass, '@extschema@.maxmind_walk'::regclass)
        ORDER BY 1 LIMIT 1;
        IF foreign_table IS NOT NULL THEN
            RAISE EXCEPTION 'tables of asn_inventory belong to a role that is not a superuser'
                USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = foreign_table,
                    HINT = 'Call it as a role that is not a superuser, with the rights in docs/roles.md, or run ALTER TABLE ... OWNER TO: enrichment_doctor() names the tables.';
        END IF;
    END IF;
    IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
        is_everywhere := EXISTS (SELECT FROM pg_catalog.pg_dist_partition d
                                 WHERE d.logicalrelid = '@extschema@.ip_inventory'::regclass AND d.partmethod <> 'n');
    END IF;
    IF is_everywhere THEN
        -- Each node writes what its own files say, and its walk confirms the rows that lie there. All builds are old where those
        -- of the youngest node are.
        SELECT max(b.oldest), bool_and(b.is_walked), string_agg(b.node, ', ') FILTER (WHERE b.failure IS NOT NULL),
               string_agg(b.node, ', ') FILTER (WHERE b.failure IS NULL AND b.oldest < answered_before)
            INTO oldest, is_walked, silent, behind
        FROM (SELECT n.node, n.failure, coalesce(s.oldest, '-infinity') AS oldest, s.is_walked
              FROM @extschema@._every_node('builds') n
              LEFT JOIN LATERAL jsonb_to_recordset(n.answer) AS s(oldest timestamptz, is_walked boolean) ON true) b;
    ELSE
        SELECT coalesce(min(f.build_time) FILTER (WHERE f.is_maxminds), min(f.build_time)),
               coalesce(array_agg(f.generation) FILTER (WHERE f.is_maxminds), array_agg(f.generation)) INTO oldest, installed
        FROM (SELECT m.build_time, m.generation, m.database_type ~* '^(geolite2|geoip2?)-' AS is_maxminds
              FROM @extschema@._mmdb_files() m WHERE m.generation IS NOT NULL) f;
        IF oldest >= answered_before THEN
            is_walked := EXISTS (SELECT FROM @extschema@.maxmind_walk w WHERE installed <@ w.generations);
        END IF;
    END IF;
    -- The history keeps who had an address, and no longer what was written beside it. Where a country came from it does not say.
    IF has_column_privilege('@extschema@.ip_asn_history', 'old_org', 'UPDATE') AND has_table_privilege('@extschema@.ip_asn_history', 'SELECT') THEN
        UPDATE @extschema@.ip_asn_history h SET old_country_code = NULL, new_country_code = NULL,
            old_org = CASE WHEN h.old_source = 'cymru' THEN h.old_org END
        WHERE h.changed_at < changed_before
          AND (num_nonnulls(h.old_country_code, h.new_country_code) > 0 OR h.old_org IS NOT NULL AND h.old_source IS DISTINCT FROM 'cymru');
    ELSE
        RAISE WARNING 'countries and organizations stay in ip_asn_history' USING DETAIL = 'The role may not change it.',
            HINT = format('GRANT SELECT, UPDATE (old_country_code, new_country_code, old_org) ON @extschema@.ip_asn_history TO %I;', current_user);
    END IF;
    IF silent IS NULL AND coalesce(oldest, '-infinity') < answered_before THEN
        answered_before := 'infinity';
    -- Of some nodes the builds are old, of others not: which of them answered a row, it does not say.
    ELSIF silent IS NOT NULL OR behind IS NOT NULL THEN
        RAISE WARNING 'answers of older builds may stay in ip_inventory'
            USING DETAIL = concat_ws(' ', 'No answer from ' || silent || '.', 'Older builds, or none, on ' || behind || '.'),
                HINT = 'Call it again when every node has newer files: SELECT node, oldest_build, mmdb_ages, failure FROM @extschema@.cluster_status;';
    -- A row's own time says no more than that its build was not younger. What a walk has confirmed came from, or stands
    -- in, the builds that are installed.
    ELSIF is_walked THEN
        RETURN 0;
    END IF;
    UPDATE @extschema@.ip_inventory i SET
        network = CASE WHEN i.asn_source = 'cymru' THEN i.network END,
        asn_number = CASE WHEN i.asn_source = 'cymru' THEN i.asn_number END,
        asn_org = CASE WHEN i.asn_source = 'cymru' THEN i.asn_org END,
        asn_source = CASE WHEN i.asn_source = 'cymru' THEN i.asn_source END,
        country_code = CASE WHEN i.country_source = 'cymru' THEN i.country_code END,
        country_source = CASE WHEN i.country_source = 'cymru' THEN i.country_source END,
        region = NULL, city = NULL, latitude = NULL, longitude = NULL, accuracy_radius_km = NULL,
        time_zone = NULL, registered_country_code = NULL, flags = NULL, connection_type = NULL,
        maxmind_status = 'unavailable', maxmind_ts = NULL,
        enrichment_ts = CASE WHEN i.asn_source = 'cymru' THEN i.enrichment_ts END,
        cymru_status = CASE WHEN i.cymru_status = 'skipped' AND i.cymru_detail IS NULL THEN 'pending' ELSE i.cymru_status END
    WHERE i.maxmind_status IN ('found', 'not_found')
      AND (i.maxmind_ts < answered_before OR answered_before = 'infinity');
    GET DIAGNOSTICS cleared = ROW_COUNT;
    IF answered_before = 'infinity' THEN
        IF has_column_privilege('@extschema@.asn_inventory', 'asn_org', 'UPDATE') AND has_table_privilege('@extschema@.asn_inventory', 'SELECT') THEN
            -- Those that Team Cymru gave stay: asked about the AS, or with the answers of addresses, whose name a file's may have
            -- stood before. One that Team Cymru knows nothing of kept its name until 0.3.0. By values: Citus takes no more in one
            -- statement.
            SELECT coalesce(jsonb_object_agg(s.asn_number, s.asn_org), '{}') INTO of_rows
            FROM (SELECT i.asn_number, max(i.asn_org) AS asn_org FROM @extschema@.ip_inventory i
                  WHERE i.asn_number IS NOT NULL AND i.asn_org IS NOT NULL GROUP BY i.asn_number) s;
            UPDATE @extschema@.asn_inventory a SET asn_org = of_rows ->> a.asn_number::text
            WHERE a.asn_org IS NOT NULL AND (a.details_ts IS NULL OR num_nonnulls(a.country_code, a.registry, a.allocated) = 0)
              AND a.asn_org IS DISTINCT FROM (of_rows ->> a.asn_number::text);
        ELSE
            RAISE WARNING 'organizations stay in asn_inventory' USING DETAIL = 'The role may not change it.',
                HINT = format('GRANT SELECT, UPDATE (asn_org) ON @extschema@.asn_inventory TO %I;', current_user);
        END IF;
    END IF;
    RETURN cleared;
END $$;
COMMENT ON FUNCTION @extschema@.purge_expired_maxmind(interval) IS 'clears what builds older than this wrote into ip_inventory, as GeoLite2''s licence demands; returns the number of rows';
