//! The extension is built, installed where private clusters find it, and loads.

use asn_inventory_tests::prelude::*;

#[test]
fn the_extension_is_created_with_and_without_preload() {
    for preload in [true, false] {
        let cluster = Cluster::builder().preload(preload).start();
        fixtures::small(&cluster.maxmind_dir());
        cluster.sql("postgres", "CREATE EXTENSION asn_inventory");
        let library = "SELECT count(*) FROM pg_extension WHERE extname = 'asn_inventory'";
        assert_eq!(cluster.value("postgres", library), "1");
    }
}
