CREATE FUNCTION @extschema@.observe_addresses() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'observe_addresses';
COMMENT ON FUNCTION @extschema@.observe_addresses() IS 'the trigger that attach_ip_source installs: appends the addresses of inserted rows to ip_observation';

CREATE FUNCTION @extschema@.attach_ip_source(tbl regclass, ip_columns text[], observed_at name DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'attach_ip_source';
COMMENT ON FUNCTION @extschema@.attach_ip_source(regclass, text[], name) IS 'observes the addresses in rows inserted into a table from now on';

CREATE FUNCTION @extschema@.detach_ip_source(tbl regclass) RETURNS void
    LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'detach_ip_source';
COMMENT ON FUNCTION @extschema@.detach_ip_source(regclass) IS 'stops observing a table';

CREATE FUNCTION @extschema@.populate_ip_inventory(tbl regclass) RETURNS bigint
    LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'populate_ip_inventory';
COMMENT ON FUNCTION @extschema@.populate_ip_inventory(regclass) IS 'hands the addresses of the rows an attached table already has to the worker, once';

CREATE FUNCTION @extschema@.absorb_observations(max_rows integer DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'absorb_observations';
COMMENT ON FUNCTION @extschema@.absorb_observations(integer) IS 'moves queued observations into ip_inventory now, as the worker does every second';

-- Snapshots mean something only where they were taken: this tells a restored dump from the database it came from.
CREATE FUNCTION @extschema@.database_identity() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS 'SELECT system_identifier::text || ''/'' || (SELECT oid FROM pg_database WHERE datname = current_database()) FROM pg_control_system()';
COMMENT ON FUNCTION @extschema@.database_identity() IS 'this server and database';

CREATE FUNCTION @extschema@.attach_new_partitions() RETURNS event_trigger
    LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'attach_new_partitions';
COMMENT ON FUNCTION @extschema@.attach_new_partitions() IS 'observes partitions and children that came after their parent was attached';

CREATE EVENT TRIGGER asn_inventory_new_partition ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA', 'CREATE FOREIGN TABLE')
    EXECUTE FUNCTION @extschema@.attach_new_partitions();
COMMENT ON EVENT TRIGGER asn_inventory_new_partition IS 'observes partitions and children that came after their parent was attached';

CREATE FUNCTION @extschema@.unpack_observations(
    packed bytea, OUT address inet, OUT seen bigint, OUT first_seen timestamptz, OUT last_seen timestamptz)
    RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 200 AS 'MODULE_PATHNAME', 'unpack_observations';
COMMENT ON FUNCTION @extschema@.unpack_observations(bytea) IS 'what ip_observation.packed holds, a row an address';

CREATE FUNCTION @extschema@.unobserved_statements(OUT statements bigint, OUT tbl oid, OUT last_at timestamptz) RETURNS record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'unobserved_statements';
COMMENT ON FUNCTION @extschema@.unobserved_statements() IS 'statements since the server started whose rows were not observed because somebody held the queue, and the last of them, for enrichment_doctor';
