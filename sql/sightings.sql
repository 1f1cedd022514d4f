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

-- As in ip_inventory, no index may stand on what changes with every observation.
CREATE TABLE @extschema@.ip_sighting (
    ip_address        inet NOT NULL,
    source_id         integer NOT NULL,
    first_seen_at     timestamptz NOT NULL,
    last_seen_at      timestamptz NOT NULL,
    observation_count bigint NOT NULL,
    PRIMARY KEY (ip_address, source_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
COMMENT ON TABLE @extschema@.ip_sighting IS 'how often each attached table, and each sensor of it, observed an address; view ip_sightings shows it with names';
COMMENT ON COLUMN @extschema@.ip_sighting.ip_address IS 'the address, as in ip_inventory';
COMMENT ON COLUMN @extschema@.ip_sighting.source_id IS 'number in ip_sighting_source';
COMMENT ON COLUMN @extschema@.ip_sighting.first_seen_at IS 'earliest observation there';
COMMENT ON COLUMN @extschema@.ip_sighting.last_seen_at IS 'latest observation there';
COMMENT ON COLUMN @extschema@.ip_sighting.observation_count IS 'how often it was observed there';

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
COMMENT ON TABLE @extschema@.ip_activity IS 'which addresses each place of ip_sighting_source observed in which hour, or day, of the events'' own times; counted into ip_activity_count';
COMMENT ON COLUMN @extschema@.ip_activity.bucket IS 'beginning of the hour or day, UTC';
COMMENT ON COLUMN @extschema@.ip_activity.by_day IS 'true: a day, of whose hours nothing is kept any more';
COMMENT ON COLUMN @extschema@.ip_activity.source_id IS 'number in ip_sighting_source; below 1: a row without addresses, which says that the hour or day is to be counted again';
COMMENT ON COLUMN @extschema@.ip_activity.addresses IS 'number of addresses in this row';
COMMENT ON COLUMN @extschema@.ip_activity.packed IS 'the addresses with their counts: see unpack_observations()';
COMMENT ON COLUMN @extschema@.ip_activity.counted IS 'false: not in ip_activity_count yet';
COMMENT ON INDEX @extschema@.ip_activity_bucket IS 'the addresses of an hour or a day';
COMMENT ON INDEX @extschema@.ip_activity_uncounted IS 'hours that are to be counted';

CREATE TABLE @extschema@.ip_activity_count (
    by_day       boolean NOT NULL,
    kind         text NOT NULL,
    bucket       timestamptz NOT NULL,
    value        text NOT NULL,
    addresses    bigint NOT NULL,
    observations bigint NOT NULL,
    PRIMARY KEY (by_day, kind, bucket, value)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE @extschema@.ip_activity_count IS 'distinct addresses and observations by hour and by day (UTC), of the events'' own times: in all, and by country, AS, flag and list, as ip_inventory had them when the worker last counted that time';
COMMENT ON COLUMN @extschema@.ip_activity_count.by_day IS 'true: a day, false: an hour';
COMMENT ON COLUMN @extschema@.ip_activity_count.kind IS 'all, country, asn, flag or list';
COMMENT ON COLUMN @extschema@.ip_activity_count.bucket IS 'beginning of the hour or day, UTC';
COMMENT ON COLUMN @extschema@.ip_activity_count.value IS 'country, number of the AS, flag or list; empty: unknown, or all';
COMMENT ON COLUMN @extschema@.ip_activity_count.addresses IS 'distinct addresses observed in that time';
COMMENT ON COLUMN @extschema@.ip_activity_count.observations IS 'observations of these addresses in that time';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.ip_activity', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.ip_activity_count', '');
