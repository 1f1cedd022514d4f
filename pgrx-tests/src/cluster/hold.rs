//! Holding up whoever writes a table, so that a test can look at what happens meanwhile.

use postgres::Client;

use super::Cluster;

/// The advisory lock that holds them up.
const LOCK: i32 = 4711;

impl Cluster {
    /// Holds up every write of `table` that fires such a trigger (`BEFORE INSERT … FOR EACH ROW`, without the names), the
    /// extension's own processes included, for as long as the returned session lives.
    ///
    /// # Panics
    /// When the trigger cannot be made.
    #[must_use]
    pub fn hold_up(&self, db: &str, when: &str, table: &str, each: &str) -> Client {
        // Not in `db`, which the test may drop: the locks of all databases count.
        let mut holder = self.connect("postgres");
        holder.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})")).expect("the lock");
        self.sql(
            db,
            &format!(
                "CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     WHILE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK}) LOOP
                         PERFORM pg_sleep(0.01);
                     END LOOP;
                     RETURN new;
                 END $$;
                 CREATE TRIGGER hold_up {when} ON {table} {each} EXECUTE FUNCTION hold_up();
                 ALTER TABLE {table} ENABLE ALWAYS TRIGGER hold_up"
            ),
        );
        holder
    }
}
