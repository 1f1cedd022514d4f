//! The history of ASNs: a trigger of `ip_inventory` writes a row where one ASN gives way to another, whoever wrote it.

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use crate::call::Call;
use crate::catalog::Schema;
use crate::errors::raise;
use crate::sql::Sql;
use crate::sql_function;

sql_function!(
    /// `record_asn_change() → trigger`: AFTER UPDATE OF asn_number ON ip_inventory, FOR EACH ROW.
    record_asn_change,
    pg_finfo_record_asn_change,
    |call: Call| {
        // SAFETY: the context is checked to be that of a row trigger after an update.
        unsafe {
            let data = (*call.0).context.cast::<pg_sys::TriggerData>();
            if data.is_null()
                || (*data).type_ != pg_sys::NodeTag::T_TriggerData
                || (*data).tg_trigtuple.is_null()
                || (*data).tg_newtuple.is_null()
            {
                raise(
                    PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                    "record_asn_change() is no ordinary function",
                    "It is an AFTER UPDATE … FOR EACH ROW trigger of ip_inventory.",
                    "",
                );
            }
            record(&Schema::of(call), &*data);
        }
        Datum::from(0)
    }
);

/// # Safety
/// `data` must be that of a running row trigger after an update.
unsafe fn record(schema: &Schema, data: &pg_sys::TriggerData) {
    // SAFETY: see above; columns are found by name, and values live as long as the tuples.
    unsafe {
        let desc = (*data.tg_relation).rd_att;
        let value = |tuple: pg_sys::HeapTuple, name: &std::ffi::CStr, kind: pg_sys::Oid| {
            let mut null = true;
            let datum = pg_sys::SPI_getbinval(tuple, desc, pg_sys::SPI_fnumber(desc, name.as_ptr()), &mut null);
            (kind, (!null).then_some(datum))
        };
        let (old, new) = (data.tg_trigtuple, data.tg_newtuple);
        Sql::connect().run(
            &format!(
                "INSERT INTO {}.ip_asn_history (ip_address, changed_at, old_asn, old_source, new_asn, new_source)
                 VALUES ($1, now(), $2, $3, $4, $5)",
                schema.name
            ),
            &[
                value(new, c"ip_address", pg_sys::INETOID),
                value(old, c"asn_number", pg_sys::INT8OID),
                value(old, c"asn_source", pg_sys::TEXTOID),
                value(new, c"asn_number", pg_sys::INT8OID),
                value(new, c"asn_source", pg_sys::TEXTOID),
            ],
        );
    }
}
