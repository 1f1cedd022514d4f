CREATE FUNCTION @extschema@.enrich_ip(ip inet, wait interval DEFAULT '0') RETURNS @extschema@.ip_enrichment
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'enrich_ip';
COMMENT ON FUNCTION @extschema@.enrich_ip(inet, interval) IS 'what the inventory knows of an address if that is fresh, else what can be said now; hands the address to the worker';
