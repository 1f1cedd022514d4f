\echo Use "CREATE EXTENSION asn_inventory" to load this file. \quit

-- Everything known of one address. Statuses: pending (not asked yet, or due again), found, not_found, skipped
-- (special-purpose, switched off, or another source answered), failed (no answer, tried again), quota (GreyNoise's is
-- spent), unavailable (nothing installed that could answer); null where a source was outside the question.
CREATE TYPE ip_enrichment AS (
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
    scanner_ts             timestamptz
);
COMMENT ON TYPE ip_enrichment IS 'everything known of one address: network, place, scanner, and how each source stands';

CREATE TYPE enrichment_summary AS (
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
COMMENT ON TYPE enrichment_summary IS 'what a job did: addresses looked at, answered from each source, not known, passed over, failed';
