-- Nothing for PUBLIC but the offline look-ups.
REVOKE ALL ON FUNCTION @extschema@.observe_addresses() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.attach_ip_source(regclass, text[], text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.detach_ip_source(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.forget_ip_source(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._drop_replicated_row() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._note_restore() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._note_uncounted() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.populate_ip_inventory(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.absorb_observations(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.unpack_observations(bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._unobserved_statements() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._database_identity() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.attach_new_partitions() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.ip_observer(internal) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.note_new_observer() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.enrich_ip(inet, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.backfill_inventory(integer, integer, bigint, integer, inet[], boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._backfill_here(integer, integer, integer, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.asn_inventory_distribute() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.asn_inventory_undistribute() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._note_source(text, text[], text, text, text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._every_node(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.update_maxmind(boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.refresh_stale(text, integer, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.refresh_range(inet, text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.cancel_enrichment_job(bigint) FROM PUBLIC;
REVOKE ALL ON PROCEDURE @extschema@.wait_for_job(bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._enrichment_jobs() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._worker_status() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._queue_length() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.worker_errors() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._mmdb_import() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._update_sources() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._network_sources() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._quota_ledger() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._source_latency() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._cymru_ways() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.secret_references() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._record_asn_change() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.ip_asn_at(inet, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.ip_story(inet) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.top_networks(timestamptz, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.ip_last(cidr) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.ip_addresses_in(cidr[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.ip_network_at(inet, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.mmdb_networks(text, inet) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._mmdb_network_rows(text, inet) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.mmdb_editions() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._mmdb_files() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.network_lists() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.purge_expired_maxmind(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.enrichment_doctor() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.import_mmdb_files(boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.inventory_report() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.prometheus_metrics() FROM PUBLIC;

-- The launcher learns of the extension when this transaction commits.
CREATE FUNCTION @extschema@._announce_extension() RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'announce_extension';
COMMENT ON FUNCTION @extschema@._announce_extension() IS 'wakes the launcher when the transaction commits';
REVOKE ALL ON FUNCTION @extschema@._announce_extension() FROM PUBLIC;

-- Rights that default privileges gave on the extension's objects are revoked: the right to make a trigger on a table that
-- the worker writes is dangerous. In an update, only for new objects: other rights were granted on purpose.
CREATE FUNCTION @extschema@._secure_extension(made text[], for_readers text[]) RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'secure_extension';
COMMENT ON FUNCTION @extschema@._secure_extension(text[], text[]) IS 'for the extension''s scripts: refuses dependencies on objects outside the extension, revokes rights from default privileges, and grants new functions to the roles whose views and functions call them';
REVOKE ALL ON FUNCTION @extschema@._secure_extension(text[], text[]) FROM PUBLIC;
SELECT @extschema@._secure_extension(NULL, NULL);
SELECT @extschema@._announce_extension();
