\echo Use "CREATE EXTENSION @extschema@.asn_inventory" to load this file. \quit

-- Nothing in this script is looked up in a schema that others may write to: an overload that another role put there
-- would fit better than the system's own function, and run with the rights of a reader of a view. The extension's own
-- objects are named by their schema.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Everything known of one address. Statuses: pending (not asked yet, or due again), found, not_found, skipped
-- (special-purpose, switched off, or another source answered), failed (no answer, tried again), quota (GreyNoise's is
-- spent), unavailable (nothing installed that could answer); null where a source was outside the question.
CREATE TYPE @extschema@.ip_enrichment AS (
    ip                     inet,
    ip_class               text,
    network                cidr,
    asn_number             bigint,
    asn_org                text,
    asn_source             text,
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
    maxmind_status         text,
    cymru_status           text,
    greynoise_status       text,
    enrichment_ts          timestamptz,
    scanner_ts             timestamptz,
    registered_country_code text,
    flags                  text[],
    connection_type        text,
    lists                  text[]
);
COMMENT ON TYPE @extschema@.ip_enrichment IS 'all data of one address: network, place, scanner, and the state of each source';

CREATE TYPE @extschema@.enrichment_summary AS (
    job_id             bigint,
    processed          bigint,
    enriched           bigint,
    cache_hits         bigint,
    maxmind_asn        bigint,
    cymru_asn          bigint,
    greynoise_scanners bigint,
    not_found          bigint,
    skipped            bigint,
    errors             bigint,
    elapsed            interval,
    ips_per_second     double precision
);
COMMENT ON TYPE @extschema@.enrichment_summary IS 'result of a job: addresses looked at, answered by each source, not found, skipped, failed';
