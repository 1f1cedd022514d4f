//! Datums read without copies, and the short header of small ones.

use pgrx::pg_sys;

/// The 1-byte varlena header of a value of `len` bytes, header included (at most 127).
#[cfg(target_endian = "little")]
pub const fn short_header(len: usize) -> u8 {
    ((len as u8) << 1) | 1
}

/// The 1-byte varlena header of a value of `len` bytes, header included (at most 127).
#[cfg(target_endian = "big")]
pub const fn short_header(len: usize) -> u8 {
    len as u8 | 0x80
}

/// The bytes of a text datum. An external or compressed one is detoasted, palloced.
///
/// # Safety
/// `datum` must be a valid text, and its memory must outlive the result.
pub unsafe fn text_bytes<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: see above.
    unsafe {
        let varlena = datum.cast_mut_ptr::<pg_sys::varlena>();
        let plain = if pgrx::varlena::varatt_is_1b_e(varlena) || pgrx::varlena::varatt_is_4b_c(varlena) {
            pg_sys::pg_detoast_datum_packed(varlena)
        } else {
            varlena
        };
        pgrx::varlena::varlena_to_byte_slice(plain)
    }
}

/// The elements of an array that are not null.
///
/// # Safety
/// `datum` must be an array of a variable-length type that aligns like inet and text.
pub unsafe fn array_elements(datum: pg_sys::Datum, element: pg_sys::Oid) -> Vec<pg_sys::Datum> {
    // SAFETY: see above.
    unsafe { elements(datum, element) }.into_iter().flatten().collect()
}

/// The elements of a text[], as UTF-8 in every server encoding.
///
/// # Safety
/// `datum` must be a text[].
pub unsafe fn texts(datum: pg_sys::Datum) -> Vec<Option<String>> {
    // SAFETY: see above.
    unsafe {
        let text = |datum| crate::pg::encoding::from_server(text_bytes(datum));
        elements(datum, pg_sys::TEXTOID).into_iter().map(|element| element.map(text)).collect()
    }
}

/// # Safety
/// As `array_elements`.
unsafe fn elements(datum: pg_sys::Datum, element: pg_sys::Oid) -> Vec<Option<pg_sys::Datum>> {
    let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: see above; deconstruct_array fills the three.
    unsafe {
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        pg_sys::deconstruct_array(array, element, -1, false, b'i' as _, &mut values, &mut nulls, &mut count);
        (0..count as usize).map(|i| (!*nulls.add(i)).then(|| *values.add(i))).collect()
    }
}
