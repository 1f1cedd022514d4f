//! Which rows of an attached table are events: see [`enrich::condition`].
#![allow(unsafe_code, reason = "reads values by the types of their columns")]

use enrich::condition::{Condition, Test};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::scalar::{Guarded, NoScalar, Scalar, type_name};

/// A condition on rows of one table.
pub struct Only {
    tests: Vec<Compared>,
    /// It cannot be read any more, and no row meets it.
    is_broken: bool,
}

/// One comparison.
struct Compared {
    value: Scalar,
    is_one: bool,
    /// In the server's encoding.
    literals: Vec<Vec<u8>>,
}

/// Why a condition does not fit a table.
pub enum Unfit {
    /// One of its values cannot be read.
    Value(NoScalar),
    /// A text that no value of the column's type has: the column, its type, the text.
    NeverEqual(String, String, String),
}

impl Only {
    /// The condition on rows of `desc`.
    ///
    /// # Safety
    /// `desc` must be a valid descriptor.
    pub unsafe fn new(condition: &Condition, desc: pg_sys::TupleDesc) -> Result<Only, Unfit> {
        // SAFETY: see above.
        let tests = condition.0.iter().map(|test| unsafe { Compared::new(test, desc) }).collect::<Result<_, _>>()?;
        Ok(Only { tests, is_broken: false })
    }

    /// What no row meets.
    pub fn nothing() -> Only {
        Only { tests: Vec::new(), is_broken: true }
    }

    /// Whether a row meets it. `value` reads a column. Pallocs in the current context.
    ///
    /// # Safety
    /// `value` must give the values of a row of the table.
    pub unsafe fn is_met(&self, value: impl Fn(i16) -> Option<Datum>) -> bool {
        // SAFETY: see above.
        let met = |test: &Compared| value(test.value.attribute()).is_some_and(|datum| unsafe { test.is_met(datum) });
        !self.is_broken && self.tests.iter().all(met)
    }

    /// The same inside a guard (see [`crate::pg::raw`]); `None`: [`Only::is_met`] must be asked outside.
    ///
    /// # Safety
    /// As [`Only::is_met`].
    #[inline]
    pub unsafe fn is_met_in_guard(&self, value: impl Fn(i16) -> Option<Datum>) -> Option<bool> {
        for test in &self.tests {
            let Some(datum) = value(test.value.attribute()) else { return Some(false) };
            // SAFETY: see above.
            if !unsafe { test.is_met_in_guard(datum) }? {
                return Some(false);
            }
        }
        Some(!self.is_broken)
    }
}

impl Compared {
    unsafe fn new(test: &Test, desc: pg_sys::TupleDesc) -> Result<Compared, Unfit> {
        // SAFETY: see above.
        let value = unsafe { Scalar::new(&test.value, desc) }.map_err(Unfit::Value)?;
        // SAFETY: as above.
        let kind = || unsafe { type_name(desc, value.attribute()) };
        let never = |literal: &String| Unfit::NeverEqual(test.value.column.clone(), kind(), literal.clone());
        let literals = test
            .literals
            .iter()
            .map(|literal| value.written(literal).ok_or_else(|| never(literal)))
            .collect::<Result<_, _>>()?;
        Ok(Compared { value, is_one: test.is_one, literals })
    }

    fn is(&self, value: &[u8]) -> bool {
        self.literals.iter().any(|literal| literal == value) == self.is_one
    }

    unsafe fn is_met(&self, datum: Datum) -> bool {
        // SAFETY: a value of the column.
        unsafe { self.value.read(datum, |value| self.is(value)) == Some(true) }
    }

    #[inline]
    unsafe fn is_met_in_guard(&self, datum: Datum) -> Option<bool> {
        // SAFETY: a value of the column.
        match unsafe { self.value.read_in_guard(datum, |value| self.is(value)) } {
            Guarded::Read(is) => Some(is),
            Guarded::Nothing => Some(false),
            Guarded::Other => None,
        }
    }
}
