//! Values of any type: those of the wanted shape are kept, the others are passed over. Never an error for a wrong type,
//! and never one for a key that comes twice: the first value that fits counts.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value of the wanted shape, or nothing.
pub(super) struct Any<T>(pub Option<T>);

impl<T> Default for Any<T> {
    fn default() -> Self {
        Any(None)
    }
}

impl<'de, T: Shape<'de>> Deserialize<'de> for Any<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(AnyVisitor(PhantomData)).map(Any)
    }
}

/// How a shape converts each kind of value; kinds that it does not mention do not fit.
pub(super) trait Shape<'de>: Sized {
    fn text(_: Cow<'de, str>) -> Option<Self> {
        None
    }
    fn number(_: f64) -> Option<Self> {
        None
    }
    fn truth(_: bool) -> Option<Self> {
        None
    }
    fn map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn seq<A: SeqAccess<'de>>(seq: A) -> Result<Option<Self>, A::Error> {
        IgnoredAny::deserialize(SeqAccessDeserializer::new(seq)).map(|_| None)
    }
}

/// Text that is not copied where the file has it as it is.
pub(super) type Text<'de> = Cow<'de, str>;

impl<'de> Shape<'de> for Text<'de> {
    fn text(text: Cow<'de, str>) -> Option<Self> {
        Some(text)
    }
}

impl<'de> Shape<'de> for f64 {
    fn number(number: f64) -> Option<Self> {
        number.is_finite().then_some(number)
    }
}

/// A number that some vendors write as text.
pub(super) struct Degrees(pub f64);

impl<'de> Shape<'de> for Degrees {
    fn text(text: Cow<'de, str>) -> Option<Self> {
        degrees(&text).map(Degrees)
    }
    fn number(number: f64) -> Option<Self> {
        f64::number(number).map(Degrees)
    }
}

/// A decimal number in a text: no exponent, no `inf`, no `nan`, all of which `parse` would take.
pub(super) fn degrees(text: &str) -> Option<f64> {
    const MAX_DIGITS: usize = 32;
    let text = text.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    if plain && text.len() <= MAX_DIGITS { text.parse().ok().and_then(f64::number) } else { None }
}

/// An AS number, as a number or as text (`AS15169`, `15169`); `None` where it is none.
#[derive(Default)]
pub(super) struct Number(pub Option<u32>);

impl<'de> Shape<'de> for Number {
    fn text(text: Cow<'de, str>) -> Option<Self> {
        Some(Number(asn(&text)))
    }
    fn number(number: f64) -> Option<Self> {
        let fits = number.fract() == 0.0 && (0.0..=4_294_967_295.0).contains(&number);
        Some(Number(fits.then_some(number as u32)))
    }
}

fn asn(text: &str) -> Option<u32> {
    let text = text.trim();
    let prefixes = ["ASN", "AS"].into_iter();
    let named = prefixes
        .filter_map(|prefix| text.split_at_checked(prefix.len()).filter(|(head, _)| head.eq_ignore_ascii_case(prefix)));
    let digits = named.map(|(_, rest)| rest.trim_start()).next().unwrap_or(text);
    // No sign: `parse` would take one.
    let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
    digits.parse().ok()
}

/// A truth value, which some vendors write as text or as a number.
pub(super) struct Truth(pub bool);

impl<'de> Shape<'de> for Truth {
    fn text(text: Cow<'de, str>) -> Option<Self> {
        let is = |word: &str| text.trim().eq_ignore_ascii_case(word);
        if is("true") || is("1") { Some(Truth(true)) } else { (is("false") || is("0")).then_some(Truth(false)) }
    }
    fn number(number: f64) -> Option<Self> {
        (number == 0.0 || number == 1.0).then_some(Truth(number == 1.0))
    }
    fn truth(truth: bool) -> Option<Self> {
        Some(Truth(truth))
    }
}

/// The first element of an array.
#[derive(Default)]
pub(super) struct First<T>(pub T);

impl<'de, T: Deserialize<'de> + Default> Shape<'de> for First<T> {
    fn seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let first = seq.next_element::<T>()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first.map(First))
    }
}

/// Names by their languages, in the order of the file.
#[derive(Default)]
pub(super) struct Names<'de>(pub Vec<(Text<'de>, Text<'de>)>);

impl<'de> Shape<'de> for Names<'de> {
    fn map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut names = Vec::new();
        while let Some((language, name)) = map.next_entry::<Any<Text<'de>>, Any<Text<'de>>>()? {
            names.extend(language.0.zip(name.0));
        }
        Ok(Some(Names(names)))
    }
}

/// Defines a map of known keys. Each key is a field, whose value is kept where it has the shape; a key that is a word of Rust
/// stands behind the field's name.
macro_rules! map_of {
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    ($(#[$doc:meta])* $name:ident { $($field:ident $(= $key:literal)?: $shape:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name<'de> {
            $(pub $field: Any<$shape>,)*
            pub of: std::marker::PhantomData<&'de ()>,
        }

        impl<'de> Shape<'de> for $name<'de> {
            fn map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
                let mut all = $name::default();
                while let Some(Any(key)) = map.next_key::<Any<Text<'de>>>()? {
                    match key.as_deref() {
                        $(Some(map_of!(@key $field $($key)?)) => {
                            let Any(value) = map.next_value::<Any<$shape>>()?;
                            all.$field.0 = all.$field.0.or(value);
                        })*
                        _ => { map.next_value::<IgnoredAny>()?; }
                    }
                }
                Ok(Some(all))
            }
        }
    };
}
pub(super) use map_of;

struct AnyVisitor<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> Visitor<'de> for AnyVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
        Ok(T::text(Cow::Borrowed(v)))
    }
    fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
        Ok(T::text(Cow::Owned(v.to_owned())))
    }
    fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
        Ok(T::truth(v))
    }
    fn visit_f32<E>(self, v: f32) -> Result<Self::Value, E> {
        // By its shortest text: 51.5 and not 51.50000000000001, where a vendor keeps degrees in 32 bits.
        Ok(T::number(v.to_string().parse().unwrap_or(f64::from(v))))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
        Ok(T::number(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
        Ok(T::number(v as f64))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
        Ok(T::number(v as f64))
    }
    fn visit_u128<E>(self, v: u128) -> Result<Self::Value, E> {
        Ok(T::number(v as f64))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::map(map)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        T::seq(seq)
    }
}
