//! Carries out effects.

use enrich::campaign::effect::Effect;
use enrich::campaign::event::Event;
use enrich::fetcher::Request;
use pgrx::PgSqlErrorCode;

use super::ask;
use super::say;
use super::side::Network;
use super::tables;
use super::tables::{in_schema, part_in_schema, refusal};
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
            Effect::FindNames(asns) => Some(Event::NamesFound(
                part_in_schema(Work::CymruWrite, |schema| asn::names(schema, &asns)).unwrap_or_default(),
            )),
            Effect::WriteCymru(batch) => {
                let written = tables::write_cymru(&batch);
                Some(Event::CymruWritten(batch, written))
            }
            Effect::WriteGreyNoise(batch) => {
                let written = tables::write_greynoise(&batch);
                Some(Event::GreyNoiseWritten(batch, written))
            }
            Effect::ReadLedger => {
                let read = part_in_schema(Work::Ledger, |schema| Some(greynoise::ledger(schema))).ok().flatten();
                if let Some(ledger) = &read {
                    self.share.tell(ledger);
                }
                Some(Event::LedgerRead(read))
            }
            Effect::KeepLedger { ledger, pays } => {
                // First what all databases share: a crash in between loses some of the quota, and overspends none.
                let paid = match pays {
                    0 => self.share.note(&ledger),
                    _ => self.share.pay(&ledger, self.settings.greynoise_quota),
                };
                if let Err(refusal) = &paid
                    && !refusal.lock
                {
                    let (code, message) = (PgSqlErrorCode::ERRCODE_IO_ERROR, refusal.message.clone());
                    watched::failed(Work::Ledger, &tx::Failure { code, message });
                }
                let kept = paid.and_then(|()| {
                    in_schema(Work::Ledger, |schema| greynoise::keep_ledger(schema, &ledger)).map_err(refusal)
                });
                Some(Event::LedgerKept { pays, refused: kept.err() })
            }
            Effect::Reopen { ledger, waiting } => {
                Some(Event::Reopened(tables::reopen(&ledger, &waiting).map_err(refusal)))
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
