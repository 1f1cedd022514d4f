-- One row an address. Counts and last_seen_at change with every observation: no index may stand on them, so that
-- those updates stay HOT.
CREATE TABLE @extschema@.ip_inventory (
    ip_address             inet PRIMARY KEY
        CONSTRAINT ip_inventory_host_address
        CHECK (masklen(ip_address) = CASE family(ip_address) WHEN 4 THEN 32 ELSE 128 END),
    first_seen_at          timestamptz NOT NULL DEFAULT now(),
    last_seen_at           timestamptz NOT NULL DEFAULT now(),
    observation_count      bigint NOT NULL DEFAULT 1,
    asn_number             bigint,
    asn_org                text,
    asn_source             text,
    enrichment_ts          timestamptz,
    scanner_ts             timestamptz,
    ip_class               text,
    network                cidr,
    country_code           text,
    country_source         text,
    region                 text,
    city                   text,
    latitude               double precision,
    longitude              double precision,
    accuracy_radius_km     integer,
    time_zone              text,
    scanner_noise          boolean,
    scanner_riot           boolean,
    scanner_classification text,
    scanner_name           text,
    scanner_last_seen      timestamptz,
    maxmind_status         text NOT NULL DEFAULT 'pending',
    maxmind_ts             timestamptz,
    cymru_status           text NOT NULL DEFAULT 'pending',
    cymru_ts               timestamptz,
    cymru_attempts         integer NOT NULL DEFAULT 0,
    cymru_retry_at         timestamptz,
    cymru_detail           text,
    greynoise_status       text NOT NULL DEFAULT 'pending',
    greynoise_attempts     integer NOT NULL DEFAULT 0,
    greynoise_retry_at     timestamptz,
    greynoise_detail       text,
    registered_country_code text,
    flags                  text[],
    connection_type        text,
    lists                  text[]
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- The addresses that the worker asks the network about next. Rows without a due source are in neither.
CREATE INDEX ip_inventory_cymru_due ON @extschema@.ip_inventory (ip_address) WHERE cymru_status IN ('pending', 'failed');
CREATE INDEX ip_inventory_greynoise_due ON @extschema@.ip_inventory (ip_address) WHERE greynoise_status IN ('pending', 'failed', 'quota');
-- Stale rows, by each source's own time.
CREATE INDEX ip_inventory_cymru_ts ON @extschema@.ip_inventory (cymru_ts) WHERE cymru_ts IS NOT NULL;
CREATE INDEX ip_inventory_scanner_ts ON @extschema@.ip_inventory (scanner_ts) WHERE scanner_ts IS NOT NULL;

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

-- Loaders append rows here, and the worker absorbs them. No index, no constraint, no trigger: appending must not wait or
-- conflict, and is done below SQL.
CREATE TABLE @extschema@.ip_observation (
    address    inet,
    seen       bigint NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    source     regclass,
    attempts   integer NOT NULL DEFAULT 0,
    retry_at   timestamptz,
    addresses  integer NOT NULL DEFAULT 1,
    packed     bytea,
    rows       bigint,
    sample     text,
    reason     text,
    sensor     text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000);
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

CREATE TABLE @extschema@.ip_source (
    tbl              regclass PRIMARY KEY,
    ip_columns       text[] NOT NULL,
    observed_at      name,
    attached_at      timestamptz NOT NULL DEFAULT now(),
    attached_by      name NOT NULL DEFAULT session_user,
    observations     bigint NOT NULL DEFAULT 0,
    unparsable       bigint NOT NULL DEFAULT 0,
    last_observed_at timestamptz,
    populated_at     timestamptz,
    attached_snapshot text,
    attached_on      text,
    unobserved       bigint NOT NULL DEFAULT 0,
    attached_as      text,
    observed_zone    text,
    rows_seen        bigint NOT NULL DEFAULT 0,
    rows_since_address bigint NOT NULL DEFAULT 0,
    unreadable_sample text,
    unreadable_reason text,
    unreadable_at    timestamptz,
    method           text NOT NULL DEFAULT 'trigger',
    columns_changed  boolean NOT NULL DEFAULT false,
    observed_path    text,
    only_where       text,
    sensor           text,
    rows_since_time  bigint NOT NULL DEFAULT 0
);
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

-- Tables that were put below an attached one with rows in them, which no trigger saw. Not dumped: a snapshot means nothing
-- elsewhere.
CREATE TABLE @extschema@.ip_source_part (
    tbl               regclass PRIMARY KEY,
    attached_at       timestamptz NOT NULL DEFAULT now(),
    attached_snapshot text,
    attached_on       text NOT NULL,
    populated_at      timestamptz,
    left_tbl          oid,
    ip_columns        text[],
    only_where        text
);
COMMENT ON TABLE @extschema@.ip_source_part IS 'partitions and children that had rows when they were put below an attached table; populate_ip_inventory counts these rows once';
COMMENT ON COLUMN @extschema@.ip_source_part.tbl IS 'the partition or child';
COMMENT ON COLUMN @extschema@.ip_source_part.attached_at IS 'when it was put below the attached table';
COMMENT ON COLUMN @extschema@.ip_source_part.attached_snapshot IS 'transaction and snapshot of that moment, which tell the earlier rows; null: some of them may have been observed before';
COMMENT ON COLUMN @extschema@.ip_source_part.attached_on IS 'server and database in which that snapshot is valid';
COMMENT ON COLUMN @extschema@.ip_source_part.populated_at IS 'when those rows were counted';
COMMENT ON COLUMN @extschema@.ip_source_part.left_tbl IS 'attached table that it has left; 0: several, or one that is detached';
COMMENT ON COLUMN @extschema@.ip_source_part.ip_columns IS 'columns and paths by which its rows were observed there; null: by different ones';
COMMENT ON COLUMN @extschema@.ip_source_part.only_where IS 'condition that they had to meet there';

CREATE TABLE @extschema@.enrichment_run (
    job_id             bigint PRIMARY KEY,
    kind               text NOT NULL,
    parameters         jsonb NOT NULL DEFAULT '{}',
    requested_by       name NOT NULL,
    started_at         timestamptz NOT NULL,
    ended_at           timestamptz NOT NULL,
    outcome            text NOT NULL,
    detail             text,
    processed          bigint NOT NULL,
    enriched           bigint NOT NULL,
    cache_hits         bigint NOT NULL,
    maxmind_asn        bigint NOT NULL,
    cymru_asn          bigint NOT NULL,
    greynoise_scanners bigint NOT NULL,
    not_found          bigint NOT NULL,
    skipped            bigint NOT NULL,
    errors             bigint NOT NULL
);
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
-- source_status shows how the last one went.
CREATE INDEX enrichment_run_update ON @extschema@.enrichment_run (job_id) WHERE kind = 'update';
COMMENT ON INDEX @extschema@.enrichment_run_update IS 'looks for newer MaxMind files, latest first';
CREATE SEQUENCE @extschema@.enrichment_job_id;
COMMENT ON SEQUENCE @extschema@.enrichment_job_id IS 'numbers of jobs';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.ip_inventory', '');
-- Rows that cannot be restored are not dumped: those of a temporary or dropped table.
SELECT pg_catalog.pg_extension_config_dump('@extschema@.ip_observation',
    'WHERE source IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = source AND c.relpersistence <> ''t'')');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.ip_source',
    'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = tbl AND c.relpersistence <> ''t'')');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.enrichment_run', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.enrichment_job_id', '');
