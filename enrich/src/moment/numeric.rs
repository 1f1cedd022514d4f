//! A time in a value of PostgreSQL's type numeric, as it is stored: a word of flags, a weight, and digits to the base 10000
//! (`utils/adt/numeric.c`). Read here since PostgreSQL's own functions may raise.

use super::spoken::{are_seconds, in_seconds, since_1970};

/// The kind of a value: the two highest bits of its first word.
const KIND: u16 = 0xc000;
const NEGATIVE: u16 = 0x4000;
/// Sign and weight in the first word.
const SHORT: u16 = 0x8000;
/// No number, or an infinity.
const SPECIAL: u16 = 0xc000;
/// Nanoseconds since 1970 have a lower one, in all years that are a time.
const MOST_WEIGHT: i32 = 5;

/// The time of a numeric, given without the header of its length, as that of a number in a text: see
/// [`since_1970`]. `None` where it is no moment.
///
/// ```
/// use enrich::moment::{EPOCH, numeric};
/// let one_and_a_half: Vec<u8> = [0x8080u16, 1, 5000].iter().flat_map(|word| word.to_ne_bytes()).collect();
/// assert_eq!(numeric(&one_and_a_half), Some(EPOCH + 1_500_000));
/// ```
pub fn numeric(bytes: &[u8]) -> Option<i64> {
    let mut words = bytes.chunks_exact(2).filter_map(|word| word.try_into().ok().map(u16::from_ne_bytes));
    let first = words.next()?;
    let (is_negative, weight) = match first & KIND {
        SPECIAL => return None,
        // Seven bits with a sign.
        SHORT => (first & 0x2000 != 0, i32::from(((first << 9) as i16) >> 9)),
        sign => (sign == NEGATIVE, i32::from(words.next()? as i16)),
    };
    if weight > MOST_WEIGHT {
        return None;
    }
    // What is smaller than a microsecond is dropped, as in a text.
    let (mut whole, mut micros) = (0i128, 0i64);
    // Trailing zeros are not stored.
    let digits = words.chain(std::iter::repeat(0));
    for (place, digit) in (-2..=weight).rev().zip(digits) {
        match place {
            0.. => whole = whole * 10_000 + i128::from(digit),
            -1 => micros += i64::from(digit) * 100,
            _ => micros += i64::from(digit) / 100,
        }
    }
    let sign = if is_negative { -1 } else { 1 };
    match i64::try_from(whole) {
        Ok(whole) if are_seconds(whole) => in_seconds(sign * whole, sign * micros),
        _ => since_1970(sign as f64 * (whole as f64 + micros as f64 / 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EPOCH, Spoken, spoken};
    use super::*;

    /// As PostgreSQL stores it: `short` where it fits.
    fn stored(text: &str, short: bool) -> Vec<u8> {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
        let fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
        let digits = format!("{whole}{fraction}");
        let mut digits: Vec<u16> =
            digits.as_bytes().chunks(4).map(|four| str::from_utf8(four).unwrap().parse().unwrap()).collect();
        let mut weight = (whole.len() / 4) as i16 - 1;
        while digits.first() == Some(&0) {
            digits.remove(0);
            weight -= 1;
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let mut words = if short {
            vec![SHORT | if is_negative { 0x2000 } else { 0 } | (weight as u16 & 0x7f)]
        } else {
            vec![if is_negative { NEGATIVE } else { 0 }, weight as u16]
        };
        words.extend(digits);
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn it_is_read_as_its_text_is() {
        for text in [
            "0",
            "1",
            "1.5",
            "-1.5",
            "0.000001",
            "0.00000199",
            "0.0001",
            "0.00009999",
            "1704456000",
            "1704456000.123456",
            "1704456000.1234567",
            "9999.9999",
            "10000",
            "100000000",
            "99999999999.999999",
            "1704456000123",
            "1704456000123.5",
            "1704456000123456",
            "1704456000123456789",
            "-1704456000.25",
            "9000000000000000000",
        ] {
            let wanted = spoken(text.as_bytes()).map(|spoken| match spoken {
                Spoken::Moment(moment) | Spoken::Local(moment) => moment,
            });
            assert!(wanted.is_some(), "{text}");
            for short in [true, false] {
                assert_eq!(numeric(&stored(text, short)), wanted, "{text}, {short}");
            }
        }
        assert_eq!(numeric(&stored("0.00000001", true)), Some(EPOCH));
        assert_eq!(numeric(&stored("0.0000000000000001", true)), Some(EPOCH));
    }

    #[test]
    fn what_is_no_moment_is_none_and_nothing_overflows() {
        for special in [0xc000u16, 0xd000, 0xf000] {
            assert_eq!(numeric(&special.to_ne_bytes()), None);
        }
        for bytes in [&[][..], &[0], &[0, 0], &[0xff; 3]] {
            let _ = numeric(bytes);
        }
        let large = format!("1{}", "0".repeat(23));
        assert_eq!(numeric(&stored(&large, true)), None);
        assert_eq!(numeric(&stored(&format!("-{large}"), false)), None);
        assert_eq!(numeric(&stored(&format!("{large}{large}"), true)), None);
        for weight in [i16::MIN, -3, 0, 5, 6, i16::MAX] {
            let words = [0, weight as u16, u16::MAX, u16::MAX, u16::MAX, u16::MAX, u16::MAX, u16::MAX, u16::MAX];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let _ = numeric(&bytes);
        }
    }
}
