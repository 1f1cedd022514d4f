//! Texts between UTF-8 and the server's encoding. It raises no error: characters that cannot be converted are replaced.

use std::borrow::Cow;
use std::ffi::CStr;

use pgrx::pg_sys;

unsafe extern "C" {
    // It cannot raise, so it needs no guard (a sigsetjmp) as pgrx puts around every call.
    fn GetDatabaseEncoding() -> std::ffi::c_int;
}

/// UTF-8 text in the server's encoding, as bytes.
#[inline]
pub fn server_text(text: &str) -> Cow<'_, [u8]> {
    Texts::new().of(text)
}

/// What turns UTF-8 texts into the server's encoding: asked once for the texts of a row.
#[derive(Clone, Copy)]
pub struct Texts(std::ffi::c_int);

impl Texts {
    /// Of this database.
    #[inline]
    pub fn new() -> Texts {
        // SAFETY: reads a backend-wide setting.
        Texts(unsafe { GetDatabaseEncoding() })
    }

    /// One text, as bytes.
    #[inline]
    pub fn of(self, text: &str) -> Cow<'_, [u8]> {
        let same = self.0 == pg_sys::pg_enc::PG_UTF8 as i32 || self.0 == pg_sys::pg_enc::PG_SQL_ASCII as i32;
        if same || text.is_ascii() { Cow::Borrowed(text.as_bytes()) } else { Cow::Owned(converted(text, self.0)) }
    }
}

/// Text of the server's encoding as UTF-8. Bytes that are none become `\u{fffd}`: nothing raises for being shown.
pub fn from_server(bytes: &[u8]) -> String {
    match conversion(bytes) {
        Some(conversion) => convert(bytes, conversion, |_, out| out.extend("\u{fffd}".as_bytes())),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The same for a name that is only shown: bytes that are no text are written as `\xHH`, so that two names that differ in them
/// alone stay two. A database in SQL_ASCII takes any bytes.
pub fn shown(bytes: &[u8]) -> String {
    let escape = |byte: u8, out: &mut Vec<u8>| out.extend(format!("\\x{byte:02x}").into_bytes());
    if let Some(conversion) = conversion(bytes) {
        return convert(bytes, conversion, escape);
    }
    let mut out = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().as_bytes());
        chunk.invalid().iter().for_each(|byte| escape(*byte, &mut out));
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// From the server's encoding to UTF-8: the function, and the encoding. `None` where there is nothing to convert, or no way.
fn conversion(bytes: &[u8]) -> Option<(pg_sys::Oid, i32)> {
    // SAFETY: reads a backend-wide setting.
    let encoding = unsafe { GetDatabaseEncoding() };
    let same = encoding == pg_sys::pg_enc::PG_UTF8 as i32 || encoding == pg_sys::pg_enc::PG_SQL_ASCII as i32;
    if same || bytes.is_ascii() {
        return None;
    }
    // SAFETY: a catalog look-up.
    let function = unsafe { pg_sys::FindDefaultConversionProc(encoding, pg_sys::pg_enc::PG_UTF8 as i32) };
    (function != pg_sys::InvalidOid).then_some((function, encoding))
}

/// Converts all that can be; `bad` writes the bytes that cannot.
fn convert(bytes: &[u8], (function, encoding): (pg_sys::Oid, i32), bad: impl Fn(u8, &mut Vec<u8>)) -> String {
    // A name of the server, such as the database's, may have been given in another encoding than this database's.
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some((first, others)) = rest.split_first() {
        let done = convert_beginning(rest, function, encoding, &mut out);
        match done {
            0 if first.is_ascii() => out.push(*first),
            0 => bad(*first, &mut out),
            _ => {}
        }
        rest = if done == 0 { others } else { &rest[done..] };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends as much of `bytes`, in UTF-8, as there is room for and can be converted; how much that was.
fn convert_beginning(bytes: &[u8], function: pg_sys::Oid, encoding: i32, out: &mut Vec<u8>) -> usize {
    let mut target = [0u8; 4096];
    // SAFETY: the conversion function is the catalog's default, and only reads its source; it is given no more than the
    // target has room for; with noError it reports how much it converted instead of raising.
    unsafe {
        let done = pg_sys::pg_do_encoding_conversion_buf(
            function,
            encoding,
            pg_sys::pg_enc::PG_UTF8 as i32,
            bytes.as_ptr().cast_mut(),
            i32::try_from(bytes.len()).unwrap_or(i32::MAX),
            target.as_mut_ptr().cast(),
            target.len() as i32,
            true,
        );
        out.extend(CStr::from_ptr(target.as_ptr().cast()).to_bytes());
        usize::try_from(done).unwrap_or(0)
    }
}

fn converted(text: &str, encoding: i32) -> Vec<u8> {
    // Character by character: one that the encoding lacks must cost itself only, and must not raise.
    let mut out = Vec::with_capacity(text.len());
    for character in text.chars() {
        let mut utf8 = [0u8; 4];
        let utf8 = character.encode_utf8(&mut utf8);
        let converted = (!character.is_ascii()).then(|| convert_character(utf8, encoding)).flatten();
        match converted {
            Some(bytes) => out.extend(bytes),
            None if character.is_ascii() => out.push(utf8.as_bytes()[0]),
            None => out.push(b'?'),
        }
    }
    out
}

fn convert_character(utf8: &str, encoding: i32) -> Option<Vec<u8>> {
    let mut source = [0u8; 5];
    source[..utf8.len()].copy_from_slice(utf8.as_bytes());
    let mut target = [0u8; 32];
    // SAFETY: the conversion function is the catalog's default; with noError it reports how much it converted
    // instead of raising; the target is far larger than any one character.
    unsafe {
        let function = pg_sys::FindDefaultConversionProc(pg_sys::pg_enc::PG_UTF8 as i32, encoding);
        if function == pg_sys::InvalidOid {
            return None;
        }
        let done = pg_sys::pg_do_encoding_conversion_buf(
            function,
            pg_sys::pg_enc::PG_UTF8 as i32,
            encoding,
            source.as_mut_ptr(),
            utf8.len() as i32,
            target.as_mut_ptr().cast(),
            target.len() as i32,
            true,
        );
        let converted = CStr::from_ptr(target.as_ptr().cast()).to_bytes();
        (done as usize == utf8.len() && !converted.is_empty()).then(|| converted.to_vec())
    }
}
