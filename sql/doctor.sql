-- Each problem, and the command that fixes it. It asks no outside service; its queries are in src/functions/doctor.
CREATE FUNCTION @extschema@.enrichment_doctor(OUT check_name text, OUT level text, OUT detail text, OUT remedy text) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 40 SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'enrichment_doctor';
COMMENT ON FUNCTION @extschema@.enrichment_doctor() IS 'checks of the set-up, one row per check: ok, warning or error, the reason, and the command that corrects it';
