//! The slot through which a session waits for one address, and the rules for its changes.
//!
//! ```text
//! FREE ─claim→ FILLING ─ask→ ASKED ─take→ TAKEN ─answer→ ANSWERED        the session: claim, ask, free
//!   ▲                          ▲────take_back──┘             │           the worker: take, answer, take_back
//!   └──────────────────────────free──────────────────────────┘
//! ```
//!
//! State and number are in one word, so that no change of the owner is missed, and the number is another one for each
//! owner: a late answer must not be taken for the answer to the next question in the slot.

use std::sync::atomic::{AtomicU64, Ordering};

const FREE: u64 = 0;
const FILLING: u64 = 1;
const ASKED: u64 = 2;
const TAKEN: u64 = 3;
const ANSWERED: u64 = 4;
/// Bits of a state; above them stands the number.
const STATE: u64 = 7;

/// One of a session's questions, among all that ever had its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Place of the slot.
    pub slot: usize,
    /// Which of its questions.
    pub number: u64,
}

/// A slot. All-zero is a free one.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Slot(AtomicU64);

/// A question that was seen to wait.
#[derive(Clone, Copy, Debug)]
pub struct Asked(u64);

impl Slot {
    /// Takes a slot that has no owner, or whose owner is gone: with a new number, which is given back.
    pub fn claim(&self, owner_is_gone: impl FnOnce() -> bool) -> Option<u64> {
        let seen = self.0.load(Ordering::Acquire);
        if seen & STATE != FREE && !is_orphan(seen, owner_is_gone) {
            return None;
        }
        let next = (seen & !STATE).wrapping_add(STATE + 1) | FILLING;
        self.change(seen, next).then_some(next & !STATE)
    }

    /// Whether it has an owner. A slot whose owner is gone counts as free.
    pub fn is_held(&self, owner_is_gone: impl FnOnce() -> bool) -> bool {
        let seen = self.0.load(Ordering::Acquire);
        seen & STATE != FREE && !is_orphan(seen, owner_is_gone)
    }

    /// The owner asks; the question's content is beside the slot.
    pub fn ask(&self, number: u64) {
        self.0.store(number | ASKED, Ordering::Release);
    }

    /// The owner goes.
    pub fn free(&self, number: u64) {
        self.0.store(number | FREE, Ordering::Release);
    }

    /// Whether the owner's question was answered.
    pub fn is_answered(&self, number: u64) -> bool {
        self.0.load(Ordering::Acquire) == number | ANSWERED
    }

    /// A question that waits for the worker. The content beside the slot is read between this and [`take`](Slot::take).
    pub fn asked(&self) -> Option<Asked> {
        let seen = self.0.load(Ordering::Acquire);
        (seen & STATE == ASKED).then_some(Asked(seen))
    }

    /// The worker takes a question, if all is still as it was seen. Its number.
    pub fn take(&self, Asked(seen): Asked) -> Option<u64> {
        let number = seen & !STATE;
        self.change(seen, number | TAKEN).then_some(number)
    }

    /// The worker answers. False: the asking session has gone.
    pub fn answer(&self, number: u64) -> bool {
        self.change(number | TAKEN, number | ANSWERED)
    }

    /// A new worker: questions that the previous one had taken wait again.
    pub fn take_back(&self) {
        let seen = self.0.load(Ordering::Acquire);
        if seen & STATE == TAKEN {
            // Otherwise the asking session has just gone.
            let _ = self.change(seen, seen & !STATE | ASKED);
        }
    }

    fn change(&self, seen: u64, next: u64) -> bool {
        self.0.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// Before a slot names its owner, it is unknown whether the owner is gone.
fn is_orphan(seen: u64, owner_is_gone: impl FnOnce() -> bool) -> bool {
    seen & STATE >= ASKED && owner_is_gone()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: fn() -> bool = || false;
    const GONE: fn() -> bool = || true;

    fn taken(slot: &Slot) -> u64 {
        let number = slot.claim(HERE).unwrap();
        slot.ask(number);
        assert_eq!(slot.take(slot.asked().unwrap()), Some(number));
        number
    }

    #[test]
    fn an_answer_reaches_who_asked() {
        let slot = Slot::default();
        let number = taken(&slot);
        assert!(slot.is_held(HERE) && !slot.is_answered(number) && slot.asked().is_none());
        assert!(slot.answer(number) && slot.is_answered(number));
        slot.free(number);
        assert!(!slot.is_held(HERE));
    }

    #[test]
    fn a_late_answer_is_none_to_the_next_owner() {
        let slot = Slot::default();
        let late = taken(&slot);
        slot.free(late);
        assert!(!slot.answer(late), "it has gone");
        let next = taken(&slot);
        assert!(!slot.answer(late) && !slot.is_answered(next));
        assert!(slot.answer(next) && slot.is_answered(next));
    }

    #[test]
    fn a_worker_takes_over_what_the_one_before_had_taken() {
        let slot = Slot::default();
        let number = taken(&slot);
        slot.take_back();
        assert_eq!(slot.take(slot.asked().unwrap()), Some(number));
        assert!(slot.answer(number));
        slot.take_back();
        assert!(slot.is_answered(number), "an answer stays one");
    }

    #[test]
    fn a_slot_is_taken_from_the_dead_and_from_nobody_else() {
        let slot = Slot::default();
        let number = slot.claim(HERE).unwrap();
        assert_eq!(slot.claim(GONE), None, "it is being filled in: whose it is, nobody knows yet");
        slot.ask(number);
        assert_eq!(slot.claim(HERE), None);
        let seen = slot.asked().unwrap();
        assert!(!slot.is_held(GONE));
        assert!(slot.claim(GONE).is_some_and(|next| next != number));
        assert_eq!(slot.take(seen), None, "what was read belongs to another question");
    }
}
