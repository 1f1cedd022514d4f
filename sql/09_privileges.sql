-- Nothing for PUBLIC but the offline look-ups.
REVOKE ALL ON FUNCTION observe_addresses() FROM PUBLIC;
REVOKE ALL ON FUNCTION attach_ip_source(regclass, text[], name) FROM PUBLIC;
REVOKE ALL ON FUNCTION detach_ip_source(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION populate_ip_inventory(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION absorb_observations(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION unpack_observations(bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION database_identity() FROM PUBLIC;
REVOKE ALL ON FUNCTION attach_new_partitions() FROM PUBLIC;
REVOKE ALL ON FUNCTION enrich_ip(inet, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION backfill_inventory(integer, integer, bigint, integer, inet[], boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION update_maxmind(boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION refresh_stale(text, integer, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION refresh_range(inet, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION cancel_enrichment_job(bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION enrichment_jobs() FROM PUBLIC;
REVOKE ALL ON FUNCTION worker_status() FROM PUBLIC;
REVOKE ALL ON FUNCTION network_sources() FROM PUBLIC;
REVOKE ALL ON FUNCTION source_latency() FROM PUBLIC;
REVOKE ALL ON FUNCTION cymru_ways() FROM PUBLIC;
REVOKE ALL ON FUNCTION secret_references() FROM PUBLIC;
REVOKE ALL ON FUNCTION record_asn_change() FROM PUBLIC;
REVOKE ALL ON FUNCTION ip_asn_at(inet, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION ip_story(inet) FROM PUBLIC;
REVOKE ALL ON FUNCTION mmdb_editions() FROM PUBLIC;
REVOKE ALL ON FUNCTION mmdb_files() FROM PUBLIC;
REVOKE ALL ON FUNCTION purge_expired_maxmind(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION enrichment_doctor() FROM PUBLIC;
REVOKE ALL ON FUNCTION import_mmdb_files(boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION inventory_report() FROM PUBLIC;
REVOKE ALL ON FUNCTION prometheus_metrics() FROM PUBLIC;

-- The launcher learns of the extension when this transaction commits.
CREATE FUNCTION announce_extension() RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'announce_extension';
COMMENT ON FUNCTION announce_extension() IS 'wakes the launcher when the transaction commits';
REVOKE ALL ON FUNCTION announce_extension() FROM PUBLIC;
SELECT announce_extension();
