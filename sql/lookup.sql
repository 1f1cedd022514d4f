-- Offline look-ups: they run no SQL, so they need no search_path and pay for none.
CREATE FUNCTION @extschema@.ip_class(inet) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_class';
COMMENT ON FUNCTION @extschema@.ip_class(inet) IS 'public, private, loopback, link_local, cgnat, documentation, multicast, benchmarking, reserved and so on, by the IANA special-purpose registries';

-- From text to address, as the triggers read it.
CREATE FUNCTION @extschema@.ip_parse(text) RETURNS inet
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_parse';
COMMENT ON FUNCTION @extschema@.ip_parse(text) IS 'the address that a text says: plain, with a port, a zone, in brackets, or the host of a URL; null: it says none. IPv4-mapped addresses become IPv4. Raises nothing';

CREATE FUNCTION @extschema@.ip_parse(value jsonb, path text) RETURNS inet
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_parse_jsonb';
COMMENT ON FUNCTION @extschema@.ip_parse(jsonb, text) IS 'the address that the text at a path says, as ip_parse(text) reads it; path as in attach_ip_source: src_ip, peer->>ip; of an array, the first element that says one';

CREATE FUNCTION @extschema@.ip_extract_array(text) RETURNS inet[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_extract_array';
COMMENT ON FUNCTION @extschema@.ip_extract_array(text) IS 'every address in a free text, each once, in order: the first thousand of its first megabyte';

-- A function of one SELECT: in FROM it stands in the query as a subquery.
CREATE FUNCTION @extschema@.ip_extract(text) RETURNS SETOF inet
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 2
    BEGIN ATOMIC
        SELECT pg_catalog.unnest(@extschema@.ip_extract_array($1));
    END;
COMMENT ON FUNCTION @extschema@.ip_extract(text) IS 'every address in a free text, a row each: see ip_extract_array()';

CREATE FUNCTION @extschema@.lookup_ip(inet) RETURNS @extschema@.ip_enrichment
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'lookup_ip';
COMMENT ON FUNCTION @extschema@.lookup_ip(inet) IS 'all data of an address in the installed mmdb files; offline, writes nothing';

CREATE FUNCTION @extschema@.ip_asn(inet) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_asn';
COMMENT ON FUNCTION @extschema@.ip_asn(inet) IS 'origin AS of an address, offline';

CREATE FUNCTION @extschema@.ip_asn_org(inet) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_asn_org';
COMMENT ON FUNCTION @extschema@.ip_asn_org(inet) IS 'organization of the origin AS of an address, offline';

CREATE FUNCTION @extschema@.ip_country(inet) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_country';
COMMENT ON FUNCTION @extschema@.ip_country(inet) IS 'ISO 3166-1 alpha-2 code of the country of an address, offline';

CREATE FUNCTION @extschema@.ip_city(inet) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_city';
COMMENT ON FUNCTION @extschema@.ip_city(inet) IS 'city of an address, English name, offline';

CREATE FUNCTION @extschema@.mmdb_record(edition text, ip inet) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mmdb_record';
COMMENT ON FUNCTION @extschema@.mmdb_record(text, inet) IS 'the whole record of an address in one installed mmdb edition';

CREATE FUNCTION @extschema@._mmdb_network_rows(edition text, within inet DEFAULT NULL,
                                  OUT network cidr, OUT record jsonb) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'mmdb_network_rows';
COMMENT ON FUNCTION @extschema@._mmdb_network_rows(text, inet) IS 'the rows of mmdb_networks(), one per call';

-- A function of one SELECT without SET and STRICT stands in a query as a subquery: so rows are made as they are asked
-- for, and a LIMIT is cheap in FROM, too, where a set-returning function of its own would be read to its end first.
CREATE FUNCTION @extschema@.mmdb_networks(edition text, within inet DEFAULT NULL,
                              OUT network cidr, OUT record jsonb) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT (n.r).network, (n.r).record FROM (SELECT @extschema@._mmdb_network_rows($1, $2) AS r) n;
    END;
COMMENT ON FUNCTION @extschema@.mmdb_networks(text, inet) IS 'every network of one installed mmdb edition with its record, optionally only inside a range';

CREATE FUNCTION @extschema@.mmdb_editions(
    OUT edition text, OUT database_type text, OUT build_time timestamptz, OUT nodes bigint, OUT size bigint,
    OUT generation text, OUT installed_at timestamptz, OUT refused text, OUT refused_at timestamptz,
    OUT in_use_by integer, OUT attribution text, OUT fields text[], OUT networks bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 4 AS 'MODULE_PATHNAME', 'mmdb_editions';
COMMENT ON FUNCTION @extschema@.mmdb_editions() IS 'installed mmdb editions: age, number of processes that have them open, the notice that their licence demands, why the last file was refused, which fields of ip_inventory the file gives, and for how many of its networks at least one of them';

CREATE FUNCTION @extschema@._mmdb_files(
    OUT edition text, OUT database_type text, OUT build_time timestamptz, OUT nodes bigint, OUT size bigint,
    OUT generation text, OUT installed_at timestamptz, OUT refused text, OUT refused_at timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 4 AS 'MODULE_PATHNAME', 'mmdb_files';
COMMENT ON FUNCTION @extschema@._mmdb_files() IS 'mmdb_editions() without the number of processes, for the status views';

CREATE FUNCTION @extschema@.ip_lists(inet) RETURNS text[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ip_lists';
COMMENT ON FUNCTION @extschema@.ip_lists(inet) IS 'names of the installed lists of networks that hold an address, in order; empty: none does, null: no list is installed. Offline';

CREATE FUNCTION @extschema@.network_lists(
    OUT list text, OUT file text, OUT entries_ipv4 bigint, OUT entries_ipv6 bigint, OUT addresses_ipv4 bigint, OUT size bigint,
    OUT file_time timestamptz, OUT installed_at timestamptz, OUT warning text, OUT refused text, OUT refused_at timestamptz,
    OUT generation text, OUT previous_generation text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 20 AS 'MODULE_PATHNAME', 'network_lists';
COMMENT ON FUNCTION @extschema@.network_lists() IS 'installed lists of networks: their entries, date and size of the file, what was wrong with it, and why the last file was refused; without a list, files that cannot be one';

CREATE FUNCTION @extschema@.import_mmdb_files(force boolean DEFAULT false) RETURNS integer
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'import_mmdb_files';
COMMENT ON FUNCTION @extschema@.import_mmdb_files(boolean) IS 'imports new mmdb files now instead of within a second; force also takes an older file or one whose node count collapsed, and sets a damaged current.json aside';
