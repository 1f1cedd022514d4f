//! Writing what Team Cymru said.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Cymru;
use crate::inventory::asn;
use crate::inventory::cymru as store;
use crate::inventory::cymru::Answer;
use crate::inventory::store::Lifetimes;
use crate::network::interest::{End, Interests, Source};
use crate::network::{part_in_schema, say_refused, write_or_halve};
use crate::pg::tx::Failure;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// Rows of one write, and of one transaction.
const BATCH: usize = 5_000;
const TRANSACTION: usize = 20_000;
/// How long a row that can't be written is left alone.
const HELD: Duration = Duration::from_secs(600);

impl Cymru {
    /// Writes what came, a transaction's worth of it.
    pub fn write(&mut self, lifetimes: &Lifetimes, interests: &mut Interests) {
        let idle = !self.is_unwritten() && self.prefixes.is_empty() && self.names.learned.is_empty();
        if idle && self.names.unknown().is_empty() || self.write_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.write_at = None;
        let unknown = self.names.unknown();
        let found = if unknown.is_empty() {
            Ok(Vec::new())
        } else {
            part_in_schema(Work::CymruWrite, |schema| asn::names(schema, &unknown))
        };
        self.ready.extend(self.names.found(found.unwrap_or_default()));

        let ready = first(&mut self.ready);
        let (failed, skipped) = (first(&mut self.failed), first(&mut self.skipped));
        let (prefixes, learned) = (std::mem::take(&mut self.prefixes), std::mem::take(&mut self.names.learned));
        let names = std::mem::take(&mut self.bulk_names);
        let mut locked: Vec<(IpAddr, Answer)> = Vec::new();
        let mut broken: Vec<(IpAddr, Failure)> = Vec::new();
        let mut nameless = 0;
        let written = part_in_schema(Work::CymruWrite, |schema| {
            for part in prefixes.chunks(BATCH) {
                store::keep_prefixes(schema, part, lifetimes);
            }
            write_or_halve(&learned, &mut |part| asn::keep_details(schema, part), &mut |about, failure| {
                nameless += 1;
                if nameless == 1 {
                    pgrx::log!("asn_inventory: AS{} can't be written: {}", about.asn, failure.message);
                }
            });
            for part in names.chunks(BATCH) {
                asn::keep_names(schema, part);
            }
            for part in ready.chunks(BATCH) {
                pgrx::check_for_interrupts!();
                let mut write = |rows: &[(IpAddr, Answer)]| {
                    let _ = store::write(schema, rows);
                };
                write_or_halve(part, &mut write, &mut |(ip, answer), failure| {
                    if failure.is_lock() {
                        locked.push((*ip, answer.clone()));
                    } else {
                        broken.push((*ip, failure.clone()));
                    }
                });
            }
            for (reason, ips) in by_reason(&failed) {
                if !reason.is_empty() {
                    write_or_halve(&ips, &mut |part| store::fail(schema, part, reason), &mut |_, _| {});
                }
            }
            for (reason, ips) in by_reason(&skipped) {
                write_or_halve(&ips, &mut |part| store::skip(schema, part, reason), &mut |_, _| {});
            }
        });
        if let Err(failure) = written {
            if watched::is_news(Work::CymruWrite, &failure) {
                pgrx::log!(
                    "asn_inventory: answers of Team Cymru could not be written, trying again: {}",
                    failure.message
                );
            }
            self.write_at = Some(Instant::now() + Duration::from_secs(1));
            self.prefixes.extend(prefixes);
            self.names.learned.extend(learned);
            self.bulk_names.extend(names);
            self.ready.extend(ready);
            self.failed.extend(failed);
            self.skipped.extend(skipped);
            return;
        }
        self.written |= !ready.is_empty();
        let unwritten: HashSet<IpAddr> =
            locked.iter().map(|(ip, _)| *ip).chain(broken.iter().map(|(ip, _)| *ip)).collect();
        for (ip, answer) in ready.iter().filter(|(ip, _)| !unwritten.contains(ip)) {
            interests.settle(*ip, Source::Cymru, if answer.asn.is_some() { End::Found(true) } else { End::NotFound });
        }
        say_refused(Work::CymruWrite, &broken);
        for (ip, _) in broken {
            self.held.insert(ip, Instant::now() + HELD);
            interests.settle(ip, Source::Cymru, End::Failed);
        }
        failed.iter().for_each(|(ip, _)| interests.settle(*ip, Source::Cymru, End::Failed));
        skipped.iter().for_each(|(ip, _)| interests.settle(*ip, Source::Cymru, End::Skipped));
        if self.held.is_empty() {
            watched::succeeded(Work::CymruWrite);
        }
        if !locked.is_empty() {
            self.write_at = Some(Instant::now() + Duration::from_secs(1));
            self.ready.extend(locked);
        }
    }
}

/// A transaction's worth of rows.
fn first<R>(rows: &mut Vec<R>) -> Vec<R> {
    let rest = rows.split_off(rows.len().min(TRANSACTION));
    std::mem::replace(rows, rest)
}

/// Rows by what is said of them.
pub fn by_reason<R: AsRef<str>>(rows: &[(IpAddr, R)]) -> HashMap<&str, Vec<IpAddr>> {
    let mut by: HashMap<&str, Vec<IpAddr>> = HashMap::new();
    for (ip, reason) in rows {
        by.entry(reason.as_ref()).or_default().push(*ip);
    }
    by.values_mut().for_each(|ips| ips.sort_unstable());
    by
}
