-- JIT off: compiling takes longer than these passes over the inventory. Sorts off: the planner takes the groups for more
-- than they are and would sort a million rows to make ten thousand of them; hashing has the memory for that.
CREATE FUNCTION @extschema@.inventory_report() RETURNS text
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp SET jit = off SET enable_sort = off SET work_mem = '64MB'
    AS 'MODULE_PATHNAME', 'inventory_report';
COMMENT ON FUNCTION @extschema@.inventory_report()
    IS 'the inventory as one self-contained HTML page: psql -Atc ''SELECT inventory_report()'' > report.html';
