-- JIT off: compiling takes longer than these passes over the inventory.
CREATE FUNCTION inventory_report() RETURNS text
    LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS 'MODULE_PATHNAME', 'inventory_report';
COMMENT ON FUNCTION inventory_report()
    IS 'the inventory as one HTML page that stands alone: psql -Atc ''SELECT inventory_report()'' > report.html';
