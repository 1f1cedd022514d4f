//! SPI with raw datums: run a statement, read its rows. Where values are arrays of composites or a batch is thousands
//! of rows, pgrx's typed SPI would copy each value twice.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::argument::Argument;
use super::catalog::{Acting, Schema, owner_of};
use super::datum;
use super::errors::{not_ready, raise};
use super::pulse;

/// A connection to SPI, with the rights that its statements run with; ended on drop, and by the transaction's abort
/// after an error.
pub struct Sql {
    _role: Option<Acting>,
}

impl Sql {
    /// Connects with the present rights: for catalogs, and for a caller's work on its own tables.
    pub fn as_caller() -> Sql {
        Sql::connect(None)
    }

    /// Connects as the owner of one of the extension's tables. A statement touches no other relation of ours.
    pub fn on(schema: &Schema, table: &CStr) -> Sql {
        Sql::connect(Some(Acting::as_owner_of(schema.relation(table))))
    }

    /// Connects for statements that touch several of the extension's relations. They must belong to one role: else what
    /// stands on one of them would run with the rights of another's owner.
    pub fn on_all(schema: &Schema, tables: &[&CStr]) -> Sql {
        let mut owners = tables.iter().map(|table| owner_of(schema.relation(table)));
        if let Some(first) = owners.next()
            && !owners.all(|owner| owner == first)
        {
            not_ready(
                "tables of asn_inventory belong to different roles",
                "Statements that read or write several of them are refused.",
                "Give all of them to one role: enrichment_doctor() names them.",
            );
        }
        Sql::on(schema, tables.first().unwrap_or(&c"ip_inventory"))
    }

    fn connect(role: Option<Acting>) -> Sql {
        // SAFETY: paired with the drop below.
        unsafe { pg_sys::SPI_connect() };
        Sql { _role: role }
    }

    /// Runs one statement; returns how many rows it processed.
    pub fn run(&self, text: &str, arguments: &[Argument]) -> u64 {
        self.execute(text, arguments, false);
        // SAFETY: set by the execution just ended.
        unsafe { pg_sys::SPI_processed }
    }

    /// Runs one query without assigning a transaction id, and returns its rows.
    pub fn query(&self, text: &str, arguments: &[Argument]) -> Table<'_> {
        self.execute(text, arguments, true);
        Table::last()
    }

    /// Runs one statement that writes and returns rows.
    pub fn returning(&self, text: &str, arguments: &[Argument]) -> Table<'_> {
        self.execute(text, arguments, false);
        Table::last()
    }

    /// What the statement that was executed last in this connection returned.
    pub fn last(&self) -> Table<'_> {
        Table::last()
    }

    fn execute(&self, text: &str, arguments: &[Argument], read_only: bool) {
        pulse::beat();
        let statement = statement(text);
        let (mut types, mut values, nulls) = split(arguments);
        // SAFETY: connected; arguments match in number, and in type by the callers' word.
        let code = unsafe {
            pg_sys::SPI_execute_with_args(
                statement.as_ptr(),
                arguments.len() as i32,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr(),
                read_only,
                0,
            )
        };
        pulse::beat();
        if code < 0 {
            raise(pgrx::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("SPI failed with code {code}"), text, "");
        }
    }

    /// Opens a cursor over a read-only query, for results with too many rows to hold all of them.
    pub fn cursor(&self, text: &str, arguments: &[Argument]) -> Cursor<'_> {
        let statement = statement(text);
        let (mut types, mut values, nulls) = split(arguments);
        // SAFETY: connected; arguments match in number, and in type by the callers' word.
        let portal = unsafe {
            pg_sys::SPI_cursor_open_with_args(
                std::ptr::null(),
                statement.as_ptr(),
                arguments.len() as i32,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr(),
                true,
                0,
            )
        };
        Cursor(portal, std::marker::PhantomData)
    }
}

impl Drop for Sql {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: paired with the connect above. The role is put back after this.
            unsafe { pg_sys::SPI_finish() };
        }
    }
}

/// A statement as SPI takes it: names in it are to be those of the catalog, so it is in the server's encoding, too.
pub fn statement(text: &str) -> CString {
    CString::new(crate::pg::encoding::server_text(text)).unwrap_or_default()
}

/// Arguments as SPI takes them: types, values, and which are null.
fn split(arguments: &[Argument]) -> (Vec<pg_sys::Oid>, Vec<Datum>, Vec<std::ffi::c_char>) {
    let null = |(_, value): &Argument| if value.is_none() { b'n' } else { b' ' } as std::ffi::c_char;
    (
        arguments.iter().map(|(oid, _)| *oid).collect(),
        arguments.iter().map(|(_, value)| value.unwrap_or(Datum::null())).collect(),
        arguments.iter().map(null).collect(),
    )
}

/// A cursor. PostgreSQL would keep it, and its table in use, until the transaction ends.
pub struct Cursor<'a>(pg_sys::Portal, std::marker::PhantomData<&'a Sql>);

impl Cursor<'_> {
    /// The next rows, `count` at most.
    pub fn fetch(&mut self, count: usize) -> Table<'_> {
        pulse::beat();
        // SAFETY: the portal is open.
        unsafe { pg_sys::SPI_cursor_fetch(self.0, true, count as i64) };
        Table::last()
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        // After an error the transaction's abort does it.
        if !std::thread::panicking() {
            // SAFETY: the portal is open, and so is its connection.
            unsafe { pg_sys::SPI_cursor_close(self.0) };
        }
    }
}

/// Rows of a result. They live in their connection's memory, so they cannot outlive it; freed on drop, by when datums
/// read from them must be done with.
pub struct Table<'a> {
    table: *mut pg_sys::SPITupleTable,
    rows: usize,
    connection: std::marker::PhantomData<&'a Sql>,
}

impl Table<'_> {
    fn last<'a>() -> Table<'a> {
        // SAFETY: set by the execution just ended.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            Table {
                table,
                rows: if table.is_null() { 0 } else { pg_sys::SPI_processed as usize },
                connection: std::marker::PhantomData,
            }
        }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The descriptor of the rows.
    pub fn desc(&self) -> pg_sys::TupleDesc {
        // SAFETY: a query's table is never null.
        unsafe { (*self.table).tupdesc }
    }

    /// A row as it is, where there is one.
    pub fn tuple(&self, row: usize) -> Option<pg_sys::HeapTuple> {
        // SAFETY: as many rows as it says.
        (row < self.rows).then(|| unsafe { *(*self.table).vals.add(row) })
    }

    /// The value at `row` (from 0) and `column` (from 1); `None` when null.
    pub fn datum(&self, row: usize, column: usize) -> Option<Datum> {
        assert!(row < self.rows);
        let mut null = false;
        // SAFETY: the row exists; SPI answers an unknown column with null.
        unsafe {
            let tuple = *(*self.table).vals.add(row);
            let datum = pg_sys::SPI_getbinval(tuple, (*self.table).tupdesc, column as i32, &mut null);
            (!null).then_some(datum)
        }
    }

    /// Refuses a column of another type than it is read as: who owns a table may alter its columns, and a number read as
    /// a text is a pointer into nowhere.
    fn check(&self, column: usize, fits: impl FnOnce(pg_sys::Oid) -> bool) {
        // SAFETY: a query's table has a descriptor; an unknown column has no type, and no value.
        let kind = unsafe { pg_sys::SPI_gettypeid((*self.table).tupdesc, column as i32) };
        if !fits(kind) {
            not_ready(
                "a table of asn_inventory was altered",
                "A column has another type than this library reads.",
                "Give the column its type back, or run DROP EXTENSION and CREATE EXTENSION.",
            );
        }
    }

    /// The value at `row` (from 0) and `column` (from 1), as a Rust value.
    pub fn get<T: pgrx::FromDatum + pgrx::IntoDatum>(&self, row: usize, column: usize) -> Option<T> {
        self.check(column, |kind| match T::type_oid() {
            pg_sys::INETOID => matches!(kind, pg_sys::INETOID | pg_sys::CIDROID),
            // Bytes of a text, in any encoding.
            pg_sys::BYTEAOID => matches!(kind, pg_sys::BYTEAOID | pg_sys::TEXTOID | pg_sys::VARCHAROID),
            wanted => kind == wanted,
        });
        // SAFETY: of that type, as was just seen.
        self.datum(row, column).and_then(|datum| unsafe { T::from_datum(datum, false) })
    }

    /// The moment (timestamptz) at `row` (from 0) and `column` (from 1).
    pub fn moment(&self, row: usize, column: usize) -> Option<i64> {
        self.check(column, |kind| kind == pg_sys::TIMESTAMPTZOID);
        self.datum(row, column).map(|datum| datum.value() as i64)
    }

    /// The place of a row (tid) at `row` (from 0) and `column` (from 1).
    pub fn place(&self, row: usize, column: usize) -> Option<pg_sys::ItemPointerData> {
        self.check(column, |kind| kind == pg_sys::TIDOID);
        // SAFETY: of that type, as was just seen; it is passed by reference, and copied here.
        self.datum(row, column).map(|datum| unsafe { *datum.cast_mut_ptr::<pg_sys::ItemPointerData>() })
    }

    /// The text at `row` (from 0) and `column` (from 1). (A String of pgrx's has to be UTF-8 in the server, too.)
    pub fn text(&self, row: usize, column: usize) -> Option<String> {
        self.check(column, |kind| matches!(kind, pg_sys::TEXTOID | pg_sys::VARCHAROID));
        // SAFETY: the callers' SQL fixes the types.
        self.datum(row, column).map(|datum| crate::pg::encoding::from_server(unsafe { datum::text_bytes(datum) }))
    }

    /// The texts at `row` (from 0) and `column` (from 1); nulls among them are left out.
    pub fn texts(&self, row: usize, column: usize) -> Option<Vec<String>> {
        self.check(column, |kind| kind == pg_sys::TEXTARRAYOID);
        // SAFETY: the callers' SQL fixes the types.
        let texts = self.datum(row, column).map(|datum| unsafe { datum::texts(datum) });
        texts.map(|texts| texts.into_iter().flatten().collect())
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        if !self.table.is_null() && !std::thread::panicking() {
            // SAFETY: not freed yet, and its connection is still open.
            unsafe { pg_sys::SPI_freetuptable(self.table) };
        }
    }
}
