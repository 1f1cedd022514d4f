//! The ledger of the fake world: in the table that of one account, in the file those of all.

use super::super::batch::Refusal;
use super::super::effect::Effect;
use super::World;
use crate::fetcher::Request;
use crate::quota::Ledger;
use crate::quota::shared::Account;

impl World {
    /// As the table has it, or the file, if the table has another account's.
    pub(super) fn read_ledger(&mut self, account: &Account) -> Ledger {
        if let Some(of) = self.ledger_of.clone().filter(|of| of != account) {
            self.file.insert(of, self.ledger);
            self.ledger = self.file.get(account).copied().unwrap_or_default();
        }
        self.ledger_of = Some(account.clone());
        self.ledger
    }

    /// Sent questions are never forgotten.
    pub(super) fn keep(&mut self, account: &Account, ledger: Ledger) {
        let sent = self.sent.get(&(account.clone(), ledger.window_start)).copied().unwrap_or(0);
        assert!(ledger.used >= sent, "{sent} were sent: {ledger:?}");
        self.file.insert(account.clone(), ledger);
        (self.ledger, self.ledger_of) = (ledger, Some(account.clone()));
    }

    /// The ledger pays for questions of its account.
    pub(super) fn pay(&mut self, account: Account, ledger: Ledger, pays: u64) {
        self.keep(&account, ledger);
        if pays > 0 {
            assert!(ledger.used <= self.settings.greynoise_quota, "{ledger:?}");
            self.last_paid = Some((account, ledger.window_start));
        }
    }

    /// Questions that are asked were paid for just before.
    pub(super) fn note_paid(&mut self, effect: &Effect) {
        let Effect::Ask(requests) = effect else { return };
        for request in requests {
            if let (Request::Scanner(ip), Some(paid)) = (request, &self.last_paid) {
                self.paid.insert(*ip, paid.clone());
            }
        }
    }

    pub(super) fn refusal_to_reopen(&self) -> Option<Refusal> {
        let Self { faults, .. } = self;
        (faults.ledger || faults.reopening)
            .then(|| Refusal { lock: !faults.reopening, message: "cannot be made due".to_owned() })
    }
}
