\echo Use "ALTER EXTENSION asn_inventory UPDATE" to load this file. \quit

-- Nothing in this script is looked up in a schema that others may write to.
SET LOCAL search_path = pg_catalog, pg_temp;

-- First all locks at once, the queue's last and not for long: see src/functions/update.rs. A table that is altered below is
-- named here.
CREATE FUNCTION @extschema@.hold_still(altered text[], version text) RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'hold_still';
SELECT @extschema@.hold_still('{ip_inventory, ip_source, ip_observation, asn_inventory, ip_asn_history, source_quota}', '0.3.0');
DROP FUNCTION @extschema@.hold_still(text[], text);

ALTER TABLE @extschema@.ip_source ADD COLUMN observed_path text, ADD COLUMN only_where text, ADD COLUMN sensor text,
    ADD COLUMN rows_since_time bigint NOT NULL DEFAULT 0;
ALTER TABLE @extschema@.ip_observation ADD COLUMN sensor text;
ALTER TABLE @extschema@.ip_source_part ADD COLUMN left_tbl oid, ADD COLUMN ip_columns text[], ADD COLUMN only_where text;
ALTER TABLE @extschema@.asn_inventory ADD COLUMN known_since timestamptz, ADD COLUMN flags text[];
ALTER TABLE @extschema@.source_quota ADD COLUMN account text, ADD COLUMN spent_by text;
ALTER TABLE @extschema@.ip_inventory ADD COLUMN registered_country_code text, ADD COLUMN flags text[],
    ADD COLUMN connection_type text, ADD COLUMN lists text[];
ALTER TYPE @extschema@.ip_enrichment ADD ATTRIBUTE registered_country_code text, ADD ATTRIBUTE flags text[],
    ADD ATTRIBUTE connection_type text, ADD ATTRIBUTE lists text[];

-- Other arguments make another function: who may call the old one may call this. Where others have built on the old one, a
-- function in standard SQL say, it stays with them as it was, under another name: the extension lets go of it.
ALTER FUNCTION @extschema@.attach_ip_source(regclass, text[], name, text) RENAME TO attach_ip_source_of_0_2_0;
CREATE FUNCTION @extschema@.carry_grants(old regprocedure, new regprocedure) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'carry_grants';
CREATE FUNCTION @extschema@.attach_ip_source(tbl regclass, ip_columns text[], observed_at text DEFAULT NULL, method text DEFAULT 'trigger', only_where text DEFAULT NULL, sensor text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'attach_ip_source';
SELECT @extschema@.carry_grants('@extschema@.attach_ip_source_of_0_2_0(regclass, text[], name, text)', '@extschema@.attach_ip_source(regclass, text[], text, text, text, text)');
DO $$ BEGIN
    DROP FUNCTION @extschema@.attach_ip_source_of_0_2_0(regclass, text[], name, text);
EXCEPTION WHEN dependent_objects_still_exist THEN
    ALTER EXTENSION asn_inventory DROP FUNCTION @extschema@.attach_ip_source_of_0_2_0(regclass, text[], name, text);
END $$;

-- It has more columns, so it is another function, too.
ALTER FUNCTION @extschema@.mmdb_editions() RENAME TO mmdb_editions_of_0_2_0;
CREATE FUNCTION @extschema@.mmdb_editions(
    OUT edition text, OUT database_type text, OUT build_time timestamptz, OUT nodes bigint, OUT size bigint,
    OUT generation text, OUT installed_at timestamptz, OUT refused text, OUT refused_at timestamptz,
    OUT in_use_by integer, OUT attribution text, OUT fields text[], OUT networks bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 4 AS 'MODULE_PATHNAME', 'mmdb_editions';
SELECT @extschema@.carry_grants('@extschema@.mmdb_editions_of_0_2_0()', '@extschema@.mmdb_editions()');
DO $$ BEGIN
    DROP FUNCTION @extschema@.mmdb_editions_of_0_2_0();
EXCEPTION WHEN dependent_objects_still_exist THEN
    ALTER EXTENSION asn_inventory DROP FUNCTION @extschema@.mmdb_editions_of_0_2_0();
END $$;
DROP FUNCTION @extschema@.carry_grants(regprocedure, regprocedure);

-- The country and the organization of a day, and changes of the country alone.
ALTER TABLE @extschema@.ip_asn_history ADD COLUMN old_country_code text, ADD COLUMN old_org text,
    ADD COLUMN new_country_code text, ALTER COLUMN old_asn DROP NOT NULL;
-- An address that was withdrawn may get an AS again.
CREATE OR REPLACE TRIGGER record_asn_change AFTER UPDATE OF asn_number, country_code ON @extschema@.ip_inventory FOR EACH ROW
    WHEN (OLD.asn_number IS DISTINCT FROM NEW.asn_number AND (OLD.asn_number IS NOT NULL OR OLD.maxmind_status <> 'pending')
        OR OLD.asn_number IS NOT NULL AND OLD.country_code IS NOT NULL AND OLD.country_code IS DISTINCT FROM NEW.country_code)
    EXECUTE FUNCTION @extschema@._record_asn_change();
ALTER TABLE @extschema@.ip_inventory ENABLE ALWAYS TRIGGER record_asn_change;
-- Where the history is large, hold_still has asked for this index (src/functions/update/history.rs). One that is not valid is
-- what a failed CREATE INDEX CONCURRENTLY leaves behind.
DO $$
DECLARE
    is_valid boolean := (SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                         WHERE i.indrelid = '@extschema@.ip_asn_history'::regclass AND c.relname = 'ip_asn_history_time');
BEGIN
    IF NOT is_valid THEN
        DROP INDEX @extschema@.ip_asn_history_time;
    END IF;
    IF is_valid IS NOT TRUE THEN
        CREATE INDEX ip_asn_history_time ON @extschema@.ip_asn_history (changed_at);
    END IF;
END $$;

-- Who saw an address: a row for each address and place that saw it, beside the row of ip_inventory that sums them up.
CREATE TABLE @extschema@.ip_sighting_source (
    id            integer PRIMARY KEY,
    tbl           regclass,
    name          text NOT NULL,
    sensor        text NOT NULL DEFAULT '',
    left_out      bigint NOT NULL DEFAULT 0,
    first_seen_at timestamptz,
    last_seen_at  timestamptz,
    attached      boolean NOT NULL DEFAULT true,
    detached_tbl  oid,
    UNIQUE (tbl, sensor)
);
-- The nodes of a cluster have other numbers for the same table: there, a place is known by its name.
CREATE UNIQUE INDEX ip_sighting_source_name ON @extschema@.ip_sighting_source (name, sensor) WHERE tbl IS NULL AND attached;

-- As in ip_inventory, no index may stand on what changes with every observation.
CREATE TABLE @extschema@.ip_sighting (
    ip_address        inet NOT NULL,
    source_id         integer NOT NULL,
    first_seen_at     timestamptz NOT NULL,
    last_seen_at      timestamptz NOT NULL,
    observation_count bigint NOT NULL,
    PRIMARY KEY (ip_address, source_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- A number of a table that is gone would be another table's elsewhere: its place is dumped with its name alone, once the
-- worker has seen that it is gone.
SELECT pg_catalog.pg_extension_config_dump('@extschema@.ip_sighting_source',
    'WHERE tbl IS NULL OR tbl::pg_catalog.text <> tbl::pg_catalog.oid::pg_catalog.text');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.ip_sighting', '');

-- When, by the hour: addresses packed, some hundred to a row, so that a day of a hundred thousand of them takes a megabyte.
CREATE TABLE @extschema@.ip_activity (
    bucket    timestamptz NOT NULL,
    by_day    boolean NOT NULL DEFAULT false,
    source_id integer NOT NULL,
    addresses integer NOT NULL,
    packed    bytea NOT NULL,
    counted   boolean NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0.05);
-- A publication of all tables would keep rows without a key from being deleted.
ALTER TABLE @extschema@.ip_activity REPLICA IDENTITY FULL;
CREATE INDEX ip_activity_bucket ON @extschema@.ip_activity (bucket);
CREATE INDEX ip_activity_uncounted ON @extschema@.ip_activity (bucket) WHERE NOT counted;

CREATE TABLE @extschema@.ip_activity_count (
    by_day       boolean NOT NULL,
    kind         text NOT NULL,
    bucket       timestamptz NOT NULL,
    value        text NOT NULL,
    addresses    bigint NOT NULL,
    observations bigint NOT NULL,
    PRIMARY KEY (by_day, kind, bucket, value)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05);

SELECT pg_catalog.pg_extension_config_dump('@extschema@.ip_activity', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.ip_activity_count', '');
CREATE FUNCTION @extschema@._is_replicated() RETURNS boolean
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'is_replicated';
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_sighting FOR EACH ROW WHEN (@extschema@._is_replicated()) EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_sighting_source FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_activity FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
CREATE TRIGGER asn_inventory_replicated BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.ip_activity_count FOR EACH ROW EXECUTE FUNCTION @extschema@._drop_replicated_row();
ALTER TABLE @extschema@.ip_sighting ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.ip_sighting_source ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.ip_activity ENABLE REPLICA TRIGGER asn_inventory_replicated;
ALTER TABLE @extschema@.ip_activity_count ENABLE REPLICA TRIGGER asn_inventory_replicated;
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_sighting FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_sighting_source FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_activity FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();
CREATE TRIGGER asn_inventory_restore BEFORE INSERT ON @extschema@.ip_activity_count FOR EACH STATEMENT EXECUTE FUNCTION @extschema@._note_restore();

-- The index that observes.
CREATE FUNCTION @extschema@.ip_observer(internal) RETURNS index_am_handler
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'ip_observer';
CREATE ACCESS METHOD ip_observer TYPE INDEX HANDLER @extschema@.ip_observer;
CREATE OPERATOR CLASS @extschema@.ip_observer_ops DEFAULT FOR TYPE anyelement USING ip_observer AS STORAGE anyelement;
CREATE FUNCTION @extschema@.note_new_observer() RETURNS event_trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'note_new_observer';
CREATE EVENT TRIGGER asn_inventory_new_observer ON ddl_command_end
    WHEN TAG IN ('CREATE INDEX', 'CREATE SCHEMA')
    EXECUTE FUNCTION @extschema@.note_new_observer();

-- From here on written by scripts/upgrade-sql.sh.
COMMENT ON TYPE @extschema@.ip_enrichment IS 'all data of one address: network, place, scanner, and the state of each source';
COMMENT ON TYPE @extschema@.enrichment_summary IS 'result of a job: addresses looked at, answered by each source, not found, skipped, failed';
COMMENT ON INDEX @extschema@.ip_inventory_cymru_due IS 'addresses about which Team Cymru is to be asked';
COMMENT ON INDEX @extschema@.ip_inventory_greynoise_due IS 'addresses about which GreyNoise is to be asked';
COMMENT ON INDEX @extschema@.ip_inventory_cymru_ts IS 'answers of Team Cymru by age';
COMMENT ON INDEX @extschema@.ip_inventory_scanner_ts IS 'answers of GreyNoise by age';
COMMENT ON TABLE @extschema@.ip_inventory IS 'every address ever observed, with the answers of each source';
COMMENT ON COLUMN @extschema@.ip_inventory.ip_address IS 'host address as it was observed; IPv4-mapped ones as IPv4, unless asn_inventory.fold_ipv4_mapped is off';
COMMENT ON COLUMN @extschema@.ip_inventory.first_seen_at IS 'earliest observation';
COMMENT ON COLUMN @extschema@.ip_inventory.last_seen_at IS 'latest observation';
COMMENT ON COLUMN @extschema@.ip_inventory.observation_count IS 'how often it was observed in attached tables; 0 when it was only asked about';
COMMENT ON COLUMN @extschema@.ip_inventory.asn_number IS 'origin AS, unsigned 32 bits';
COMMENT ON COLUMN @extschema@.ip_inventory.asn_org IS 'organization of the origin AS';
COMMENT ON COLUMN @extschema@.ip_inventory.asn_source IS 'source of the ASN: maxmind or cymru';
COMMENT ON COLUMN @extschema@.ip_inventory.enrichment_ts IS 'when network or place were last written';
COMMENT ON COLUMN @extschema@.ip_inventory.scanner_ts IS 'when GreyNoise last answered';
COMMENT ON COLUMN @extschema@.ip_inventory.ip_class IS 'public, private, loopback and so on: see ip_class(inet)';
COMMENT ON COLUMN @extschema@.ip_inventory.network IS 'network to which the ASN, or without an ASN the place, applies';
COMMENT ON COLUMN @extschema@.ip_inventory.country_code IS 'ISO 3166-1 alpha-2';
COMMENT ON COLUMN @extschema@.ip_inventory.country_source IS 'source of the country: maxmind, or cymru (then it is the country of the registration)';
COMMENT ON COLUMN @extschema@.ip_inventory.region IS 'first subdivision, in the language of asn_inventory.mmdb_language where the file has it';
COMMENT ON COLUMN @extschema@.ip_inventory.city IS 'in the language of asn_inventory.mmdb_language where the file has it';
COMMENT ON COLUMN @extschema@.ip_inventory.latitude IS 'degrees';
COMMENT ON COLUMN @extschema@.ip_inventory.longitude IS 'degrees';
COMMENT ON COLUMN @extschema@.ip_inventory.accuracy_radius_km IS 'kilometres around latitude and longitude';
COMMENT ON COLUMN @extschema@.ip_inventory.time_zone IS 'IANA time zone name';
COMMENT ON COLUMN @extschema@.ip_inventory.scanner_noise IS 'GreyNoise: seen scanning the internet';
COMMENT ON COLUMN @extschema@.ip_inventory.scanner_riot IS 'GreyNoise: belongs to a common business service';
COMMENT ON COLUMN @extschema@.ip_inventory.scanner_classification IS 'GreyNoise: benign, malicious or unknown';
COMMENT ON COLUMN @extschema@.ip_inventory.scanner_name IS 'GreyNoise: name of the scanner or service';
COMMENT ON COLUMN @extschema@.ip_inventory.scanner_last_seen IS 'GreyNoise: when it last saw the address';
COMMENT ON COLUMN @extschema@.ip_inventory.maxmind_status IS 'state of MaxMind: pending, found, not_found, skipped, unavailable';
COMMENT ON COLUMN @extschema@.ip_inventory.maxmind_ts IS 'when MaxMind last answered; stale if older than the newest installed build';
COMMENT ON COLUMN @extschema@.ip_inventory.cymru_status IS 'state of Team Cymru: pending (to be asked, or to be asked again), found, not_found, failed, skipped';
COMMENT ON COLUMN @extschema@.ip_inventory.cymru_ts IS 'when Team Cymru last answered';
COMMENT ON COLUMN @extschema@.ip_inventory.cymru_attempts IS 'failed attempts since the last answer';
COMMENT ON COLUMN @extschema@.ip_inventory.cymru_retry_at IS 'Team Cymru is not asked again before this time';
COMMENT ON COLUMN @extschema@.ip_inventory.cymru_detail IS 'why the last attempt failed, or why Team Cymru is not asked';
COMMENT ON COLUMN @extschema@.ip_inventory.greynoise_status IS 'state of GreyNoise: pending (not asked yet), found, not_found, quota, failed, skipped';
COMMENT ON COLUMN @extschema@.ip_inventory.greynoise_attempts IS 'failed attempts since the last answer';
COMMENT ON COLUMN @extschema@.ip_inventory.greynoise_retry_at IS 'GreyNoise is not asked again before this time';
COMMENT ON COLUMN @extschema@.ip_inventory.greynoise_detail IS 'why the last attempt failed, or why GreyNoise is not asked';
COMMENT ON COLUMN @extschema@.ip_inventory.registered_country_code IS 'country in which the network is registered, ISO 3166-1 alpha-2';
COMMENT ON COLUMN @extschema@.ip_inventory.flags IS 'what files, and lists that stand for a flag, say of the address: anonymous, vpn, proxy, residential_proxy, tor, relay, hosting, anycast, satellite, eyeball, business, education, government; null: nothing of these';
COMMENT ON COLUMN @extschema@.ip_inventory.connection_type IS 'kind of connection, in the words of the file';
COMMENT ON COLUMN @extschema@.ip_inventory.lists IS 'lists of networks that hold the address, by name; null: none does';
COMMENT ON TABLE @extschema@.ip_observation IS 'queue of observed addresses that are not yet absorbed into ip_inventory';
COMMENT ON COLUMN @extschema@.ip_observation.address IS 'observed address; null: many are packed, or a count of values that were not addresses; 0.0.0.0/0: a count for its table alone';
COMMENT ON COLUMN @extschema@.ip_observation.seen IS 'number of observations in one statement, of all packed addresses together; 0: asked about, not observed';
COMMENT ON COLUMN @extschema@.ip_observation.first_seen IS 'earliest time of the event';
COMMENT ON COLUMN @extschema@.ip_observation.last_seen IS 'latest time of the event';
COMMENT ON COLUMN @extschema@.ip_observation.source IS 'table into which it was inserted; by name in a dump, since a restored table has another OID';
COMMENT ON COLUMN @extschema@.ip_observation.attempts IS 'how often absorbing this row failed';
COMMENT ON COLUMN @extschema@.ip_observation.retry_at IS 'after a failure, not absorbed before this time';
COMMENT ON COLUMN @extschema@.ip_observation.addresses IS 'number of addresses in this row';
COMMENT ON COLUMN @extschema@.ip_observation.packed IS 'addresses of a large statement with their counts and times: see unpack_observations()';
COMMENT ON COLUMN @extschema@.ip_observation.rows IS 'rows of the statement, on its first row here; null: none, or not counted';
COMMENT ON COLUMN @extschema@.ip_observation.sample IS 'beginning of a value of the statement that could not be read';
COMMENT ON COLUMN @extschema@.ip_observation.reason IS 'why that value could not be read';
COMMENT ON COLUMN @extschema@.ip_observation.sensor IS 'sensor that the rows name; null: none';
COMMENT ON TABLE @extschema@.ip_source IS 'attached tables, and how many addresses were observed in each';
COMMENT ON COLUMN @extschema@.ip_source.tbl IS 'the attached table';
COMMENT ON COLUMN @extschema@.ip_source.ip_columns IS 'columns and JSON paths that hold addresses, lists or texts';
COMMENT ON COLUMN @extschema@.ip_source.observed_at IS 'column that holds the time of the event; null: the time of the insert';
COMMENT ON COLUMN @extschema@.ip_source.attached_at IS 'when attach_ip_source was called';
COMMENT ON COLUMN @extschema@.ip_source.attached_by IS 'role that called it';
COMMENT ON COLUMN @extschema@.ip_source.observations IS 'addresses observed, repetitions included';
COMMENT ON COLUMN @extschema@.ip_source.unparsable IS 'values that were not host addresses, and times of events that could not be read';
COMMENT ON COLUMN @extschema@.ip_source.last_observed_at IS 'latest time of an event in it';
COMMENT ON COLUMN @extschema@.ip_source.populated_at IS 'time from which all earlier rows are counted: by populate_ip_inventory, or because the table was empty when it was attached';
COMMENT ON COLUMN @extschema@.ip_source.attached_snapshot IS 'transaction and snapshot of the attachment, which tell the earlier rows';
COMMENT ON COLUMN @extschema@.ip_source.attached_on IS 'server and database in which that snapshot is valid';
COMMENT ON COLUMN @extschema@.ip_source.unobserved IS 'statements whose rows were not observed, because asn_inventory.enabled was off in their session, or the table has a foreign partition';
COMMENT ON COLUMN @extschema@.ip_source.attached_as IS 'name of the table when it was attached, by which enrichment_doctor finds a table that replaced it';
COMMENT ON COLUMN @extschema@.ip_source.observed_zone IS 'time zone for values of observed_at without one; null: that of the inserting session';
COMMENT ON COLUMN @extschema@.ip_source.rows_seen IS 'rows that were read: inserted since it was attached, or counted by populate_ip_inventory';
COMMENT ON COLUMN @extschema@.ip_source.rows_since_address IS 'rows that were read since the last one with an address';
COMMENT ON COLUMN @extschema@.ip_source.unreadable_sample IS 'beginning of the latest value that could not be read, without control characters';
COMMENT ON COLUMN @extschema@.ip_source.unreadable_reason IS 'why it could not be read; for a statement without any address, why it has none';
COMMENT ON COLUMN @extschema@.ip_source.unreadable_at IS 'time of that statement';
COMMENT ON COLUMN @extschema@.ip_source.method IS 'how rows are observed: trigger (once per statement), row (one by one, by a trigger) or index (one by one, by an index)';
COMMENT ON COLUMN @extschema@.ip_source.columns_changed IS 'true: the table has observations from other columns than its present ones, so forget_ip_source() refuses it';
COMMENT ON COLUMN @extschema@.ip_source.observed_path IS 'path to the time of the event in the JSON column observed_at; null: the column itself is the time';
COMMENT ON COLUMN @extschema@.ip_source.only_where IS 'condition that a row must meet to be observed; null: every row is';
COMMENT ON COLUMN @extschema@.ip_source.sensor IS 'column or JSON path that names the sensor of a row; null: none';
COMMENT ON COLUMN @extschema@.ip_source.rows_since_time IS 'rows that were read since the last statements in which the time of an event could be read';
COMMENT ON TABLE @extschema@.ip_source_part IS 'partitions and children that had rows when they were put below an attached table; populate_ip_inventory counts these rows once';
COMMENT ON COLUMN @extschema@.ip_source_part.tbl IS 'the partition or child';
COMMENT ON COLUMN @extschema@.ip_source_part.attached_at IS 'when it was put below the attached table';
COMMENT ON COLUMN @extschema@.ip_source_part.attached_snapshot IS 'transaction and snapshot of that moment, which tell the earlier rows; null: some of them may have been observed before';
COMMENT ON COLUMN @extschema@.ip_source_part.attached_on IS 'server and database in which that snapshot is valid';
COMMENT ON COLUMN @extschema@.ip_source_part.populated_at IS 'when those rows were counted';
COMMENT ON COLUMN @extschema@.ip_source_part.left_tbl IS 'attached table that it has left; 0: several, or one that is detached';
COMMENT ON COLUMN @extschema@.ip_source_part.ip_columns IS 'columns and paths by which its rows were observed there; null: by different ones';
COMMENT ON COLUMN @extschema@.ip_source_part.only_where IS 'condition that they had to meet there';
COMMENT ON TABLE @extschema@.enrichment_run IS 'ended jobs of the last asn_inventory.run_retention: who requested them, when, and the outcome';
COMMENT ON COLUMN @extschema@.enrichment_run.job_id IS 'number that the caller received';
COMMENT ON COLUMN @extschema@.enrichment_run.kind IS 'kind of work: backfill, refresh, update (of MaxMind''s files) or walk (after a newer build)';
COMMENT ON COLUMN @extschema@.enrichment_run.parameters IS 'limits of the job';
COMMENT ON COLUMN @extschema@.enrichment_run.requested_by IS 'role that requested it; the worker''s own for work by schedule or after a newer build';
COMMENT ON COLUMN @extschema@.enrichment_run.started_at IS 'when it was requested';
COMMENT ON COLUMN @extschema@.enrichment_run.ended_at IS 'end of its last transaction';
COMMENT ON COLUMN @extschema@.enrichment_run.outcome IS 'done, cancelled or failed';
COMMENT ON COLUMN @extschema@.enrichment_run.detail IS 'why it failed';
COMMENT ON COLUMN @extschema@.enrichment_run.processed IS 'addresses looked at';
COMMENT ON COLUMN @extschema@.enrichment_run.enriched IS 'addresses that a source knew';
COMMENT ON COLUMN @extschema@.enrichment_run.cache_hits IS 'addresses that were fresh already';
COMMENT ON COLUMN @extschema@.enrichment_run.maxmind_asn IS 'addresses that got their ASN from MaxMind';
COMMENT ON COLUMN @extschema@.enrichment_run.cymru_asn IS 'addresses that Team Cymru knew';
COMMENT ON COLUMN @extschema@.enrichment_run.greynoise_scanners IS 'addresses that GreyNoise has seen scanning';
COMMENT ON COLUMN @extschema@.enrichment_run.not_found IS 'addresses that no source knew';
COMMENT ON COLUMN @extschema@.enrichment_run.skipped IS 'addresses about which no source may be asked: special-purpose, switched off, never_ask';
COMMENT ON COLUMN @extschema@.enrichment_run.errors IS 'addresses that could not be written, or that a network source did not answer for';
COMMENT ON INDEX @extschema@.enrichment_run_update IS 'looks for newer MaxMind files, latest first';
COMMENT ON SEQUENCE @extschema@.enrichment_job_id IS 'numbers of jobs';
COMMENT ON INDEX @extschema@.cymru_prefix_lookup IS 'finds the prefixes that an address lies in';
COMMENT ON TABLE @extschema@.cymru_prefix IS 'answers of Team Cymru, one per network: addresses inside it are not asked about again until it expires';
COMMENT ON COLUMN @extschema@.cymru_prefix.prefix IS 'network for which the answer is used: the /24 (IPv6: /48) of the asked address, or the announced prefix where it is longer';
COMMENT ON COLUMN @extschema@.cymru_prefix.announced IS 'announced prefix in the answer, which may be wider; null: no route, a negative answer';
COMMENT ON COLUMN @extschema@.cymru_prefix.origins IS 'every origin AS of the prefix, as Team Cymru lists them';
COMMENT ON COLUMN @extschema@.cymru_prefix.country_code IS 'country of the registration, not a location';
COMMENT ON COLUMN @extschema@.cymru_prefix.registry IS 'regional registry';
COMMENT ON COLUMN @extschema@.cymru_prefix.allocated IS 'when the registry allocated it';
COMMENT ON COLUMN @extschema@.cymru_prefix.answered_at IS 'when Team Cymru gave this answer';
COMMENT ON COLUMN @extschema@.cymru_prefix.expires_at IS 'not used after this time';
COMMENT ON TABLE @extschema@.asn_inventory IS 'every autonomous system that an address of ip_inventory belongs or belonged to';
COMMENT ON COLUMN @extschema@.asn_inventory.asn_number IS 'AS number, unsigned 32 bits';
COMMENT ON COLUMN @extschema@.asn_inventory.asn_org IS 'name of the AS: Team Cymru''s if it was asked about the AS, else that of the files, else that of another answer';
COMMENT ON COLUMN @extschema@.asn_inventory.country_code IS 'country of the registration (Team Cymru)';
COMMENT ON COLUMN @extschema@.asn_inventory.registry IS 'regional registry (Team Cymru)';
COMMENT ON COLUMN @extschema@.asn_inventory.allocated IS 'when the registry allocated it (Team Cymru)';
COMMENT ON COLUMN @extschema@.asn_inventory.first_seen_at IS 'earliest observation of one of its addresses';
COMMENT ON COLUMN @extschema@.asn_inventory.last_seen_at IS 'latest observation of one of its addresses';
COMMENT ON COLUMN @extschema@.asn_inventory.ip_count IS 'distinct addresses that belong to it now';
COMMENT ON COLUMN @extschema@.asn_inventory.observation_count IS 'observations of these addresses';
COMMENT ON COLUMN @extschema@.asn_inventory.known_since IS 'when an address of ip_inventory was first counted for it; null: before version 0.3.0, or never';
COMMENT ON COLUMN @extschema@.asn_inventory.flags IS 'flags that at least half of its addresses have, of those that the files were asked about; null: none, or no file says it';
COMMENT ON COLUMN @extschema@.asn_inventory.counted_at IS 'when the counts last changed; the worker recounts within seconds of a change, less often in a large inventory';
COMMENT ON COLUMN @extschema@.asn_inventory.details_ts IS 'when Team Cymru was last asked about the AS itself';
COMMENT ON COLUMN @extschema@.asn_inventory.details_retry_at IS 'Team Cymru is not asked again before this time';
COMMENT ON INDEX @extschema@.ip_asn_history_lookup IS 'the changes of one address in order';
COMMENT ON INDEX @extschema@.ip_asn_history_time IS 'the latest changes';
COMMENT ON TABLE @extschema@.ip_asn_history IS 'every time that the ASN stored for an address changed, or its country; a first answer is no change';
COMMENT ON COLUMN @extschema@.ip_asn_history.ip_address IS 'the address';
COMMENT ON COLUMN @extschema@.ip_asn_history.changed_at IS 'when the new answer was written';
COMMENT ON COLUMN @extschema@.ip_asn_history.old_asn IS 'the ASN until then; null: none was known any more, as the change before says';
COMMENT ON COLUMN @extschema@.ip_asn_history.old_source IS 'source of the old ASN';
COMMENT ON COLUMN @extschema@.ip_asn_history.new_asn IS 'the ASN from then on; null: no longer known';
COMMENT ON COLUMN @extschema@.ip_asn_history.new_source IS 'source of the new ASN';
COMMENT ON COLUMN @extschema@.ip_asn_history.old_country_code IS 'the country until then; null: none was known, or before version 0.3.0';
COMMENT ON COLUMN @extschema@.ip_asn_history.old_org IS 'the organization until then, as it was called; null: none was known, or before version 0.3.0';
COMMENT ON COLUMN @extschema@.ip_asn_history.new_country_code IS 'the country from then on; null: none is known, or before version 0.3.0';
CREATE OR REPLACE FUNCTION @extschema@._record_asn_change() RETURNS trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'record_asn_change';
COMMENT ON FUNCTION @extschema@._record_asn_change() IS 'trigger of ip_inventory: writes ip_asn_history';
COMMENT ON TRIGGER record_asn_change ON @extschema@.ip_inventory IS 'writes ip_asn_history';
CREATE OR REPLACE FUNCTION @extschema@.ip_asn_at(ip inet, at timestamptz) RETURNS bigint
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    stored bigint;
    -- The address under which an IPv4-mapped one is kept, without a netmask. Before the library is loaded, the setting is as
    -- it was written: every spelling of off counts.
    address inet := CASE WHEN host($1)::inet <<= inet '::ffff:0.0.0.0/96' AND coalesce(current_setting('asn_inventory.fold_ipv4_mapped', true), '') !~* '^(off?|no?|f(a(l(se?)?)?)?|0)$'
        THEN inet '0.0.0.0' + (host($1)::inet - inet '::ffff:0.0.0.0') ELSE host($1)::inet END;
BEGIN
    SELECT c.old_asn INTO stored FROM @extschema@.ip_asn_history c
    WHERE c.ip_address = address AND c.changed_at > $2 ORDER BY c.changed_at LIMIT 1;
    IF NOT FOUND THEN
        SELECT i.asn_number INTO stored FROM @extschema@.ip_inventory i WHERE i.ip_address = address;
    END IF;
    RETURN stored;
END $$;
COMMENT ON FUNCTION @extschema@.ip_asn_at(inet, timestamptz) IS 'the ASN that was stored for an address at a time; before its first answer, that answer';
COMMENT ON TABLE @extschema@.source_quota IS 'how much of a source''s quota was spent in its present window';
COMMENT ON COLUMN @extschema@.source_quota.source IS 'name of the source: greynoise';
COMMENT ON COLUMN @extschema@.source_quota.window_start IS 'start of the window, UTC';
COMMENT ON COLUMN @extschema@.source_quota.used IS 'requests spent in it; recorded before they are sent';
COMMENT ON COLUMN @extschema@.source_quota.closed_until IS 'the source refuses further requests until this time';
COMMENT ON COLUMN @extschema@.source_quota.account IS 'whose quota it is: a hash of the server and the key; null: of whoever asks next';
COMMENT ON COLUMN @extschema@.source_quota.spent_by IS 'server and database that wrote the row: in a copy of a database it is the original''s spending';
COMMENT ON TABLE @extschema@.maxmind_walk IS 'one row: the files with which ip_inventory was last compared, row by row';
COMMENT ON COLUMN @extschema@.maxmind_walk.generations IS 'generations of these files, as mmdb_editions() names them; last, which of them answers which field';
COMMENT ON COLUMN @extschema@.maxmind_walk.shards IS 'where Citus distributes ip_inventory: the shards of this node that were compared; otherwise null';
COMMENT ON COLUMN @extschema@.maxmind_walk.installed_at IS 'when the newest of them was installed';
COMMENT ON COLUMN @extschema@.maxmind_walk.walked_at IS 'when the comparison was finished';
COMMENT ON TABLE @extschema@.mmdb_shared IS 'mmdb files of this server, for its standbys and for the nodes of its cluster, which install them';
COMMENT ON COLUMN @extschema@.mmdb_shared.edition IS 'name of the edition';
COMMENT ON COLUMN @extschema@.mmdb_shared.sha256 IS 'SHA-256 of the file, in hexadecimal';
COMMENT ON COLUMN @extschema@.mmdb_shared.built_at IS 'when its data was built';
COMMENT ON COLUMN @extschema@.mmdb_shared.bytes IS 'size of the file';
COMMENT ON COLUMN @extschema@.mmdb_shared.shared_at IS 'when it was written here';
COMMENT ON TABLE @extschema@.mmdb_shared_part IS 'the bytes of the files in mmdb_shared';
COMMENT ON COLUMN @extschema@.mmdb_shared_part.edition IS 'name of the edition';
COMMENT ON COLUMN @extschema@.mmdb_shared_part.part IS 'number of the part, from 0';
COMMENT ON COLUMN @extschema@.mmdb_shared_part.data IS 'up to 1 MB of the file';
COMMENT ON TABLE @extschema@.inventory_count IS 'one row: counts of ip_inventory; the worker counts after changes, less often in a larger inventory';
COMMENT ON COLUMN @extschema@.inventory_count.counted_at IS 'time of the count';
COMMENT ON COLUMN @extschema@.inventory_count.addresses IS 'rows of ip_inventory';
COMMENT ON COLUMN @extschema@.inventory_count.public_addresses IS 'addresses of class public, which sources can know';
COMMENT ON COLUMN @extschema@.inventory_count.enriched IS 'addresses with an ASN or a country';
COMMENT ON COLUMN @extschema@.inventory_count.missing_asn IS 'public addresses without an ASN';
COMMENT ON COLUMN @extschema@.inventory_count.observations IS 'observations of all addresses';
COMMENT ON COLUMN @extschema@.inventory_count.maxmind_answered IS 'addresses with an answer from MaxMind''s files, including that they do not know it';
COMMENT ON COLUMN @extschema@.inventory_count.cymru_answered IS 'addresses with an answer from Team Cymru, including that no route is announced';
COMMENT ON COLUMN @extschema@.inventory_count.greynoise_answered IS 'addresses with an answer from GreyNoise, including that it does not know it';
COMMENT ON COLUMN @extschema@.inventory_count.scanners IS 'addresses seen scanning, according to GreyNoise';
COMMENT ON COLUMN @extschema@.inventory_count.cymru_due IS 'addresses that wait for an answer from Team Cymru';
COMMENT ON COLUMN @extschema@.inventory_count.greynoise_due IS 'addresses that wait for an answer from GreyNoise';
COMMENT ON COLUMN @extschema@.inventory_count.changes IS 'rows written to ip_inventory so far, by PostgreSQL''s statistics; a different number causes a new count';
COMMENT ON TABLE @extschema@.ip_sighting_source IS 'attached tables and the sensors that their rows name, by the number that ip_sighting has them under';
COMMENT ON COLUMN @extschema@.ip_sighting_source.id IS 'number in ip_sighting';
COMMENT ON COLUMN @extschema@.ip_sighting_source.tbl IS 'the attached table; null: it is gone, or the inventory is distributed';
COMMENT ON COLUMN @extschema@.ip_sighting_source.name IS 'qualified name of the table when it was last seen';
COMMENT ON COLUMN @extschema@.ip_sighting_source.sensor IS 'sensor that the rows name; empty: none';
COMMENT ON COLUMN @extschema@.ip_sighting_source.left_out IS 'observations that ip_sighting lacks because it had reached asn_inventory.sightings_max_size';
COMMENT ON COLUMN @extschema@.ip_sighting_source.first_seen_at IS 'earliest observation';
COMMENT ON COLUMN @extschema@.ip_sighting_source.last_seen_at IS 'latest observation; where the inventory is distributed, up to a minute earlier';
COMMENT ON COLUMN @extschema@.ip_sighting_source.attached IS 'false: nothing more comes from there, since the table was detached or is gone';
COMMENT ON COLUMN @extschema@.ip_sighting_source.detached_tbl IS 'number of the table that was detached, whose share forget_ip_source() can take back; null: it cannot';
COMMENT ON INDEX @extschema@.ip_sighting_source_name IS 'where the inventory is distributed: the place of a table''s name and a sensor';
COMMENT ON TABLE @extschema@.ip_sighting IS 'how often each attached table, and each sensor of it, observed an address; view ip_sightings shows it with names';
COMMENT ON COLUMN @extschema@.ip_sighting.ip_address IS 'the address, as in ip_inventory';
COMMENT ON COLUMN @extschema@.ip_sighting.source_id IS 'number in ip_sighting_source';
COMMENT ON COLUMN @extschema@.ip_sighting.first_seen_at IS 'earliest observation there';
COMMENT ON COLUMN @extschema@.ip_sighting.last_seen_at IS 'latest observation there';
COMMENT ON COLUMN @extschema@.ip_sighting.observation_count IS 'how often it was observed there';
COMMENT ON TABLE @extschema@.ip_activity IS 'which addresses each place of ip_sighting_source observed in which hour, or day, of the events'' own times; counted into ip_activity_count';
COMMENT ON COLUMN @extschema@.ip_activity.bucket IS 'beginning of the hour or day, UTC';
COMMENT ON COLUMN @extschema@.ip_activity.by_day IS 'true: a day, of whose hours nothing is kept any more';
COMMENT ON COLUMN @extschema@.ip_activity.source_id IS 'number in ip_sighting_source; below 1: a row without addresses, which says that the hour or day is to be counted again';
COMMENT ON COLUMN @extschema@.ip_activity.addresses IS 'number of addresses in this row';
COMMENT ON COLUMN @extschema@.ip_activity.packed IS 'the addresses with their counts: see unpack_observations()';
COMMENT ON COLUMN @extschema@.ip_activity.counted IS 'false: not in ip_activity_count yet';
COMMENT ON INDEX @extschema@.ip_activity_bucket IS 'the addresses of an hour or a day';
COMMENT ON INDEX @extschema@.ip_activity_uncounted IS 'hours that are to be counted';
COMMENT ON TABLE @extschema@.ip_activity_count IS 'distinct addresses and observations by hour and by day (UTC), of the events'' own times: in all, and by country, AS, flag and list, as ip_inventory had them when the worker last counted that time';
COMMENT ON COLUMN @extschema@.ip_activity_count.by_day IS 'true: a day, false: an hour';
COMMENT ON COLUMN @extschema@.ip_activity_count.kind IS 'all, country, asn, flag or list';
COMMENT ON COLUMN @extschema@.ip_activity_count.bucket IS 'beginning of the hour or day, UTC';
COMMENT ON COLUMN @extschema@.ip_activity_count.value IS 'country, number of the AS, flag or list; empty: unknown, or all';
COMMENT ON COLUMN @extschema@.ip_activity_count.addresses IS 'distinct addresses observed in that time';
COMMENT ON COLUMN @extschema@.ip_activity_count.observations IS 'observations of these addresses in that time';
CREATE OR REPLACE FUNCTION @extschema@.ip_class(inet) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_class';
COMMENT ON FUNCTION @extschema@.ip_class(inet) IS 'public, private, loopback, link_local, cgnat, documentation, multicast, benchmarking, reserved and so on, by the IANA special-purpose registries';
CREATE OR REPLACE FUNCTION @extschema@.ip_parse(text) RETURNS inet
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_parse';
COMMENT ON FUNCTION @extschema@.ip_parse(text) IS 'the address that a text says: plain, with a port, a zone, in brackets, or the host of a URL; null: it says none. IPv4-mapped addresses become IPv4. Raises nothing';
CREATE OR REPLACE FUNCTION @extschema@.ip_parse(value jsonb, path text) RETURNS inet
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_parse_jsonb';
COMMENT ON FUNCTION @extschema@.ip_parse(jsonb, text) IS 'the address that the text at a path says, as ip_parse(text) reads it; path as in attach_ip_source: src_ip, peer->>ip; of an array, the first element that says one';
CREATE OR REPLACE FUNCTION @extschema@.ip_extract_array(text) RETURNS inet[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_extract_array';
COMMENT ON FUNCTION @extschema@.ip_extract_array(text) IS 'every address in a free text, each once, in order: the first thousand of its first megabyte';
CREATE OR REPLACE FUNCTION @extschema@.ip_extract(text) RETURNS SETOF inet
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 2
    BEGIN ATOMIC
        SELECT pg_catalog.unnest(@extschema@.ip_extract_array($1));
    END;
COMMENT ON FUNCTION @extschema@.ip_extract(text) IS 'every address in a free text, a row each: see ip_extract_array()';
CREATE OR REPLACE FUNCTION @extschema@.lookup_ip(inet) RETURNS @extschema@.ip_enrichment
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'lookup_ip';
COMMENT ON FUNCTION @extschema@.lookup_ip(inet) IS 'all data of an address in the installed mmdb files; offline, writes nothing';
CREATE OR REPLACE FUNCTION @extschema@.ip_asn(inet) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_asn';
COMMENT ON FUNCTION @extschema@.ip_asn(inet) IS 'origin AS of an address, offline';
CREATE OR REPLACE FUNCTION @extschema@.ip_asn_org(inet) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_asn_org';
COMMENT ON FUNCTION @extschema@.ip_asn_org(inet) IS 'organization of the origin AS of an address, offline';
CREATE OR REPLACE FUNCTION @extschema@.ip_country(inet) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_country';
COMMENT ON FUNCTION @extschema@.ip_country(inet) IS 'ISO 3166-1 alpha-2 code of the country of an address, offline';
CREATE OR REPLACE FUNCTION @extschema@.ip_city(inet) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_city';
COMMENT ON FUNCTION @extschema@.ip_city(inet) IS 'city of an address, English name, offline';
CREATE OR REPLACE FUNCTION @extschema@.mmdb_record(edition text, ip inet) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mmdb_record';
COMMENT ON FUNCTION @extschema@.mmdb_record(text, inet) IS 'the whole record of an address in one installed mmdb edition';
CREATE OR REPLACE FUNCTION @extschema@._mmdb_network_rows(edition text, within inet DEFAULT NULL,
                                  OUT network cidr, OUT record jsonb) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'mmdb_network_rows';
COMMENT ON FUNCTION @extschema@._mmdb_network_rows(text, inet) IS 'the rows of mmdb_networks(), one per call';
CREATE OR REPLACE FUNCTION @extschema@.mmdb_networks(edition text, within inet DEFAULT NULL,
                              OUT network cidr, OUT record jsonb) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT (n.r).network, (n.r).record FROM (SELECT @extschema@._mmdb_network_rows($1, $2) AS r) n;
    END;
COMMENT ON FUNCTION @extschema@.mmdb_networks(text, inet) IS 'every network of one installed mmdb edition with its record, optionally only inside a range';
CREATE OR REPLACE FUNCTION @extschema@.mmdb_editions(
    OUT edition text, OUT database_type text, OUT build_time timestamptz, OUT nodes bigint, OUT size bigint,
    OUT generation text, OUT installed_at timestamptz, OUT refused text, OUT refused_at timestamptz,
    OUT in_use_by integer, OUT attribution text, OUT fields text[], OUT networks bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 4 AS 'MODULE_PATHNAME', 'mmdb_editions';
COMMENT ON FUNCTION @extschema@.mmdb_editions() IS 'installed mmdb editions: age, number of processes that have them open, the notice that their licence demands, why the last file was refused, which fields of ip_inventory the file gives, and for how many of its networks at least one of them';
CREATE OR REPLACE FUNCTION @extschema@._mmdb_files(
    OUT edition text, OUT database_type text, OUT build_time timestamptz, OUT nodes bigint, OUT size bigint,
    OUT generation text, OUT installed_at timestamptz, OUT refused text, OUT refused_at timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 4 AS 'MODULE_PATHNAME', 'mmdb_files';
COMMENT ON FUNCTION @extschema@._mmdb_files() IS 'mmdb_editions() without the number of processes, for the status views';
CREATE OR REPLACE FUNCTION @extschema@.ip_lists(inet) RETURNS text[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_lists';
COMMENT ON FUNCTION @extschema@.ip_lists(inet) IS 'names of the installed lists of networks that hold an address, in order; empty: none does, null: no list is installed. Offline';
CREATE OR REPLACE FUNCTION @extschema@.network_lists(
    OUT list text, OUT file text, OUT entries_ipv4 bigint, OUT entries_ipv6 bigint, OUT addresses_ipv4 bigint, OUT size bigint,
    OUT file_time timestamptz, OUT installed_at timestamptz, OUT warning text, OUT refused text, OUT refused_at timestamptz,
    OUT generation text, OUT previous_generation text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 20 AS 'MODULE_PATHNAME', 'network_lists';
COMMENT ON FUNCTION @extschema@.network_lists() IS 'installed lists of networks: their entries, date and size of the file, what was wrong with it, and why the last file was refused; without a list, files that cannot be one';
CREATE OR REPLACE FUNCTION @extschema@.import_mmdb_files(force boolean DEFAULT false) RETURNS integer
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'import_mmdb_files';
COMMENT ON FUNCTION @extschema@.import_mmdb_files(boolean) IS 'imports new mmdb files now instead of within a second; force also takes an older file or one whose node count collapsed, and sets a damaged current.json aside';
CREATE OR REPLACE FUNCTION @extschema@.observe_addresses() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'observe_addresses';
COMMENT ON FUNCTION @extschema@.observe_addresses() IS 'trigger function of attached tables: appends the addresses of inserted rows to ip_observation';
CREATE OR REPLACE FUNCTION @extschema@.attach_ip_source(tbl regclass, ip_columns text[], observed_at text DEFAULT NULL, method text DEFAULT 'trigger', only_where text DEFAULT NULL, sensor text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'attach_ip_source';
COMMENT ON FUNCTION @extschema@.attach_ip_source(regclass, text[], text, text, text, text) IS 'observes the addresses in rows inserted into a table from now on; ip_columns: columns and JSON paths (payload->>src_ip, payload->answers->*->>rdata), each of them in list(...) for a list of addresses or text(...) for free text; observed_at: column or JSON path with the time of the event, followed by its time zone where that has none: at@Europe/Berlin; method: trigger (once per statement), row (each row, including rows from a subscription) or index (each row, by an index that stores nothing: for fast loads, hypertables and many partitions); only_where: condition on the row: payload->>eventid = cowrie.login.failed; sensor: column or JSON path that names who saw the event: payload->>sensor';
CREATE OR REPLACE FUNCTION @extschema@.detach_ip_source(tbl regclass) RETURNS void
    LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'detach_ip_source';
COMMENT ON FUNCTION @extschema@.detach_ip_source(regclass) IS 'stops observing a table; its observations stay in ip_inventory';
CREATE OR REPLACE FUNCTION @extschema@.forget_ip_source(tbl regclass) RETURNS bigint
    LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'forget_ip_source';
COMMENT ON FUNCTION @extschema@.forget_ip_source(regclass) IS 'detaches a table and takes back what it has added to ip_inventory, ip_sighting and the days and hours; exact by ip_sighting, from its present rows only where that is incomplete; of one that is detached, what it had added before; returns the number of observations';
CREATE OR REPLACE FUNCTION @extschema@.populate_ip_inventory(tbl regclass) RETURNS bigint
    LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'populate_ip_inventory';
COMMENT ON FUNCTION @extschema@.populate_ip_inventory(regclass) IS 'counts the addresses of rows that were in an attached table, or a partition of one, before it was attached; once';
CREATE OR REPLACE FUNCTION @extschema@.absorb_observations(max_rows integer DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'absorb_observations';
COMMENT ON FUNCTION @extschema@.absorb_observations(integer) IS 'moves queued observations into ip_inventory now; the worker does this every second';
CREATE OR REPLACE FUNCTION @extschema@._database_identity() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS 'SELECT system_identifier::text || ''/'' || (SELECT oid FROM pg_database WHERE datname = current_database()) FROM pg_control_system()';
COMMENT ON FUNCTION @extschema@._database_identity() IS 'identifies this server and database';
CREATE OR REPLACE FUNCTION @extschema@.attach_new_partitions() RETURNS event_trigger
    LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'attach_new_partitions';
COMMENT ON FUNCTION @extschema@.attach_new_partitions() IS 'observes partitions and children added after their parent was attached';
COMMENT ON EVENT TRIGGER asn_inventory_new_partition IS 'observes partitions and children added after their parent was attached';
CREATE OR REPLACE FUNCTION @extschema@.ip_observer(internal) RETURNS index_am_handler
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'ip_observer';
COMMENT ON FUNCTION @extschema@.ip_observer(internal) IS 'handler of the index access method ip_observer';
COMMENT ON ACCESS METHOD ip_observer IS 'observes the addresses of new rows; stores nothing';
COMMENT ON OPERATOR CLASS @extschema@.ip_observer_ops USING ip_observer IS 'columns that hold addresses, as attach_ip_source takes them';
CREATE OR REPLACE FUNCTION @extschema@.note_new_observer() RETURNS event_trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'note_new_observer';
COMMENT ON FUNCTION @extschema@.note_new_observer() IS 'notes a table with a new index of the access method ip_observer in ip_source';
COMMENT ON EVENT TRIGGER asn_inventory_new_observer IS 'notes a table with a new index of the access method ip_observer in ip_source';
CREATE OR REPLACE FUNCTION @extschema@.unpack_observations(
    packed bytea, OUT address inet, OUT seen bigint, OUT first_seen timestamptz, OUT last_seen timestamptz)
    RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 200 AS 'MODULE_PATHNAME', 'unpack_observations';
COMMENT ON FUNCTION @extschema@.unpack_observations(bytea) IS 'addresses in ip_observation.packed, one row per address';
CREATE OR REPLACE FUNCTION @extschema@._unobserved_statements(OUT statements bigint, OUT tbl oid, OUT last_at timestamptz) RETURNS record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'unobserved_statements';
COMMENT ON FUNCTION @extschema@._unobserved_statements() IS 'number of statements since the server started whose rows were not observed because the queue was locked and not brought in since, and the last of them, for enrichment_doctor';
CREATE OR REPLACE FUNCTION @extschema@._drop_replicated_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'drop_replicated_row';
COMMENT ON FUNCTION @extschema@._drop_replicated_row() IS 'trigger of the extension''s tables: drops rows that a subscription brings; with the argument known, only inserted rows whose key exists';
CREATE OR REPLACE FUNCTION @extschema@._is_replicated() RETURNS boolean
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'is_replicated';
COMMENT ON FUNCTION @extschema@._is_replicated() IS 'whether this process applies a subscription; for the conditions of the extension''s triggers, which run with the rights of whoever writes';
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
CREATE OR REPLACE FUNCTION @extschema@._note_restore() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'note_restore';
COMMENT ON FUNCTION @extschema@._note_restore() IS 'trigger of the extension''s tables: tells the worker that a dump is being restored, so that it waits';
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
CREATE OR REPLACE FUNCTION @extschema@._note_uncounted() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'note_uncounted';
COMMENT ON FUNCTION @extschema@._note_uncounted() IS 'trigger of ip_inventory: has the worker count again after a session with track_counts = off wrote';
COMMENT ON TRIGGER asn_inventory_uncounted ON @extschema@.ip_inventory IS 'has the worker count again after a session with track_counts = off wrote';
CREATE OR REPLACE FUNCTION @extschema@.enrich_ip(ip inet, wait interval DEFAULT '0') RETURNS @extschema@.ip_enrichment
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'enrich_ip';
COMMENT ON FUNCTION @extschema@.enrich_ip(inet, interval) IS 'returns the inventory''s data of an address if they are fresh, else the best data available now, and queues the address for the worker';
CREATE OR REPLACE FUNCTION @extschema@.backfill_inventory(
    batch_size integer DEFAULT 1000, commit_interval integer DEFAULT 5000, max_ips bigint DEFAULT NULL,
    workers integer DEFAULT 4, ips inet[] DEFAULT NULL, wait boolean DEFAULT true) RETURNS @extschema@.enrichment_summary
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'backfill_inventory';
COMMENT ON FUNCTION @extschema@.backfill_inventory(integer, integer, bigint, integer, inet[], boolean)
    IS 'enriches every row of ip_inventory that is not enriched yet; batch_size rows per write, commit_interval rows per transaction. While the call waits, vacuum cannot remove dead rows in this database: for long jobs use wait => false, then CALL wait_for_job()';
CREATE OR REPLACE FUNCTION @extschema@.refresh_stale(source text, n integer DEFAULT 1000, wait boolean DEFAULT true) RETURNS @extschema@.enrichment_summary
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'refresh_stale';
COMMENT ON FUNCTION @extschema@.refresh_stale(text, integer, boolean)
    IS 'enriches again at most n rows whose answer is out of date, most observed first; source: maxmind, cymru, greynoise or all. While the call waits, vacuum cannot remove dead rows in this database: see wait_for_job()';
CREATE OR REPLACE FUNCTION @extschema@.refresh_range(range inet, source text DEFAULT 'all', wait boolean DEFAULT true) RETURNS @extschema@.enrichment_summary
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'refresh_range';
COMMENT ON FUNCTION @extschema@.refresh_range(inet, text, boolean)
    IS 'enriches again every known address in a range, fresh or not; source: maxmind, cymru, greynoise or all. While the call waits, vacuum cannot remove dead rows in this database: see wait_for_job()';
CREATE OR REPLACE FUNCTION @extschema@.update_maxmind(force boolean DEFAULT false) RETURNS bigint
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'update_maxmind';
COMMENT ON FUNCTION @extschema@.update_maxmind(boolean)
    IS 'asks the worker to look for newer MaxMind builds now; returns the job''s number. force: also downloads files that are not newer or were refused';
CREATE OR REPLACE PROCEDURE @extschema@.wait_for_job(job_id bigint)
    LANGUAGE c AS 'MODULE_PATHNAME', 'wait_for_job';
COMMENT ON PROCEDURE @extschema@.wait_for_job(bigint) IS 'returns when a job has ended, and fails if the job failed; holds no snapshot meanwhile, so that vacuum can remove dead rows';
CREATE OR REPLACE FUNCTION @extschema@.cancel_enrichment_job(job_id bigint) RETURNS boolean
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'cancel_enrichment_job';
COMMENT ON FUNCTION @extschema@.cancel_enrichment_job(bigint) IS 'ends a running job after its current transaction; returns false if there is no such job';
CREATE OR REPLACE FUNCTION @extschema@._enrichment_jobs(
    OUT job_id bigint, OUT kind text, OUT state text, OUT requested_by oid, OUT started_at timestamptz,
    OUT helpers integer, OUT total bigint, OUT processed bigint, OUT enriched bigint, OUT errors bigint,
    OUT elapsed_us bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 4 AS 'MODULE_PATHNAME', 'enrichment_jobs';
COMMENT ON FUNCTION @extschema@._enrichment_jobs() IS 'running jobs of this database, for enrichment_progress';
CREATE OR REPLACE VIEW @extschema@.enrichment_progress AS
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
CREATE OR REPLACE FUNCTION @extschema@._worker_status(
    OUT enabled boolean, OUT worker text, OUT worker_pid integer, OUT last_absorb_at timestamptz,
    OUT absorbed bigint, OUT waiting_since timestamptz, OUT lookups bigint, OUT cache_hits bigint,
    OUT cache_misses bigint) RETURNS record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'worker_status';
COMMENT ON FUNCTION @extschema@._worker_status() IS 'the state of this database''s worker, for enrichment_status';
CREATE OR REPLACE FUNCTION @extschema@._queue_length(OUT addresses bigint, OUT off_by bigint) RETURNS record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'queue_length';
COMMENT ON FUNCTION @extschema@._queue_length() IS 'number of addresses that wait in ip_observation and its margin of error, for enrichment_status';
CREATE OR REPLACE FUNCTION @extschema@.worker_errors(
    OUT work text, OUT since timestamptz, OUT last_error_at timestamptz, OUT sqlstate text, OUT last_error text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'worker_errors';
COMMENT ON FUNCTION @extschema@.worker_errors() IS 'work at which the worker and its helpers failed and have not succeeded since, one row per work, latest failure first';
CREATE OR REPLACE FUNCTION @extschema@._mmdb_import(OUT since timestamptz, OUT last_error_at timestamptz, OUT sqlstate text, OUT last_error text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'mmdb_import';
COMMENT ON FUNCTION @extschema@._mmdb_import() IS 'failure of the last import of mmdb files, for source_status; no row: it went well';
CREATE OR REPLACE FUNCTION @extschema@._update_sources(OUT are_any boolean, OUT with_schedules boolean) RETURNS record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'update_sources';
COMMENT ON FUNCTION @extschema@._update_sources() IS 'whether anybody is to be asked for newer files, and whether sources with schedules of their own are, for source_status';
CREATE OR REPLACE FUNCTION @extschema@._network_sources(
    OUT source text, OUT state text, OUT last_success_at timestamptz, OUT last_error_at timestamptz, OUT last_error text,
    OUT retry_at timestamptz, OUT in_flight bigint, OUT requests bigint, OUT errors bigint, OUT rate bigint,
    OUT quota bigint, OUT quota_window text) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 2 AS 'MODULE_PATHNAME', 'network_sources';
COMMENT ON FUNCTION @extschema@._network_sources() IS 'state of Team Cymru and GreyNoise, for source_status';
CREATE OR REPLACE FUNCTION @extschema@._quota_ledger(
    OUT source text, OUT window_start timestamptz, OUT used bigint, OUT closed_until timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'quota_ledger';
COMMENT ON FUNCTION @extschema@._quota_ledger() IS 'the ledger of GreyNoise''s quota as the worker has it, for source_status; no row: as in source_quota';
CREATE OR REPLACE FUNCTION @extschema@._cymru_ways(
    OUT way text, OUT failing boolean, OUT retry_at timestamptz, OUT last_error text) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 2 AS 'MODULE_PATHNAME', 'cymru_ways';
COMMENT ON FUNCTION @extschema@._cymru_ways() IS 'state of DNS and of bulk sessions with Team Cymru, for enrichment_doctor';
CREATE OR REPLACE FUNCTION @extschema@._source_latency(
    OUT source text, OUT timed bigint, OUT p50_ms double precision, OUT p95_ms double precision,
    OUT p99_ms double precision) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 3 AS 'MODULE_PATHNAME', 'source_latency';
COMMENT ON FUNCTION @extschema@._source_latency() IS 'answer times of the sources since the server started, for source_status';
CREATE OR REPLACE FUNCTION @extschema@.secret_references(OUT setting text, OUT state text, OUT detail text) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 2 AS 'MODULE_PATHNAME', 'secret_references';
COMMENT ON FUNCTION @extschema@.secret_references() IS 'whether the references to keys resolve; the worker resolves them now, and keeps the answer of a program for a minute';
CREATE OR REPLACE VIEW @extschema@.source_status AS
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
CREATE OR REPLACE VIEW @extschema@.enrichment_status AS
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
CREATE OR REPLACE FUNCTION @extschema@.purge_expired_maxmind(older_than interval DEFAULT '30 days') RETURNS bigint
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
CREATE OR REPLACE FUNCTION @extschema@.inventory_report() RETURNS text
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp SET jit = off SET enable_sort = off SET work_mem = '64MB'
    AS 'MODULE_PATHNAME', 'inventory_report';
COMMENT ON FUNCTION @extschema@.inventory_report()
    IS 'the inventory as one self-contained HTML page: psql -Atc ''SELECT inventory_report()'' > report.html';
CREATE OR REPLACE VIEW @extschema@.top_networks AS
SELECT a.asn_number, a.asn_org, a.country_code, a.ip_count AS addresses, a.observation_count AS observations,
       round(100.0 * a.observation_count / nullif((SELECT sum(s.observation_count) FROM @extschema@.asn_inventory s), 0), 2) AS share_percent,
       a.first_seen_at, a.last_seen_at
FROM @extschema@.asn_inventory a WHERE a.ip_count > 0
ORDER BY a.observation_count DESC, a.ip_count DESC, a.asn_number;
COMMENT ON VIEW @extschema@.top_networks IS 'autonomous systems by observations, most first; cheap: reads only asn_inventory';
COMMENT ON COLUMN @extschema@.top_networks.asn_number IS 'AS number';
COMMENT ON COLUMN @extschema@.top_networks.asn_org IS 'name of the AS';
COMMENT ON COLUMN @extschema@.top_networks.country_code IS 'country of the registration (Team Cymru); null where it was not asked';
COMMENT ON COLUMN @extschema@.top_networks.addresses IS 'distinct addresses that belong to it now';
COMMENT ON COLUMN @extschema@.top_networks.observations IS 'observations of these addresses';
COMMENT ON COLUMN @extschema@.top_networks.share_percent IS 'share of the observations of all networks';
COMMENT ON COLUMN @extschema@.top_networks.first_seen_at IS 'earliest observation of one of its addresses';
COMMENT ON COLUMN @extschema@.top_networks.last_seen_at IS 'latest observation of one of its addresses';
CREATE OR REPLACE VIEW @extschema@.top_lists AS
SELECT n.name AS list, count(*) AS addresses, least(sum(i.observation_count), 9223372036854775807)::bigint AS observations,
       min(i.first_seen_at) AS first_seen_at, max(i.last_seen_at) AS last_seen_at
FROM @extschema@.ip_inventory i, unnest(i.lists) AS n(name) WHERE i.lists IS NOT NULL
GROUP BY n.name ORDER BY addresses DESC, observations DESC, list;
COMMENT ON VIEW @extschema@.top_lists IS 'lists of networks by addresses of the inventory that they hold, most first; reads the whole inventory';
COMMENT ON COLUMN @extschema@.top_lists.list IS 'name of the list';
COMMENT ON COLUMN @extschema@.top_lists.addresses IS 'addresses of the inventory that it holds';
COMMENT ON COLUMN @extschema@.top_lists.observations IS 'observations of these addresses';
COMMENT ON COLUMN @extschema@.top_lists.first_seen_at IS 'earliest observation of one of them';
COMMENT ON COLUMN @extschema@.top_lists.last_seen_at IS 'latest observation of one of them';
CREATE OR REPLACE VIEW @extschema@.ip_sightings AS
SELECT s.ip_address, coalesce(nullif(l.tbl::text, l.tbl::oid::text), l.name) AS tbl, l.sensor, s.first_seen_at, s.last_seen_at,
       s.observation_count AS observations
FROM @extschema@.ip_sighting s JOIN @extschema@.ip_sighting_source l ON l.id = s.source_id;
COMMENT ON VIEW @extschema@.ip_sightings IS 'who saw an address: a row for each attached table and, where attach_ip_source names one, each sensor; finds an address by index';
COMMENT ON COLUMN @extschema@.ip_sightings.ip_address IS 'the address';
COMMENT ON COLUMN @extschema@.ip_sightings.tbl IS 'the attached table';
COMMENT ON COLUMN @extschema@.ip_sightings.sensor IS 'the sensor that its rows name; empty: none';
COMMENT ON COLUMN @extschema@.ip_sightings.first_seen_at IS 'earliest observation there';
COMMENT ON COLUMN @extschema@.ip_sightings.last_seen_at IS 'latest observation there';
COMMENT ON COLUMN @extschema@.ip_sightings.observations IS 'how often it was observed there';
CREATE OR REPLACE VIEW @extschema@.ip_sensors AS
SELECT coalesce(nullif(l.tbl::text, l.tbl::oid::text), l.name) AS tbl, l.sensor, least(l.first_seen_at, s.first_seen_at) AS first_seen_at,
       greatest(l.last_seen_at, s.last_seen_at) AS last_seen_at, coalesce(s.addresses, 0) AS addresses,
       coalesce(s.observations, 0) AS observations, l.left_out
FROM @extschema@.ip_sighting_source l
LEFT JOIN (SELECT s.source_id, min(s.first_seen_at) AS first_seen_at, max(s.last_seen_at) AS last_seen_at, count(*) AS addresses, least(sum(s.observation_count), 9223372036854775807)::bigint AS observations
           FROM @extschema@.ip_sighting s GROUP BY 1) s ON s.source_id = l.id
ORDER BY 1, 2;
COMMENT ON VIEW @extschema@.ip_sensors IS 'attached tables and their sensors: when each saw something, and how much; reads all of ip_sighting';
COMMENT ON COLUMN @extschema@.ip_sensors.tbl IS 'the attached table';
COMMENT ON COLUMN @extschema@.ip_sensors.sensor IS 'the sensor that its rows name; empty: none';
COMMENT ON COLUMN @extschema@.ip_sensors.first_seen_at IS 'earliest observation there';
COMMENT ON COLUMN @extschema@.ip_sensors.last_seen_at IS 'latest observation there';
COMMENT ON COLUMN @extschema@.ip_sensors.addresses IS 'distinct addresses observed there';
COMMENT ON COLUMN @extschema@.ip_sensors.observations IS 'observations of these addresses there';
COMMENT ON COLUMN @extschema@.ip_sensors.left_out IS 'observations that ip_sighting lacks because of asn_inventory.sightings_max_size';
CREATE OR REPLACE VIEW @extschema@.new_networks AS
-- By itself: Citus takes no correlated question, and no other in a list of columns.
WITH moved AS MATERIALIZED (
    SELECT h.new_asn, min(h.changed_at) AS first FROM @extschema@.ip_asn_history h
    WHERE h.old_asn IS DISTINCT FROM h.new_asn AND h.changed_at > now() - interval '7 days' GROUP BY h.new_asn)
SELECT a.asn_number, a.asn_org, a.country_code, a.first_seen_at, a.last_seen_at, a.ip_count AS addresses,
       a.observation_count AS observations, a.known_since,
       -- known_since alone would be the time at which they were loaded, for all of them.
       CASE WHEN m.new_asn IS NOT NULL THEN a.known_since ELSE a.first_seen_at END AS since
-- Addresses that are known from before, which moved there before any was counted for it: it had none until then.
FROM @extschema@.asn_inventory a
    LEFT JOIN moved m ON m.new_asn = a.asn_number AND m.first <= a.known_since AND a.known_since > now() - interval '7 days'
WHERE a.ip_count > 0 AND (a.first_seen_at > now() - interval '7 days' OR m.new_asn IS NOT NULL)
ORDER BY since DESC, a.observation_count DESC, a.asn_number;
COMMENT ON VIEW @extschema@.new_networks IS 'autonomous systems first seen in the last 7 days, or to which known addresses moved as its first ones, newest first, of the same moment those with most observations; cheap: reads only asn_inventory and ip_asn_history';
COMMENT ON COLUMN @extschema@.new_networks.asn_number IS 'AS number';
COMMENT ON COLUMN @extschema@.new_networks.asn_org IS 'name of the AS';
COMMENT ON COLUMN @extschema@.new_networks.country_code IS 'country of the registration (Team Cymru); null where it was not asked';
COMMENT ON COLUMN @extschema@.new_networks.first_seen_at IS 'earliest observation of one of its addresses';
COMMENT ON COLUMN @extschema@.new_networks.last_seen_at IS 'latest observation of one of its addresses';
COMMENT ON COLUMN @extschema@.new_networks.addresses IS 'distinct addresses that belong to it now';
COMMENT ON COLUMN @extschema@.new_networks.observations IS 'observations of these addresses';
COMMENT ON COLUMN @extschema@.new_networks.known_since IS 'when an address was first counted for it; null: before version 0.3.0';
COMMENT ON COLUMN @extschema@.new_networks.since IS 'since when it is new: known_since where known addresses moved to it in these days as its first ones, else first_seen_at';
CREATE OR REPLACE VIEW @extschema@.new_addresses AS
SELECT i.ip_address, i.first_seen_at, i.last_seen_at, i.observation_count AS observations, i.ip_class, i.asn_number,
       i.asn_org, i.country_code, i.city, i.scanner_classification
FROM @extschema@.ip_inventory i WHERE i.observation_count > 0 AND i.first_seen_at > now() - interval '7 days'
ORDER BY i.first_seen_at DESC, i.ip_address;
COMMENT ON VIEW @extschema@.new_addresses IS 'addresses first seen in the last 7 days, newest first; reads all of ip_inventory';
COMMENT ON COLUMN @extschema@.new_addresses.ip_address IS 'the address';
COMMENT ON COLUMN @extschema@.new_addresses.first_seen_at IS 'earliest observation';
COMMENT ON COLUMN @extschema@.new_addresses.last_seen_at IS 'latest observation';
COMMENT ON COLUMN @extschema@.new_addresses.observations IS 'how often it was observed';
COMMENT ON COLUMN @extschema@.new_addresses.ip_class IS 'public, private, loopback and so on';
COMMENT ON COLUMN @extschema@.new_addresses.asn_number IS 'origin AS';
COMMENT ON COLUMN @extschema@.new_addresses.asn_org IS 'organization of the origin AS';
COMMENT ON COLUMN @extschema@.new_addresses.country_code IS 'ISO 3166-1 alpha-2';
COMMENT ON COLUMN @extschema@.new_addresses.city IS 'English name';
COMMENT ON COLUMN @extschema@.new_addresses.scanner_classification IS 'GreyNoise: benign, malicious or unknown';
CREATE OR REPLACE VIEW @extschema@.asn_changes AS
SELECT h.changed_at, h.ip_address, h.old_asn, o.asn_org AS old_org, h.old_source, h.new_asn, n.asn_org AS new_org,
       h.new_source
FROM @extschema@.ip_asn_history h
LEFT JOIN @extschema@.asn_inventory o ON o.asn_number = h.old_asn
LEFT JOIN @extschema@.asn_inventory n ON n.asn_number = h.new_asn
-- The others are changes of the country alone.
WHERE h.old_asn IS DISTINCT FROM h.new_asn
ORDER BY h.changed_at DESC, h.ip_address;
COMMENT ON VIEW @extschema@.asn_changes IS 'addresses that moved to another AS, latest first; reads ip_asn_history: all of it, or one address by index';
COMMENT ON COLUMN @extschema@.asn_changes.changed_at IS 'when the new answer was written';
COMMENT ON COLUMN @extschema@.asn_changes.ip_address IS 'the address';
COMMENT ON COLUMN @extschema@.asn_changes.old_asn IS 'the ASN until then; null: none was known any more, as the change before says';
COMMENT ON COLUMN @extschema@.asn_changes.old_org IS 'present name of that AS';
COMMENT ON COLUMN @extschema@.asn_changes.old_source IS 'source of the old ASN';
COMMENT ON COLUMN @extschema@.asn_changes.new_asn IS 'the ASN from then on; null: no longer known';
COMMENT ON COLUMN @extschema@.asn_changes.new_org IS 'present name of that AS';
COMMENT ON COLUMN @extschema@.asn_changes.new_source IS 'source of the new ASN';
CREATE OR REPLACE VIEW @extschema@.new_addresses_by_day AS
SELECT (i.first_seen_at AT TIME ZONE 'UTC')::date AS day, i.country_code, count(*) AS new_addresses,
       least(sum(i.observation_count), 9223372036854775807)::bigint AS observations_since,
       count(*) FILTER (WHERE i.country_source = 'cymru') AS by_registration
FROM @extschema@.ip_inventory i WHERE i.observation_count > 0
GROUP BY 1, 2
ORDER BY 1 DESC, 3 DESC, 2;
COMMENT ON VIEW @extschema@.new_addresses_by_day IS 'addresses first seen on a day (UTC), by hosting country, latest day first: each address counts on its first day only; reads all of ip_inventory';
COMMENT ON COLUMN @extschema@.new_addresses_by_day.day IS 'day of the first observation, UTC';
COMMENT ON COLUMN @extschema@.new_addresses_by_day.country_code IS 'ISO 3166-1 alpha-2; null: no source knows';
COMMENT ON COLUMN @extschema@.new_addresses_by_day.new_addresses IS 'addresses first seen that day';
COMMENT ON COLUMN @extschema@.new_addresses_by_day.observations_since IS 'total observations of these addresses from that day until now';
COMMENT ON COLUMN @extschema@.new_addresses_by_day.by_registration IS 'addresses for which only the country of the registration is known';
CREATE OR REPLACE VIEW @extschema@.countries_by_day AS
SELECT (c.bucket AT TIME ZONE 'UTC')::date AS day, nullif(c.value, '') AS country_code, c.addresses, c.observations
FROM @extschema@.ip_activity_count c WHERE c.by_day AND c.kind = 'country'
ORDER BY c.bucket DESC, c.observations DESC, c.value;
COMMENT ON VIEW @extschema@.countries_by_day IS 'addresses and observations of each day by country, latest day first; cheap: reads counts that the worker makes';
COMMENT ON COLUMN @extschema@.countries_by_day.day IS 'day of the events'' own times, UTC';
COMMENT ON COLUMN @extschema@.countries_by_day.country_code IS 'ISO 3166-1 alpha-2, as ip_inventory had it when the day was counted; null: no source knew';
COMMENT ON COLUMN @extschema@.countries_by_day.addresses IS 'distinct addresses observed in that time';
COMMENT ON COLUMN @extschema@.countries_by_day.observations IS 'observations of these addresses in that time';
CREATE OR REPLACE VIEW @extschema@.networks_by_day AS
SELECT (c.bucket AT TIME ZONE 'UTC')::date AS day, nullif(c.value, '')::bigint AS asn_number, a.asn_org, c.addresses, c.observations
FROM @extschema@.ip_activity_count c LEFT JOIN @extschema@.asn_inventory a ON a.asn_number = nullif(c.value, '')::bigint
WHERE c.by_day AND c.kind = 'asn'
ORDER BY c.bucket DESC, c.observations DESC, c.value;
COMMENT ON VIEW @extschema@.networks_by_day IS 'addresses and observations of each day by autonomous system, latest day first; cheap: reads counts that the worker makes';
COMMENT ON COLUMN @extschema@.networks_by_day.day IS 'day of the events'' own times, UTC';
COMMENT ON COLUMN @extschema@.networks_by_day.asn_number IS 'AS number, as ip_inventory had it when the day was counted; null: no source knew';
COMMENT ON COLUMN @extschema@.networks_by_day.asn_org IS 'present name of the AS';
COMMENT ON COLUMN @extschema@.networks_by_day.addresses IS 'distinct addresses observed in that time';
COMMENT ON COLUMN @extschema@.networks_by_day.observations IS 'observations of these addresses in that time';
CREATE OR REPLACE VIEW @extschema@.activity_by_day AS
SELECT (c.bucket AT TIME ZONE 'UTC')::date AS day, c.kind, nullif(c.value, '') AS value, c.addresses, c.observations
FROM @extschema@.ip_activity_count c WHERE c.by_day
ORDER BY c.bucket DESC, c.kind, c.observations DESC, c.value;
COMMENT ON VIEW @extschema@.activity_by_day IS 'addresses and observations of each day: in all, and by country, AS, flag and list; cheap: reads counts that the worker makes';
COMMENT ON COLUMN @extschema@.activity_by_day.day IS 'day of the events'' own times, UTC';
COMMENT ON COLUMN @extschema@.activity_by_day.kind IS 'all, country, asn, flag or list';
COMMENT ON COLUMN @extschema@.activity_by_day.value IS 'country, AS number, flag or list; null: unknown, or all';
COMMENT ON COLUMN @extschema@.activity_by_day.addresses IS 'distinct addresses observed in that time';
COMMENT ON COLUMN @extschema@.activity_by_day.observations IS 'observations of these addresses in that time';
CREATE OR REPLACE VIEW @extschema@.activity_by_hour AS
SELECT c.bucket AS hour, c.kind, nullif(c.value, '') AS value, c.addresses, c.observations
FROM @extschema@.ip_activity_count c WHERE NOT c.by_day
ORDER BY c.bucket DESC, c.kind, c.observations DESC, c.value;
COMMENT ON VIEW @extschema@.activity_by_hour IS 'the same of each hour, as long as asn_inventory.activity_hours keeps hours';
COMMENT ON COLUMN @extschema@.activity_by_hour.hour IS 'beginning of the hour of the events'' own times';
COMMENT ON COLUMN @extschema@.activity_by_hour.kind IS 'all, country, asn, flag or list';
COMMENT ON COLUMN @extschema@.activity_by_hour.value IS 'country, AS number, flag or list; null: unknown, or all';
COMMENT ON COLUMN @extschema@.activity_by_hour.addresses IS 'distinct addresses observed in that time';
COMMENT ON COLUMN @extschema@.activity_by_hour.observations IS 'observations of these addresses in that time';
CREATE OR REPLACE FUNCTION @extschema@.top_networks(since timestamptz, until timestamptz DEFAULT NULL)
    RETURNS TABLE (asn_number bigint, asn_org text, observations bigint, share_percent numeric, most_addresses_a_day bigint, days bigint,
                   first_day date, last_day date)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    -- Here, and not on the nodes of a cluster, whose zone may be another.
    from_day timestamptz := (CASE WHEN $1 = date_trunc('day', $1) THEN $1::date ELSE ($1 AT TIME ZONE 'UTC')::date END)::timestamp AT TIME ZONE 'UTC';
    to_day timestamptz := (CASE WHEN $2 = date_trunc('day', $2) THEN $2::date ELSE ($2 AT TIME ZONE 'UTC')::date END)::timestamp AT TIME ZONE 'UTC';
BEGIN
    RETURN QUERY
        SELECT n.asn_number, a.asn_org, n.observations, round(100.0 * n.observations / nullif(sum(n.observations) OVER (), 0), 2), n.most, n.days, n.first, n.last
        FROM (SELECT nullif(c.value, '')::bigint AS asn_number, least(sum(c.observations), 9223372036854775807)::bigint AS observations,
                     max(c.addresses) AS most, count(*) AS days, min((c.bucket AT TIME ZONE 'UTC')::date) AS first, max((c.bucket AT TIME ZONE 'UTC')::date) AS last
              FROM @extschema@.ip_activity_count c
              -- As in the view, what belongs to no network is left out, of the total too.
              WHERE c.by_day AND c.kind = 'asn' AND c.value <> '' AND c.bucket >= from_day AND (to_day IS NULL OR c.bucket <= to_day)
              GROUP BY c.value) n
        LEFT JOIN @extschema@.asn_inventory a ON a.asn_number = n.asn_number
        ORDER BY n.observations DESC, n.asn_number;
END $$;
COMMENT ON FUNCTION @extschema@.top_networks(timestamptz, timestamptz) IS 'autonomous systems by observations in days of the events'' own times (UTC), from the day of one time to that of another, both included (without until, up to the latest), most first: share of the observations of all networks, most distinct addresses on one day, number of days, first and last of them. A date is that day, any other time the day in UTC in which it lies';
CREATE OR REPLACE FUNCTION @extschema@.ip_last(network cidr) RETURNS inet
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    BEGIN ATOMIC
        SELECT set_masklen(broadcast(network), CASE family(network) WHEN 4 THEN 32 ELSE 128 END);
    END;
COMMENT ON FUNCTION @extschema@.ip_last(cidr) IS 'the last host address of a network, for joins by index: i.ip_address >= n.network AND i.ip_address <= ip_last(n.network)';
CREATE OR REPLACE FUNCTION @extschema@.ip_addresses_in(networks cidr[]) RETURNS SETOF @extschema@.ip_inventory
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
    BEGIN ATOMIC
        SELECT s.found
        FROM (SELECT o.network, o.last
              FROM (SELECT k.network, @extschema@.ip_last(k.network) AS last,
                           max(@extschema@.ip_last(k.network)) OVER (ORDER BY k.network ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                    FROM (SELECT DISTINCT CASE WHEN n <<= inet '::ffff:0.0.0.0/96' AND coalesce(current_setting('asn_inventory.fold_ipv4_mapped', true), '') !~* '^(off?|no?|f(a(l(se?)?)?)?|0)$'
                                               THEN set_masklen(inet '0.0.0.0' + (host(n)::inet - inet '::ffff:0.0.0.0'), masklen(n) - 96)::cidr ELSE n END AS network
                          FROM unnest(networks) n WHERE n IS NOT NULL) k) o
              WHERE o.before IS NULL OR o.last > o.before) r
        -- Planned by itself, for one range: as a join, the planner would expect a ninth of the inventory in each.
        CROSS JOIN LATERAL (SELECT i AS found FROM @extschema@.ip_inventory i
                            WHERE i.ip_address >= r.network AND i.ip_address <= r.last OFFSET 0) s;
    END;
COMMENT ON FUNCTION @extschema@.ip_addresses_in(cidr[]) IS 'the rows of ip_inventory in networks, by index, each once';
CREATE OR REPLACE FUNCTION @extschema@.ip_network_at(ip inet, at timestamptz) RETURNS TABLE (asn_number bigint, asn_org text, country_code text)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    BEGIN ATOMIC
        SELECT s.asn, coalesce(h.old_org, CASE WHEN s.asn = i.asn_number THEN i.asn_org ELSE a.asn_org END),
               CASE WHEN h.kept OR h.is_of_country THEN h.old_country_code WHEN s.asn = i.asn_number THEN i.country_code ELSE a.country_code END
        -- Without a time there is no answer: a comparison with null would let that of today stand for it.
        FROM (SELECT CASE WHEN at IS NULL THEN NULL
                          WHEN host(ip)::inet <<= inet '::ffff:0.0.0.0/96' AND coalesce(current_setting('asn_inventory.fold_ipv4_mapped', true), '') !~* '^(off?|no?|f(a(l(se?)?)?)?|0)$'
                          THEN inet '0.0.0.0' + (host(ip)::inet - inet '::ffff:0.0.0.0') ELSE host(ip)::inet END AS address) k
        LEFT JOIN @extschema@.ip_inventory i ON i.ip_address = k.address
        LEFT JOIN LATERAL (SELECT c.old_asn, c.old_org, c.old_country_code,
                                  num_nonnulls(c.old_org, c.old_country_code, c.new_country_code) > 0 AS kept,
                                  c.old_asn IS NOT DISTINCT FROM c.new_asn AS is_of_country, true AS is_there FROM @extschema@.ip_asn_history c
                           WHERE c.ip_address = k.address AND c.changed_at > at ORDER BY c.changed_at LIMIT 1) h ON true
        -- Until that change there may have been none.
        CROSS JOIN LATERAL (SELECT CASE WHEN h.is_there THEN h.old_asn ELSE i.asn_number END AS asn) s
        LEFT JOIN @extschema@.asn_inventory a ON a.asn_number = s.asn;
    END;
COMMENT ON FUNCTION @extschema@.ip_network_at(inet, timestamptz) IS 'the AS that was stored for an address at a time, with the organization and the country that were stored with it. Where those were not kept (before version 0.3.0): those of the address where the AS is still its own, else those of the AS. For joins: FROM events e, ip_network_at(e.ip, e.at)';
CREATE OR REPLACE VIEW @extschema@.known_scanners AS
SELECT i.ip_address, nullif(i.scanner_name, 'unknown') AS scanner_name, coalesce(i.scanner_classification, 'unknown') AS classification,
       i.scanner_last_seen, i.scanner_ts AS asked_at, i.asn_number, i.asn_org, i.country_code,
       i.observation_count AS observations, i.first_seen_at, i.last_seen_at
FROM @extschema@.ip_inventory i
WHERE i.scanner_ts IS NOT NULL AND i.scanner_noise AND i.scanner_classification IS DISTINCT FROM 'benign'
ORDER BY i.observation_count DESC, i.ip_address;
COMMENT ON VIEW @extschema@.known_scanners IS 'addresses that GreyNoise has seen scanning, malicious or unknown, most observed first; reads every row that GreyNoise answered';
COMMENT ON COLUMN @extschema@.known_scanners.ip_address IS 'the address';
COMMENT ON COLUMN @extschema@.known_scanners.scanner_name IS 'name of the scanner, where GreyNoise has one';
COMMENT ON COLUMN @extschema@.known_scanners.classification IS 'malicious or unknown';
COMMENT ON COLUMN @extschema@.known_scanners.scanner_last_seen IS 'when GreyNoise last saw it';
COMMENT ON COLUMN @extschema@.known_scanners.asked_at IS 'when GreyNoise gave this answer';
COMMENT ON COLUMN @extschema@.known_scanners.asn_number IS 'origin AS';
COMMENT ON COLUMN @extschema@.known_scanners.asn_org IS 'organization of the origin AS';
COMMENT ON COLUMN @extschema@.known_scanners.country_code IS 'ISO 3166-1 alpha-2';
COMMENT ON COLUMN @extschema@.known_scanners.observations IS 'how often it was observed here';
COMMENT ON COLUMN @extschema@.known_scanners.first_seen_at IS 'earliest observation here';
COMMENT ON COLUMN @extschema@.known_scanners.last_seen_at IS 'latest observation here';
CREATE OR REPLACE VIEW @extschema@.benign_services AS
SELECT i.ip_address, i.scanner_name AS service_name, i.scanner_classification AS classification,
       i.scanner_noise AS scans, i.scanner_riot AS business_service, i.scanner_last_seen, i.scanner_ts AS asked_at,
       i.asn_number, i.asn_org, i.country_code, i.observation_count AS observations, i.first_seen_at, i.last_seen_at
FROM @extschema@.ip_inventory i
WHERE i.scanner_ts IS NOT NULL AND (i.scanner_riot OR i.scanner_classification = 'benign')
ORDER BY i.observation_count DESC, i.ip_address;
COMMENT ON VIEW @extschema@.benign_services IS 'addresses of common business services (RIOT) and benign scanners, by GreyNoise, most observed first; reads every row that GreyNoise answered';
COMMENT ON COLUMN @extschema@.benign_services.ip_address IS 'the address';
COMMENT ON COLUMN @extschema@.benign_services.service_name IS 'name of the service or scanner';
COMMENT ON COLUMN @extschema@.benign_services.classification IS 'benign, malicious or unknown: a business service may be any';
COMMENT ON COLUMN @extschema@.benign_services.scans IS 'seen scanning the internet';
COMMENT ON COLUMN @extschema@.benign_services.business_service IS 'belongs to a common business service (RIOT)';
COMMENT ON COLUMN @extschema@.benign_services.scanner_last_seen IS 'when GreyNoise last saw it';
COMMENT ON COLUMN @extschema@.benign_services.asked_at IS 'when GreyNoise gave this answer';
COMMENT ON COLUMN @extschema@.benign_services.asn_number IS 'origin AS';
COMMENT ON COLUMN @extschema@.benign_services.asn_org IS 'organization of the origin AS';
COMMENT ON COLUMN @extschema@.benign_services.country_code IS 'ISO 3166-1 alpha-2';
COMMENT ON COLUMN @extschema@.benign_services.observations IS 'how often it was observed here';
COMMENT ON COLUMN @extschema@.benign_services.first_seen_at IS 'earliest observation here';
COMMENT ON COLUMN @extschema@.benign_services.last_seen_at IS 'latest observation here';
CREATE OR REPLACE VIEW @extschema@.scanner_networks AS
SELECT s.asn_number, a.asn_org, s.asked, s.scanners, s.malicious, s.benign, a.ip_count AS addresses
FROM (SELECT i.asn_number, count(*) AS asked, count(*) FILTER (WHERE i.scanner_noise) AS scanners,
             count(*) FILTER (WHERE i.scanner_noise AND i.scanner_classification = 'malicious') AS malicious,
             count(*) FILTER (WHERE i.scanner_riot OR i.scanner_classification = 'benign') AS benign
      FROM @extschema@.ip_inventory i WHERE i.scanner_ts IS NOT NULL AND i.asn_number IS NOT NULL GROUP BY 1) s
LEFT JOIN @extschema@.asn_inventory a ON a.asn_number = s.asn_number
WHERE s.scanners > 0
ORDER BY s.scanners DESC, s.asn_number;
COMMENT ON VIEW @extschema@.scanner_networks IS 'autonomous systems by known scanners, most first; reads every row that GreyNoise answered';
COMMENT ON COLUMN @extschema@.scanner_networks.asn_number IS 'AS number';
COMMENT ON COLUMN @extschema@.scanner_networks.asn_org IS 'name of the AS';
COMMENT ON COLUMN @extschema@.scanner_networks.asked IS 'addresses of this AS that GreyNoise answered';
COMMENT ON COLUMN @extschema@.scanner_networks.scanners IS 'addresses seen scanning the internet';
COMMENT ON COLUMN @extschema@.scanner_networks.malicious IS 'malicious ones of the scanners';
COMMENT ON COLUMN @extschema@.scanner_networks.benign IS 'business services and benign scanners';
COMMENT ON COLUMN @extschema@.scanner_networks.addresses IS 'all addresses of this AS in ip_inventory';
CREATE OR REPLACE FUNCTION @extschema@.ip_story(ip inet) RETURNS TABLE (at timestamptz, event text, source text, detail text)
    LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    -- Fetched one by one, by values: where Citus distributes these tables it takes no larger query.
    -- The address under which an IPv4-mapped one is kept.
    asked_about inet := CASE WHEN host($1)::inet <<= inet '::ffff:0.0.0.0/96' AND coalesce(current_setting('asn_inventory.fold_ipv4_mapped', true), '') !~* '^(off?|no?|f(a(l(se?)?)?)?|0)$'
        THEN inet '0.0.0.0' + (host($1)::inet - inet '::ffff:0.0.0.0') ELSE host($1)::inet END;
    entries @extschema@.ip_inventory[] := ARRAY(SELECT i FROM @extschema@.ip_inventory i WHERE i.ip_address = asked_about);
    changes @extschema@.ip_asn_history[] := ARRAY(SELECT h FROM @extschema@.ip_asn_history h WHERE h.ip_address = asked_about);
    prefixes @extschema@.cymru_prefix[] := ARRAY(
        -- The narrowest network that Team Cymru answered for.
        SELECT p FROM @extschema@.cymru_prefix p WHERE p.prefix >>= asked_about ORDER BY masklen(p.prefix) DESC LIMIT 1);
    seen @extschema@.ip_sighting[];
    places @extschema@.ip_sighting_source[];
    offline_asn bigint := (SELECT l.asn_number FROM @extschema@.lookup_ip(asked_about) l);
    networks @extschema@.asn_inventory[] := ARRAY(
        SELECT n FROM @extschema@.asn_inventory n
        WHERE n.asn_number = ANY (ARRAY(SELECT asn_number FROM unnest(entries) UNION SELECT old_asn FROM unnest(changes)
                                        UNION SELECT new_asn FROM unnest(changes) UNION SELECT offline_asn
                                        UNION SELECT origins[1] FROM unnest(prefixes))));
BEGIN
    -- A role may have been given the inventory before there were sightings.
    IF has_table_privilege('@extschema@.ip_sighting', 'SELECT') AND has_table_privilege('@extschema@.ip_sighting_source', 'SELECT') THEN
        -- As a text: Citus would hand over every variable.
        EXECUTE 'SELECT ARRAY(SELECT s FROM @extschema@.ip_sighting s WHERE s.ip_address = $1
                              ORDER BY s.observation_count DESC, s.source_id LIMIT 20)' INTO seen USING asked_about;
        places := ARRAY(SELECT l FROM @extschema@.ip_sighting_source l WHERE l.id IN (SELECT source_id FROM unnest(seen)));
    END IF;
    RETURN QUERY
        WITH asked AS MATERIALIZED (SELECT asked_about AS ip),
        entry AS MATERIALIZED (SELECT * FROM unnest(entries)),
        change AS MATERIALIZED (SELECT * FROM unnest(changes)),
        offline AS MATERIALIZED (SELECT l.* FROM asked a, @extschema@.lookup_ip(a.ip) l WHERE NOT EXISTS (SELECT FROM entry)),
        prefix AS MATERIALIZED (SELECT * FROM unnest(prefixes)),
        known_network AS MATERIALIZED (SELECT * FROM unnest(networks)),
        story (at, step, event, source, detail) AS (
            SELECT first_seen_at, 1, CASE WHEN observation_count > 0 THEN 'first seen' ELSE 'asked about' END, NULL,
                   CASE WHEN observation_count = 0 THEN 'never observed' WHEN observation_count = 1 THEN 'observed once' END
            FROM entry
            UNION ALL
            SELECT last_seen_at, 9, 'last seen', NULL, 'observed ' || observation_count || ' times'
            FROM entry WHERE observation_count > 1
            UNION ALL
            -- The 20 that saw it most, where there is more than one, or a sensor.
            SELECT s.first_seen_at, 1, 'seen by', NULL,
                   concat_ws(', ', coalesce((SELECT t.oid::regclass::text FROM pg_class t WHERE t.oid = l.tbl), l.name), 'sensor ' || nullif(l.sensor, ''),
                             CASE s.observation_count WHEN 1 THEN 'once' ELSE s.observation_count || ' times, last '
                                 || to_char(s.last_seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') END)
            FROM unnest(seen) s JOIN unnest(places) l ON l.id = s.source_id
            WHERE cardinality(seen) > 1 OR l.sensor <> ''
            UNION ALL
            -- Dated by the first observation: when the first answer came is not kept.
            (SELECT least(e.first_seen_at, c.changed_at), 2, 'network then', c.old_source,
                    coalesce(nullif(concat_ws(' ', 'AS' || c.old_asn, n.asn_org), ''), 'none: no source knew it any more')
             FROM change c LEFT JOIN entry e ON true LEFT JOIN known_network n ON n.asn_number = c.old_asn
             WHERE c.old_asn IS DISTINCT FROM c.new_asn
             ORDER BY c.changed_at LIMIT 1)
            UNION ALL
            SELECT c.changed_at, 3, 'network changed', c.new_source,
                   concat_ws(' ', coalesce('from AS' || c.old_asn, 'from none'), o.asn_org,
                             coalesce('to AS' || c.new_asn, 'to none: no source knows it any more'), n.asn_org)
            FROM change c LEFT JOIN known_network o ON o.asn_number = c.old_asn
            LEFT JOIN known_network n ON n.asn_number = c.new_asn
            WHERE c.old_asn IS DISTINCT FROM c.new_asn
            UNION ALL
            SELECT c.changed_at, 3, 'country changed', NULL,
                   concat('from ', c.old_country_code, coalesce(' to ' || c.new_country_code, ' to none: no source knows it any more'))
            FROM change c WHERE c.old_country_code <> coalesce(c.new_country_code, '')
            UNION ALL
            SELECT p.answered_at, 4, 'announced', 'cymru',
                   CASE WHEN p.announced IS NULL THEN concat('no route for ', p.prefix)
                        ELSE concat_ws(', ', concat(p.announced, ' by AS', array_to_string(p.origins, ' and AS')),
                                       p.country_code, p.registry, 'allocated ' || to_char(p.allocated, 'YYYY-MM-DD')) END
                   || ', valid until ' || to_char(p.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')
            FROM prefix p
            UNION ALL
            SELECT maxmind_ts, 5, replace(maxmind_status, '_', ' '), 'maxmind', nullif(concat_ws(', ',
                       CASE WHEN asn_source = 'maxmind' THEN concat_ws(' ', 'AS' || asn_number, asn_org) END,
                       CASE WHEN country_source = 'maxmind' THEN concat_ws(', ', country_code, region, city) END,
                       CASE WHEN asn_source IS DISTINCT FROM 'cymru' THEN network END), '')
            FROM entry WHERE maxmind_status IN ('found', 'not_found')
            UNION ALL
            SELECT cymru_ts, 6, replace(cymru_status, '_', ' '), 'cymru',
                   CASE WHEN cymru_status = 'not_found' THEN 'no route'
                        WHEN asn_source = 'cymru'
                        THEN concat_ws(', ', concat_ws(' ', 'AS' || asn_number, asn_org), network,
                                       CASE WHEN country_source = 'cymru' THEN country_code || ' (registration)' END) END
            FROM entry WHERE cymru_status IN ('found', 'not_found')
            UNION ALL
            SELECT scanner_last_seen, 7, 'seen scanning', 'greynoise',
                   concat_ws(', ', scanner_classification, nullif(scanner_name, 'unknown'))
            FROM entry WHERE scanner_noise AND scanner_last_seen IS NOT NULL
            UNION ALL
            SELECT scanner_ts, 8, replace(greynoise_status, '_', ' '), 'greynoise', CASE
                       WHEN greynoise_status = 'not_found' THEN 'neither a scanner nor a business service'
                       ELSE concat_ws(', ', CASE WHEN scanner_noise THEN 'scans the internet' END,
                                      CASE WHEN scanner_riot THEN 'common business service' END,
                                      scanner_classification, nullif(scanner_name, 'unknown')) END
            FROM entry WHERE greynoise_status IN ('found', 'not_found')
            UNION ALL
            -- Without an answer, or with an old one that could not be renewed. Retry times lie ahead.
            SELECT s.retry_at, 10, CASE WHEN s.retry_at IS NULL THEN replace(s.status, '_', ' ') ELSE 'asked again' END,
                   s.source, CASE WHEN s.retry_at IS NOT NULL
                       THEN concat_ws(', ', nullif(s.attempts, 0) || ' failed', s.detail)
                       ELSE coalesce(s.detail, CASE WHEN s.status = 'pending' THEN 'not asked yet'
                                WHEN s.status = 'unavailable' THEN 'no mmdb file was installed'
                                WHEN s.class <> 'public' THEN 'nobody is asked about such addresses'
                                WHEN s.source = 'cymru' AND s.asn_source = 'maxmind' THEN 'MaxMind knows the ASN' END) END
            FROM (SELECT ip_class AS class, asn_source, 'maxmind'::text AS source, maxmind_status AS status,
                         NULL::timestamptz AS retry_at, 0 AS attempts, NULL::text AS detail FROM entry
                  UNION ALL
                  SELECT ip_class, asn_source, 'cymru', cymru_status, cymru_retry_at, cymru_attempts, cymru_detail
                  FROM entry
                  UNION ALL
                  SELECT ip_class, asn_source, 'greynoise', greynoise_status, greynoise_retry_at,
                         greynoise_attempts, greynoise_detail FROM entry) s
            WHERE s.retry_at IS NOT NULL OR s.status NOT IN ('found', 'not_found')
            UNION ALL
            SELECT NULL, 11, 'unknown', NULL, 'not in ip_inventory; this is what can be said offline' FROM offline
            UNION ALL
            SELECT NULL, 12, 'class', NULL, @extschema@.ip_class(a.ip) FROM asked a
            UNION ALL
            -- Now, not when the row was written.
            SELECT NULL, 12, 'in lists', NULL, array_to_string(@extschema@.ip_lists(a.ip), ', ') FROM asked a
            WHERE @extschema@.ip_lists(a.ip) <> '{}'
            UNION ALL
            SELECT NULL, 13, replace(maxmind_status, '_', ' '), 'maxmind', nullif(concat_ws(', ',
                       'AS' || asn_number || coalesce(' ' || asn_org, ''), country_code, region, city, network), '')
            FROM offline
            UNION ALL
            SELECT NULL, 14, 'network', NULL,
                   concat_ws(' ', 'AS' || n.asn_number, n.asn_org) || '; all its addresses here, as counted '
                   || coalesce('at ' || to_char(n.counted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), 'last')
                   || ': ' || n.ip_count || ', observed ' || n.observation_count || ' times together'
            FROM known_network n
            WHERE n.asn_number = coalesce((SELECT asn_number FROM entry), (SELECT asn_number FROM offline),
                                          CASE WHEN EXISTS (SELECT FROM offline) THEN (SELECT origins[1] FROM prefix) END))
        SELECT s.at, s.event, s.source, s.detail FROM story s ORDER BY s.at NULLS LAST, s.step, s.source;
END $$;
COMMENT ON FUNCTION @extschema@.ip_story(inet) IS 'history of an address in the order of time, then its present state; reads by index, asks no source. "last seen" shows observation_count of its row, "network" the counts of all addresses of its AS when the worker last counted them';
CREATE OR REPLACE FUNCTION @extschema@.enrichment_doctor(OUT check_name text, OUT level text, OUT detail text, OUT remedy text) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 40 SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'enrichment_doctor';
COMMENT ON FUNCTION @extschema@.enrichment_doctor() IS 'checks of the set-up, one row per check: ok, warning or error, the reason, and the command that corrects it';
CREATE OR REPLACE FUNCTION @extschema@.prometheus_metrics() RETURNS text
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp SET jit = off
    AS 'MODULE_PATHNAME', 'prometheus_metrics';
COMMENT ON FUNCTION @extschema@.prometheus_metrics()
    IS 'metrics in Prometheus''s text exposition format: psql -Atc ''SELECT prometheus_metrics()''';
CREATE OR REPLACE FUNCTION @extschema@.asn_inventory_distribute() RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'asn_inventory_distribute';
COMMENT ON FUNCTION @extschema@.asn_inventory_distribute() IS 'on the coordinator of a Citus cluster: makes one inventory of all nodes; what each node had is merged by its worker. Repeating it does no harm';
CREATE OR REPLACE FUNCTION @extschema@.asn_inventory_undistribute() RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'asn_inventory_undistribute';
COMMENT ON FUNCTION @extschema@.asn_inventory_undistribute() IS 'takes the inventory of the cluster back to the coordinator, with all rows';
CREATE OR REPLACE FUNCTION @extschema@._backfill_here(batch_size integer, commit_interval integer, workers integer, wait boolean) RETURNS @extschema@.enrichment_summary
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'backfill_here';
COMMENT ON FUNCTION @extschema@._backfill_here(integer, integer, integer, boolean) IS 'the part of backfill_inventory() that a node of a cluster does';
CREATE OR REPLACE FUNCTION @extschema@._note_source(tbl text, ip_columns text[], observed_at text, observed_path text, observed_zone text, only_where text, sensor text, method text) RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'note_source';
COMMENT ON FUNCTION @extschema@._note_source(text, text[], text, text, text, text, text, text) IS 'what attach_ip_source() and detach_ip_source() have the workers of a cluster note of a distributed table; ip_columns null: it was detached';
CREATE OR REPLACE FUNCTION @extschema@._every_node(
    what text, OUT node text, OUT is_coordinator boolean, OUT is_here boolean, OUT answer jsonb, OUT failure text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT ROWS 4 SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'every_node';
COMMENT ON FUNCTION @extschema@._every_node(text) IS 'asks every node of a Citus cluster for the rows of one of its views, with the caller''s rights there; for the cluster_ views';
CREATE OR REPLACE VIEW @extschema@.cluster_status AS
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
CREATE OR REPLACE VIEW @extschema@.cluster_source_status AS
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
CREATE OR REPLACE VIEW @extschema@.cluster_progress AS
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
CREATE OR REPLACE VIEW @extschema@.cluster_run AS
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
CREATE OR REPLACE VIEW @extschema@.cluster_ip_source AS
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
REVOKE ALL ON FUNCTION @extschema@.ip_observer(internal) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.note_new_observer() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._note_source(text, text[], text, text, text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._update_sources() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._quota_ledger() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.top_networks(timestamptz, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.ip_last(cidr) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.ip_addresses_in(cidr[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.ip_network_at(inet, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.network_lists() FROM PUBLIC;
CREATE OR REPLACE FUNCTION @extschema@._announce_extension() RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'announce_extension';
COMMENT ON FUNCTION @extschema@._announce_extension() IS 'wakes the launcher when the transaction commits';
CREATE OR REPLACE FUNCTION @extschema@._secure_extension(made text[], for_readers text[]) RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'secure_extension';
COMMENT ON FUNCTION @extschema@._secure_extension(text[], text[]) IS 'for the extension''s scripts: refuses dependencies on objects outside the extension, revokes rights from default privileges, and grants new functions to the roles whose views and functions call them';
SELECT @extschema@._secure_extension('{_is_replicated,_note_source,_quota_ledger,_update_sources,activity_by_day,activity_by_hour,countries_by_day,ip_activity,ip_activity_count,ip_addresses_in,ip_extract,ip_extract_array,ip_last,ip_lists,ip_network_at,ip_observer,ip_parse,ip_sensors,ip_sighting,ip_sighting_source,ip_sightings,network_lists,networks_by_day,note_new_observer,top_lists,top_networks()}', '{network_lists,_update_sources,_quota_ledger,_note_source}');
SELECT @extschema@._announce_extension();
