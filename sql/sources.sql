-- The network sources' data beside the addresses: networks, autonomous systems, the quota.
CREATE TABLE @extschema@.cymru_prefix (
    prefix       cidr PRIMARY KEY,
    announced    cidr,
    origins      bigint[] NOT NULL DEFAULT '{}',
    country_code text,
    registry     text,
    allocated    date,
    answered_at  timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX cymru_prefix_lookup ON @extschema@.cymru_prefix USING spgist (prefix);
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

CREATE TABLE @extschema@.asn_inventory (
    asn_number        bigint PRIMARY KEY CHECK (asn_number BETWEEN 1 AND 4294967295),
    asn_org           text,
    country_code      text,
    registry          text,
    allocated         date,
    first_seen_at     timestamptz,
    last_seen_at      timestamptz,
    ip_count          bigint NOT NULL DEFAULT 0,
    observation_count bigint NOT NULL DEFAULT 0,
    counted_at        timestamptz,
    details_ts        timestamptz,
    details_retry_at  timestamptz,
    known_since       timestamptz,
    flags             text[]
) WITH (fillfactor = 70);
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

CREATE TABLE @extschema@.ip_asn_history (
    ip_address inet NOT NULL,
    changed_at timestamptz NOT NULL,
    old_asn    bigint,
    old_source text,
    new_asn    bigint,
    new_source text,
    old_country_code text,
    old_org    text,
    new_country_code text
);
CREATE INDEX ip_asn_history_lookup ON @extschema@.ip_asn_history (ip_address, changed_at);
COMMENT ON INDEX @extschema@.ip_asn_history_lookup IS 'the changes of one address in order';
CREATE INDEX ip_asn_history_time ON @extschema@.ip_asn_history (changed_at);
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

CREATE FUNCTION @extschema@._record_asn_change() RETURNS trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'record_asn_change';
COMMENT ON FUNCTION @extschema@._record_asn_change() IS 'trigger of ip_inventory: writes ip_asn_history';
-- A first answer is no change. Of a row that was inserted bare (pending) the condition says so, and a backfill queues no event;
-- of others the function looks into the history. Absorbing names none of these columns, and fires nothing.
CREATE TRIGGER record_asn_change AFTER UPDATE OF asn_number, country_code ON @extschema@.ip_inventory FOR EACH ROW
    WHEN (OLD.asn_number IS DISTINCT FROM NEW.asn_number AND (OLD.asn_number IS NOT NULL OR OLD.maxmind_status <> 'pending')
        OR OLD.asn_number IS NOT NULL AND OLD.country_code IS NOT NULL AND OLD.country_code IS DISTINCT FROM NEW.country_code)
    EXECUTE FUNCTION @extschema@._record_asn_change();
-- The worker fires no trigger but those that are always on.
ALTER TABLE @extschema@.ip_inventory ENABLE ALWAYS TRIGGER record_asn_change;
COMMENT ON TRIGGER record_asn_change ON @extschema@.ip_inventory IS 'writes ip_asn_history';

CREATE FUNCTION @extschema@.ip_asn_at(ip inet, at timestamptz) RETURNS bigint
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

CREATE TABLE @extschema@.source_quota (
    source       text PRIMARY KEY,
    window_start timestamptz NOT NULL,
    used         bigint NOT NULL DEFAULT 0,
    closed_until timestamptz,
    account      text,
    spent_by     text
);
COMMENT ON TABLE @extschema@.source_quota IS 'how much of a source''s quota was spent in its present window';
COMMENT ON COLUMN @extschema@.source_quota.source IS 'name of the source: greynoise';
COMMENT ON COLUMN @extschema@.source_quota.window_start IS 'start of the window, UTC';
COMMENT ON COLUMN @extschema@.source_quota.used IS 'requests spent in it; recorded before they are sent';
COMMENT ON COLUMN @extschema@.source_quota.closed_until IS 'the source refuses further requests until this time';
COMMENT ON COLUMN @extschema@.source_quota.account IS 'whose quota it is: a hash of the server and the key; null: of whoever asks next';
COMMENT ON COLUMN @extschema@.source_quota.spent_by IS 'server and database that wrote the row: in a copy of a database it is the original''s spending';

-- Not dumped: elsewhere other files are installed.
CREATE TABLE @extschema@.maxmind_walk (
    generations  text[] NOT NULL,
    installed_at timestamptz NOT NULL,
    walked_at    timestamptz NOT NULL,
    shards       bigint[]
);
COMMENT ON TABLE @extschema@.maxmind_walk IS 'one row: the files with which ip_inventory was last compared, row by row';
COMMENT ON COLUMN @extschema@.maxmind_walk.generations IS 'generations of these files, as mmdb_editions() names them; last, which of them answers which field';
COMMENT ON COLUMN @extschema@.maxmind_walk.shards IS 'where Citus distributes ip_inventory: the shards of this node that were compared; otherwise null';
COMMENT ON COLUMN @extschema@.maxmind_walk.installed_at IS 'when the newest of them was installed';
COMMENT ON COLUMN @extschema@.maxmind_walk.walked_at IS 'when the comparison was finished';

-- Files of this server, for those that copy its tables. Not dumped: after a restore the worker writes them again.
CREATE TABLE @extschema@.mmdb_shared (
    edition   text PRIMARY KEY,
    sha256    text NOT NULL,
    built_at  timestamptz NOT NULL,
    bytes     bigint NOT NULL,
    shared_at timestamptz NOT NULL
);
COMMENT ON TABLE @extschema@.mmdb_shared IS 'mmdb files of this server, for its standbys and for the nodes of its cluster, which install them';
COMMENT ON COLUMN @extschema@.mmdb_shared.edition IS 'name of the edition';
COMMENT ON COLUMN @extschema@.mmdb_shared.sha256 IS 'SHA-256 of the file, in hexadecimal';
COMMENT ON COLUMN @extschema@.mmdb_shared.built_at IS 'when its data was built';
COMMENT ON COLUMN @extschema@.mmdb_shared.bytes IS 'size of the file';
COMMENT ON COLUMN @extschema@.mmdb_shared.shared_at IS 'when it was written here';
CREATE TABLE @extschema@.mmdb_shared_part (
    edition text NOT NULL,
    part    bigint NOT NULL,
    data    bytea NOT NULL,
    PRIMARY KEY (edition, part)
);
-- The files do not compress, and an attempt takes time.
ALTER TABLE @extschema@.mmdb_shared_part ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE @extschema@.mmdb_shared_part IS 'the bytes of the files in mmdb_shared';
COMMENT ON COLUMN @extschema@.mmdb_shared_part.edition IS 'name of the edition';
COMMENT ON COLUMN @extschema@.mmdb_shared_part.part IS 'number of the part, from 0';
COMMENT ON COLUMN @extschema@.mmdb_shared_part.data IS 'up to 1 MB of the file';

CREATE TABLE @extschema@.inventory_count (
    counted_at         timestamptz NOT NULL,
    addresses          bigint NOT NULL,
    public_addresses   bigint NOT NULL,
    enriched           bigint NOT NULL,
    missing_asn        bigint NOT NULL,
    observations       bigint NOT NULL,
    maxmind_answered   bigint NOT NULL,
    cymru_answered     bigint NOT NULL,
    greynoise_answered bigint NOT NULL,
    scanners           bigint NOT NULL,
    cymru_due          bigint NOT NULL,
    greynoise_due      bigint NOT NULL,
    changes            bigint
);
-- A publication of all tables needs to identify deleted rows.
ALTER TABLE @extschema@.maxmind_walk REPLICA IDENTITY FULL;
ALTER TABLE @extschema@.inventory_count REPLICA IDENTITY FULL;
ALTER TABLE @extschema@.ip_asn_history REPLICA IDENTITY FULL;
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

SELECT pg_catalog.pg_extension_config_dump('@extschema@.cymru_prefix', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.asn_inventory', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.ip_asn_history', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.source_quota', '');
