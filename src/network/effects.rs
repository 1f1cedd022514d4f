//! Carries out effects.

use enrich::campaign::batch::Refusal;
use enrich::campaign::effect::Effect;
use enrich::campaign::event::Event;
use enrich::fetcher::Request;
use enrich::quota::Ledger;
use enrich::quota::shared::{Account, Kept, NotSpent, Writer};
use pgrx::PgSqlErrorCode;

use super::ask;
use super::say;
use super::side::Network;
use super::tables;
use super::tables::{part_in_schema, refusal};
use crate::inventory::distrust::Doubt;
use crate::inventory::{asn, greynoise};
use crate::pg::{time, tx};
use crate::shared::trouble::Work;
use crate::shared::{source, watched};

impl Network {
    /// Carries it out, and returns the result, if there is one.
    pub(super) fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Claim(claim) => {
                let found = tables::find(&claim);
                if let (Some(_), Err(failure)) = (claim.asker.job(), &found)
                    // A lock alone is waited for without end: what else failed says more.
                    && self.unclaimed.as_ref().is_none_or(tx::Failure::is_lock)
                {
                    self.unclaimed = Some(failure.clone());
                }
                Some(Event::Claimed(claim, found.ok()))
            }
            Effect::Ask(requests) => self.submit(requests),
            Effect::FindNames(asns) => {
                let found = part_in_schema(Work::CymruWrite, |schema| Some(asn::names(schema, &asns))).ok().flatten();
                Some(Event::NamesFound(asns, found))
            }
            Effect::WriteCymru(batch) => {
                let written = tables::write_cymru(&batch);
                Some(Event::CymruWritten(batch, written))
            }
            Effect::WriteGreyNoise(batch) => {
                let written = tables::write_greynoise(&batch);
                Some(Event::GreyNoiseWritten(batch, written))
            }
            Effect::ReadLedger(account) => {
                let read = self.read_ledger(&account);
                Some(Event::LedgerRead(account, read))
            }
            Effect::KeepLedger { account, ledger, pays } => {
                // First what all databases share: a crash in between loses some of the quota, and overspends none.
                let paid = match pays {
                    0 => self.share.note(&account, &ledger),
                    _ => self.share.pay(&account, &ledger, self.settings.greynoise_quota),
                };
                let is_tried = !matches!(paid, Err(NotSpent::Others));
                let kept = paid.map_err(unpaid).and_then(|()| tables::keep_ledger(&account, &ledger).map_err(refusal));
                if kept.is_ok() {
                    // Before what it pays for is sent.
                    self.show_ledger(Some(ledger));
                }
                if is_tried {
                    self.ledger_unwritten = kept.is_err();
                }
                Some(Event::LedgerKept { pays, refused: kept.err() })
            }
            Effect::Reopen { account, ledger, waiting } => {
                let reopened = tables::reopen(&account, &ledger, &waiting).map_err(refusal);
                self.ledger_unwritten &= reopened.is_err();
                Some(Event::Reopened(reopened))
            }
            Effect::AllReopened => {
                watched::succeeded(Work::Reopen);
                None
            }
            Effect::Unskip(source, which) => {
                Some(Event::Unskipped(source, tables::unskip(source, &which).map_err(refusal)))
            }
            Effect::Wake(ticket) => {
                ask::done(ticket);
                None
            }
            Effect::ReadKey => {
                let reference = &self.settings.greynoise_key;
                self.key.resolve("greynoise_api_key", reference, self.settings.resolver());
                None
            }
            Effect::ForgetKey => {
                self.key.forget();
                None
            }
            Effect::RefuseKey => {
                self.key.refuse();
                None
            }
            Effect::Reconfigure => {
                self.reconfigure();
                None
            }
            Effect::Doubt => {
                self.recheck.doubt(Doubt::NoRoute);
                None
            }
            Effect::RowsChanged => {
                self.written = true;
                None
            }
            Effect::AllWritten(source) => {
                watched::succeeded(tables::write_of(source));
                None
            }
            Effect::AllUnskipped => {
                watched::succeeded(Work::Unskip);
                None
            }
            Effect::Count { source: of, failure } => {
                if let Some(shown) = self.slot().and_then(|slot| source::of(&slot.sources, of)) {
                    shown.outcome(failure.as_ref(), time::now());
                }
                None
            }
            Effect::NoteWay(way, reason) => {
                if let Some(slot) = self.slot() {
                    slot.ways[way.index()].note(&reason);
                }
                None
            }
            Effect::Say(news) => {
                say::say(news);
                None
            }
        }
    }

    /// The ledger of an account, by the table and the file of all databases. Where the table has another one's, that is put away
    /// in the file first: a kill in between changes nothing.
    fn read_ledger(&mut self, account: &Account) -> Option<Ledger> {
        let row = part_in_schema(Work::Ledger, |schema| Some(greynoise::ledger(schema))).ok().flatten()?;
        let ledger = self.share.ledger_of(account, row.as_ref()).map_err(unpaid).ok()?;
        let is_there = match &row {
            Some(row) => *row == Kept { account: Some(account.clone()), ledger, writer: Writer::Own },
            None => ledger == Ledger::default(),
        };
        if !is_there {
            self.ledger_unwritten = tables::keep_ledger(account, &ledger).is_err();
        }
        // That it can be read says nothing of a failure to write it.
        if !self.ledger_unwritten {
            watched::succeeded(Work::Ledger);
        }
        self.share.tell(account, &ledger);
        Some(ledger).filter(|_| is_there || !self.ledger_unwritten)
    }

    /// Hands questions to the network thread, which starts with the first of them.
    fn submit(&mut self, requests: Vec<Request>) -> Option<Event> {
        if self.fetcher.is_none()
            && let Err(error) = self.start()
        {
            pgrx::warning!("asn_inventory: the network thread cannot be started: {error}");
            return Some(Event::Lost(requests));
        }
        if let Some(fetcher) = &self.fetcher {
            requests.into_iter().for_each(|request| fetcher.submit(request));
        }
        None
    }
}

/// Why the file of all databases has not been paid, in the words of the campaign. That the others have spent the quota is no
/// trouble; that one of them holds the file is, if it lasts.
fn unpaid(reason: NotSpent) -> Refusal {
    let code = match &reason {
        NotSpent::Others => None,
        NotSpent::Busy(_) => Some(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE),
        NotSpent::Io(..) => Some(PgSqlErrorCode::ERRCODE_IO_ERROR),
    };
    let (is_io, message) = (matches!(reason, NotSpent::Io(..)), reason.to_string());
    if let Some(code) = code {
        watched::failed(Work::Ledger, &tx::Failure { code, message: message.clone() });
    }
    Refusal { lock: !is_io, message }
}
