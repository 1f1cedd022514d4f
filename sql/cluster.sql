-- One inventory for the nodes of a Citus cluster.
CREATE FUNCTION @extschema@.asn_inventory_distribute() RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'asn_inventory_distribute';
COMMENT ON FUNCTION @extschema@.asn_inventory_distribute() IS 'on the coordinator of a Citus cluster: makes one inventory of all nodes; what each node had is merged by its worker. Repeating it does no harm';

CREATE FUNCTION @extschema@.asn_inventory_undistribute() RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'asn_inventory_undistribute';
COMMENT ON FUNCTION @extschema@.asn_inventory_undistribute() IS 'takes the inventory of the cluster back to the coordinator, with all rows';

CREATE FUNCTION @extschema@._backfill_here(batch_size integer, commit_interval integer, workers integer, wait boolean) RETURNS @extschema@.enrichment_summary
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'backfill_here';
COMMENT ON FUNCTION @extschema@._backfill_here(integer, integer, integer, boolean) IS 'the part of backfill_inventory() that a node of a cluster does';
