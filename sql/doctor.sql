-- What is wrong, and the very command that mends it. Asks nobody outside; what it asks stands in src/functions/doctor.
CREATE FUNCTION @extschema@.enrichment_doctor(OUT check_name text, OUT level text, OUT detail text, OUT remedy text) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 40 SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'enrichment_doctor';
COMMENT ON FUNCTION @extschema@.enrichment_doctor() IS 'what is wrong with the set-up, a row a check: ok, warning or error, why, and the command that mends it';
