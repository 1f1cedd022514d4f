-- JIT off: compiling the views takes longer than reading them, by far.
CREATE FUNCTION @extschema@.prometheus_metrics() RETURNS text
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp SET jit = off
    AS 'MODULE_PATHNAME', 'prometheus_metrics';
COMMENT ON FUNCTION @extschema@.prometheus_metrics()
    IS 'metrics in Prometheus''s text exposition format: psql -Atc ''SELECT prometheus_metrics()''';
