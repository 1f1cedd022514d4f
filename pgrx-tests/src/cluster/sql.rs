//! Asking a cluster: sessions by the unix socket, one-line helpers over the simple protocol, psql and the
//! other client programs.

use super::{Cluster, process::server_command};
use crate::wait::wait_for;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};

/// The server's error for a failed statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlFailure {
    /// The SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// DETAIL, or empty.
    pub detail: String,
    /// HINT, or empty.
    pub hint: String,
}

impl From<postgres::Error> for SqlFailure {
    fn from(error: postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => SqlFailure {
                code: db.code().code().to_string(),
                message: db.message().to_string(),
                detail: db.detail().unwrap_or_default().to_string(),
                hint: db.hint().unwrap_or_default().to_string(),
            },
            None => SqlFailure {
                code: String::new(),
                message: format!("no answer from the server: {error}"),
                detail: String::new(),
                hint: String::new(),
            },
        }
    }
}

/// The messages of a session beside its results (INFO, NOTICE, WARNING …), as `SEVERITY: message`.
#[derive(Clone, Default)]
pub struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    /// All so far, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Cluster {
    /// How to connect to `db` as the superuser; for other users and settings, change it.
    #[must_use]
    pub fn config(&self, db: &str) -> Config {
        let mut config = Config::new();
        config.host_path(self.socket_dir()).port(5432).user("postgres").dbname(db);
        config
    }

    /// A session in `db`.
    ///
    /// # Errors
    /// The connection's error: no server, no such database …
    pub fn try_connect(&self, db: &str) -> Result<Client, postgres::Error> {
        self.config(db).connect(NoTls)
    }

    /// A session in `db`.
    ///
    /// # Panics
    /// When no session is possible.
    #[must_use]
    pub fn connect(&self, db: &str) -> Client {
        self.connect_as("postgres", db)
    }

    /// A session in `db` as `user`.
    ///
    /// # Panics
    /// When no session is possible.
    #[must_use]
    pub fn connect_as(&self, user: &str, db: &str) -> Client {
        self.config(db).user(user).connect(NoTls).unwrap_or_else(|e| panic!("no connection to {db} as {user}: {e:?}"))
    }

    /// A session in the database `postgres`.
    #[must_use]
    pub fn client(&self) -> Client {
        self.connect("postgres")
    }

    /// A session in `db` that keeps its messages beside its results.
    ///
    /// # Panics
    /// When no session is possible.
    #[must_use]
    pub fn connect_with_notices(&self, db: &str) -> (Client, Notices) {
        let notices = Notices::default();
        let heard = notices.clone();
        let client = self
            .config(db)
            .notice_callback(move |notice| {
                let line = format!("{}: {}", notice.severity(), notice.message());
                let mut all = heard.0.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(line);
            })
            .connect(NoTls)
            .unwrap_or_else(|e| panic!("no connection to {db}: {e:?}"));
        (client, notices)
    }

    /// Runs one or more statements; the rows of all of them, as text.
    ///
    /// # Errors
    /// The server's error.
    pub fn try_sql(&self, db: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, SqlFailure> {
        query(&mut self.try_connect(db)?, sql)
    }

    /// As [`Self::try_sql`].
    ///
    /// # Panics
    /// With the server's error, when it refuses.
    pub fn sql(&self, db: &str, sql: &str) -> Vec<Vec<Option<String>>> {
        self.try_sql(db, sql).unwrap_or_else(|failure| panic!("{sql}\nfailed: {failure:?}"))
    }

    /// The first column of the first row, as text; null, and no row, are empty.
    ///
    /// # Panics
    /// With the server's error, when it refuses.
    #[must_use]
    pub fn value(&self, db: &str, sql: &str) -> String {
        let rows = self.sql(db, sql);
        let first = rows.into_iter().flatten().next();
        first.flatten().unwrap_or_default()
    }

    /// Each row as one line, as `psql -At` prints it: `1|GB|`, null as nothing.
    ///
    /// # Panics
    /// With the server's error, when it refuses.
    #[must_use]
    pub fn lines(&self, db: &str, sql: &str) -> Vec<String> {
        let rows = self.sql(db, sql).into_iter();
        rows.map(|row| {
            let fields: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
            fields.join("|")
        })
        .collect()
    }

    /// Runs what must be refused, and returns how it was.
    ///
    /// # Panics
    /// When it is not refused.
    #[must_use]
    pub fn fails(&self, db: &str, sql: &str) -> SqlFailure {
        match self.try_sql(db, sql) {
            Ok(rows) => panic!("{sql}\nis not refused: {rows:?}"),
            Err(failure) => failure,
        }
    }

    /// Waits until `sql` gives `wanted` in `db`.
    ///
    /// # Panics
    /// With the last answer, when it never does.
    pub fn wait_value(&self, db: &str, sql: &str, wanted: &str) {
        wait_for(
            &format!("{sql} to give {wanted:?}"),
            || match self.try_sql(db, sql) {
                Ok(rows) => rows.into_iter().flatten().next().flatten(),
                Err(failure) => Some(format!("{failure:?}")),
            },
            |value| value.as_deref().unwrap_or_default() == wanted,
        );
    }

    /// Waits until City and ASN are installed and the worker of `db` has compared the inventory with them: later rows
    /// of a test are not walked, and no walk is in `enrichment_run`.
    ///
    /// # Panics
    /// When that never comes.
    pub fn wait_walked(&self, db: &str) {
        self.wait_value(
            db,
            "SELECT count(*) = 2 AND EXISTS (SELECT FROM maxmind_walk w WHERE w.generations @> array_agg(e.generation))
             FROM mmdb_editions() e WHERE e.generation IS NOT NULL",
            "t",
        );
    }

    /// Has the extension do nothing in any database, until `asn_inventory.databases` is empty again.
    ///
    /// # Panics
    /// When the worker of `db` does not end.
    pub fn stop_worker(&self, db: &str) {
        self.set("asn_inventory.databases", "none");
        self.wait_value(db, "SELECT worker FROM enrichment_status", "not running");
    }

    /// A client program of the installation (`psql`, `pg_dump`, `pgbench` …), directed to this cluster.
    #[must_use]
    pub fn tool(&self, program: &str) -> Command {
        let mut command = server_command(program);
        command.env("PGHOST", self.socket_dir()).env("PGPORT", "5432").env("PGUSER", "postgres");
        command
    }

    /// Runs `sql` by psql, unaligned, ending at the first error.
    ///
    /// # Panics
    /// When psql does not start.
    pub fn psql(&self, db: &str, sql: &str) -> Output {
        self.tool("psql")
            .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", db, "-c", sql])
            .output()
            .unwrap_or_else(|e| panic!("psql does not start: {e}"))
    }
}

/// Runs statements in an open session; the rows of all of them, as text.
///
/// # Errors
/// The server's error.
pub fn query(client: &mut Client, sql: &str) -> Result<Vec<Vec<Option<String>>>, SqlFailure> {
    let rows = client.simple_query(sql)?.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|column| row.get(column).map(String::from)).collect()),
        _ => None,
    });
    Ok(rows.collect())
}
