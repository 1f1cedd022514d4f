CREATE FUNCTION @extschema@.observe_addresses() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'observe_addresses';
COMMENT ON FUNCTION @extschema@.observe_addresses() IS 'trigger function of attached tables: appends the addresses of inserted rows to ip_observation';

CREATE FUNCTION @extschema@.attach_ip_source(tbl regclass, ip_columns text[], observed_at text DEFAULT NULL, method text DEFAULT 'trigger', only_where text DEFAULT NULL, sensor text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'attach_ip_source';
COMMENT ON FUNCTION @extschema@.attach_ip_source(regclass, text[], text, text, text, text) IS 'observes the addresses in rows inserted into a table from now on; ip_columns: columns and JSON paths (payload->>src_ip, payload->answers->*->>rdata), each of them in list(...) for a list of addresses or text(...) for free text; observed_at: column or JSON path with the time of the event, followed by its time zone where that has none: at@Europe/Berlin; method: trigger (once per statement), row (each row, including rows from a subscription) or index (each row, by an index that stores nothing: for fast loads, hypertables and many partitions); only_where: condition on the row: payload->>eventid = cowrie.login.failed; sensor: column or JSON path that names who saw the event: payload->>sensor';

CREATE FUNCTION @extschema@.detach_ip_source(tbl regclass) RETURNS void
    LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'detach_ip_source';
COMMENT ON FUNCTION @extschema@.detach_ip_source(regclass) IS 'stops observing a table; its observations stay in ip_inventory';

CREATE FUNCTION @extschema@.forget_ip_source(tbl regclass) RETURNS bigint
    LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'forget_ip_source';
COMMENT ON FUNCTION @extschema@.forget_ip_source(regclass) IS 'detaches a table and takes back what it has added to ip_inventory, ip_sighting and the days and hours; exact by ip_sighting, from its present rows only where that is incomplete; of one that is detached, what it had added before; returns the number of observations';

CREATE FUNCTION @extschema@.populate_ip_inventory(tbl regclass) RETURNS bigint
    LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'populate_ip_inventory';
COMMENT ON FUNCTION @extschema@.populate_ip_inventory(regclass) IS 'counts the addresses of rows that were in an attached table, or a partition of one, before it was attached; once';

CREATE FUNCTION @extschema@.absorb_observations(max_rows integer DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'absorb_observations';
COMMENT ON FUNCTION @extschema@.absorb_observations(integer) IS 'moves queued observations into ip_inventory now; the worker does this every second';

-- Snapshots mean something only where they were taken: this tells a restored dump from the database it came from.
CREATE FUNCTION @extschema@._database_identity() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS 'SELECT system_identifier::text || ''/'' || (SELECT oid FROM pg_database WHERE datname = current_database()) FROM pg_control_system()';
COMMENT ON FUNCTION @extschema@._database_identity() IS 'identifies this server and database';

CREATE FUNCTION @extschema@.attach_new_partitions() RETURNS event_trigger
    LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'attach_new_partitions';
COMMENT ON FUNCTION @extschema@.attach_new_partitions() IS 'observes partitions and children added after their parent was attached';

CREATE EVENT TRIGGER asn_inventory_new_partition ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA', 'CREATE FOREIGN TABLE')
    EXECUTE FUNCTION @extschema@.attach_new_partitions();
COMMENT ON EVENT TRIGGER asn_inventory_new_partition IS 'observes partitions and children added after their parent was attached';

-- A second way to observe: an index that stores nothing, to which PostgreSQL hands each new row.
CREATE FUNCTION @extschema@.ip_observer(internal) RETURNS index_am_handler
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'ip_observer';
COMMENT ON FUNCTION @extschema@.ip_observer(internal) IS 'handler of the index access method ip_observer';
CREATE ACCESS METHOD ip_observer TYPE INDEX HANDLER @extschema@.ip_observer;
COMMENT ON ACCESS METHOD ip_observer IS 'observes the addresses of new rows; stores nothing';
-- For each type: which of them hold addresses is checked when an index is made, with the reason.
CREATE OPERATOR CLASS @extschema@.ip_observer_ops DEFAULT FOR TYPE anyelement USING ip_observer AS STORAGE anyelement;
COMMENT ON OPERATOR CLASS @extschema@.ip_observer_ops USING ip_observer IS 'columns that hold addresses, as attach_ip_source takes them';

CREATE FUNCTION @extschema@.note_new_observer() RETURNS event_trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'note_new_observer';
COMMENT ON FUNCTION @extschema@.note_new_observer() IS 'notes a table with a new index of the access method ip_observer in ip_source';
CREATE EVENT TRIGGER asn_inventory_new_observer ON ddl_command_end
    WHEN TAG IN ('CREATE INDEX', 'CREATE SCHEMA')
    EXECUTE FUNCTION @extschema@.note_new_observer();
COMMENT ON EVENT TRIGGER asn_inventory_new_observer IS 'notes a table with a new index of the access method ip_observer in ip_source';

CREATE FUNCTION @extschema@.unpack_observations(
    packed bytea, OUT address inet, OUT seen bigint, OUT first_seen timestamptz, OUT last_seen timestamptz)
    RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 200 AS 'MODULE_PATHNAME', 'unpack_observations';
COMMENT ON FUNCTION @extschema@.unpack_observations(bytea) IS 'addresses in ip_observation.packed, one row per address';

CREATE FUNCTION @extschema@._unobserved_statements(OUT statements bigint, OUT tbl oid, OUT last_at timestamptz) RETURNS record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'unobserved_statements';
COMMENT ON FUNCTION @extschema@._unobserved_statements() IS 'number of statements since the server started whose rows were not observed because the queue was locked and not brought in since, and the last of them, for enrichment_doctor';

-- Rows that a subscription brings: each server keeps these tables for itself.
CREATE FUNCTION @extschema@._drop_replicated_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'drop_replicated_row';
COMMENT ON FUNCTION @extschema@._drop_replicated_row() IS 'trigger of the extension''s tables: drops rows that a subscription brings; with the argument known, only inserted rows whose key exists';
CREATE FUNCTION @extschema@._is_replicated() RETURNS boolean
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'is_replicated';
COMMENT ON FUNCTION @extschema@._is_replicated() IS 'whether this process applies a subscription; for the conditions of the extension''s triggers, which run with the rights of whoever writes';
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_observation FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_source FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_source_part FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.enrichment_run FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_asn_history FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.source_quota FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.maxmind_walk FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.inventory_count FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.mmdb_shared FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.mmdb_shared_part FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
-- The worker writes this table as often as ip_inventory: a condition costs less than a call.
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_sighting FOR EACH ROW WHEN (@extschema@._is_replicated()) EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_sighting_source FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_activity FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_activity_count FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT ON @extschema@.ip_inventory FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row('known');
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT ON @extschema@.asn_inventory FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row('known');
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT ON @extschema@.cymru_prefix FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row('known');
ALTER TABLE @extschema@.ip_observation ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.ip_source ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.ip_source_part ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.enrichment_run ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.ip_asn_history ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.source_quota ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.maxmind_walk ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.inventory_count ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.mmdb_shared ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.mmdb_shared_part ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.ip_sighting ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.ip_sighting_source ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.ip_activity ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.ip_activity_count ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.ip_inventory ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.asn_inventory ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.cymru_prefix ENABLE REPLICA TRIGGER asn_inventory_replicated;
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.ip_observation IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.ip_source IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.ip_source_part IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.enrichment_run IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.ip_asn_history IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.source_quota IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.maxmind_walk IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.inventory_count IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.mmdb_shared IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.mmdb_shared_part IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.ip_sighting IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.ip_sighting_source IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.ip_activity IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.ip_activity_count IS 'drops rows that a subscription brings';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.ip_inventory IS 'drops rows that a subscription brings if their key exists';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.asn_inventory IS 'drops rows that a subscription brings if their key exists';
COMMENT ON TRIGGER asn_inventory_replicated ON @extschema@.cymru_prefix IS 'drops rows that a subscription brings if their key exists';

-- A restore while the worker runs: sessions that load these tables are noted, and the worker waits.
CREATE FUNCTION @extschema@._note_restore() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'note_restore';
COMMENT ON FUNCTION @extschema@._note_restore() IS 'trigger of the extension''s tables: tells the worker that a dump is being restored, so that it waits';
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_inventory FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_observation FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_source FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.enrichment_run FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.asn_inventory FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.cymru_prefix FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_asn_history FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.source_quota FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_sighting FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_sighting_source FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_activity FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_activity_count FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.ip_inventory IS 'tells the worker that a dump is being restored';
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.ip_observation IS 'tells the worker that a dump is being restored';
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.ip_source IS 'tells the worker that a dump is being restored';
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.enrichment_run IS 'tells the worker that a dump is being restored';
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.asn_inventory IS 'tells the worker that a dump is being restored';
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.cymru_prefix IS 'tells the worker that a dump is being restored';
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.ip_asn_history IS 'tells the worker that a dump is being restored';
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.source_quota IS 'tells the worker that a dump is being restored';
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.ip_sighting IS 'tells the worker that a dump is being restored';
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.ip_sighting_source IS 'tells the worker that a dump is being restored';
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.ip_activity IS 'tells the worker that a dump is being restored';
COMMENT ON TRIGGER asn_inventory_restore ON @extschema@.ip_activity_count IS 'tells the worker that a dump is being restored';

-- The worker counts the inventory when the statistics say that it was written. A session with track_counts off is not in
-- them.
CREATE FUNCTION @extschema@._note_uncounted() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'note_uncounted';
COMMENT ON FUNCTION @extschema@._note_uncounted() IS 'trigger of ip_inventory: has the worker count again after a session with track_counts = off wrote';
CREATE TRIGGER asn_inventory_uncounted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON @extschema@.ip_inventory FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_uncounted();
ALTER TABLE @extschema@.ip_inventory ENABLE ALWAYS TRIGGER asn_inventory_uncounted;
COMMENT ON TRIGGER asn_inventory_uncounted ON @extschema@.ip_inventory IS 'has the worker count again after a session with track_counts = off wrote';
