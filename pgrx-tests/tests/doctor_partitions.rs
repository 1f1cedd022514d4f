//! `enrichment_doctor()` of tables with many partitions: a fault of all of them is one finding, with one command.

use crate::doctor_support::*;

const TABLE: &str = "CREATE TABLE r (n int, ip inet) PARTITION BY LIST (n);
     DO $$ BEGIN FOR i IN 1..4 LOOP EXECUTE format('CREATE TABLE r_%s PARTITION OF r FOR VALUES IN (%1$s)', i); END LOOP; END $$;";

#[test]
fn many_partitions_that_came_with_rows_are_one_finding_and_one_command() {
    let patient = Patient::new();
    patient.sql(&format!("{TABLE} SELECT attach_ip_source('r', '{{ip}}')"));
    patient.suffer(
        "DO $$ BEGIN FOR i IN 11..40 LOOP
             EXECUTE format('CREATE TABLE p_%s (n int, ip inet); INSERT INTO p_%1$s VALUES (%1$s, ''8.8.8.8'');
                             ALTER TABLE r ATTACH PARTITION p_%1$s FOR VALUES IN (%1$s)', i);
         END LOOP; END $$",
        "partitions",
        "warning|public.p_11, public.p_12, public.p_13 and 27 others had rows when they were put below public.r; they are not counted.",
    );
    patient.wait("SELECT observation_count FROM ip_inventory", "30");
}

#[test]
fn partitions_are_named_below_the_nearest_attached_table() {
    let patient = Patient::new();
    patient.sql(
        "CREATE TABLE r (n int, ip inet) PARTITION BY LIST (n);
         CREATE TABLE m PARTITION OF r FOR VALUES IN (1, 2) PARTITION BY LIST (n);
         SELECT attach_ip_source('r', '{ip}'), attach_ip_source('m', '{ip}')",
    );
    for (n, above) in [(1, "m"), (2, "m"), (3, "r")] {
        patient.sql(&format!(
            "CREATE TABLE p_{n} (n int, ip inet); INSERT INTO p_{n} VALUES ({n}, '8.8.8.8');
             ALTER TABLE {above} ATTACH PARTITION p_{n} FOR VALUES IN ({n})"
        ));
    }
    assert_eq!(
        patient.said("partitions"),
        "warning|public.p_1, public.p_2 had rows when they were put below public.m; they are not counted.\n\
         warning|public.p_3 had rows when it was put below an attached table; they are not counted."
    );
    assert_eq!(
        patient.remedy("partitions"),
        "SELECT public.populate_ip_inventory('public.m');\nSELECT public.populate_ip_inventory('public.p_3');"
    );
    patient.take_remedy("partitions");
    assert_eq!(patient.trouble(), [""; 0]);
    patient.wait("SELECT sum(observation_count) FROM ip_inventory", "3");
}

#[test]
fn a_second_trigger_that_partitions_have_by_the_table_above_is_one_finding() {
    let patient = Patient::new();
    patient.sql(&format!("{TABLE} SELECT attach_ip_source('r', '{{ip}}', method => 'row')"));
    patient.sql("CREATE TRIGGER zz AFTER INSERT ON r FOR EACH ROW EXECUTE FUNCTION observe_addresses('', 'ip')");
    assert_eq!(
        patient.said("triggers"),
        "error|Rows inserted into public.r are counted 2 times: it has as many triggers that read the same."
    );
    patient.take_remedy("triggers");
    assert_eq!(patient.trouble(), [""; 0]);
    patient.sql("INSERT INTO r VALUES (3, '8.8.4.4'); INSERT INTO r_3 VALUES (3, '8.8.4.4')");
    patient.wait("SELECT observation_count FROM ip_inventory", "2");
}

#[test]
fn indexes_of_partitions_that_read_something_else_are_one_finding() {
    let patient = Patient::new();
    patient.sql(&format!("{TABLE} SELECT attach_ip_source('r', '{{ip}}', method => 'index')"));
    patient.sql("UPDATE ip_source SET only_where = 'n = 3'");
    assert_eq!(
        patient.said("observer indexes"),
        "error|public.r_ip_idx, public.r_1_ip_idx, public.r_2_ip_idx and 2 others do not read what ip_source lists for public.r."
    );
    patient.take_remedy("observer indexes");
    assert_eq!(patient.said("observer indexes"), "");
}
