CREATE FUNCTION @extschema@.enrich_ip(ip inet, wait interval DEFAULT '0') RETURNS @extschema@.ip_enrichment
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'enrich_ip';
COMMENT ON FUNCTION @extschema@.enrich_ip(inet, interval) IS 'returns the inventory''s data of an address if they are fresh, else the best data available now, and queues the address for the worker';
