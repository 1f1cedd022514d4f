//! Invented addresses and events, the same in every run.

use postgres::Client;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;

use crate::stage::Outcome;

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Distinct public addresses in random order. Whole /8s that hold special-purpose ranges are left out: those
/// answer without a look-up.
pub fn addresses(count: usize) -> Vec<Ipv4Addr> {
    let mut random = Random::new(7);
    let mut seen = HashSet::with_capacity(count);
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let address = Ipv4Addr::from_bits((random.next() >> 32) as u32);
        let special = matches!(address.octets()[0], 0 | 10 | 100 | 127 | 169 | 172 | 192 | 198 | 203 | 224..);
        if !special && seen.insert(address) {
            all.push(address);
        }
    }
    all
}

/// Loads addresses into a table of one column.
pub fn copy_addresses(client: &mut Client, table: &str, addresses: &[Ipv4Addr]) -> Outcome<()> {
    let mut text = String::with_capacity(addresses.len() * 16);
    for address in addresses {
        let _ = writeln!(text, "{address}");
    }
    let mut copy = client.copy_in(&format!("COPY {table} FROM STDIN"))?;
    copy.write_all(text.as_bytes())?;
    copy.finish()?;
    Ok(())
}

/// Events for COPY, in batches, ready to be sent: making them must not take time during the measurement.
pub struct Events {
    /// Lines of `event_time`, `src_ip` and `payload`.
    pub batches: Vec<Vec<u8>>,
    /// How many there are.
    pub count: u64,
    /// Distinct addresses in all of them.
    pub distinct: u64,
    /// Distinct addresses of each batch, added up: the addresses that the triggers queue.
    pub queued: Vec<u64>,
}

impl Events {
    /// `count` events in batches of `batch`; `pick` chooses the address of an event by its number.
    pub fn new(count: usize, batch: usize, mut pick: impl FnMut(&mut Random, usize) -> Ipv4Addr) -> Events {
        let mut random = Random::new(11);
        let mut all = HashSet::new();
        let mut events = Events { batches: Vec::new(), count: count as u64, distinct: 0, queued: Vec::new() };
        for start in (0..count).step_by(batch) {
            let mut text = String::with_capacity(batch * 460);
            let mut distinct = HashSet::new();
            for number in start..(start + batch).min(count) {
                let address = pick(&mut random, number);
                event(&mut text, &mut random, number, address);
                distinct.insert(address);
            }
            events.queued.push(distinct.len() as u64);
            events.batches.push(text.into_bytes());
            all.extend(distinct);
        }
        events.distinct = all.len() as u64;
        events
    }
}

/// A few addresses come again and again, most hardly ever: the k-th of `pool` with a probability of about 1/k.
pub fn heavy_tailed(random: &mut Random, pool: &[Ipv4Addr]) -> Ipv4Addr {
    let at = (pool.len() as f64).powf(random.fraction()) as usize;
    pool[at.min(pool.len() - 1)]
}

/// One line of COPY: a time, an address, and about 400 bytes of JSON as a honeypot writes it.
fn event(text: &mut String, random: &mut Random, number: usize, address: Ipv4Addr) {
    let (seconds, bits) = (number / 20, random.next());
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let time = format!("2026-03-{:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", seconds / 86400 + 1, bits % 1_000_000);
    let _ = writeln!(
        text,
        "{time}\t{address}\t{{\"eventid\": \"cowrie.login.failed\", \"username\": \"root\", \"password\": \"{:08x}\", \
         \"message\": \"login attempt [root/{:08x}] failed\", \"sensor\": \"honeypot-{:02}\", \
         \"timestamp\": \"{time}\", \"src_ip\": \"{address}\", \"src_port\": {}, \"dst_ip\": \"10.0.0.5\", \
         \"dst_port\": 2222, \"session\": \"{:012x}\", \"protocol\": \"ssh\", \
         \"hassh\": \"{:016x}{:016x}\", \"duration\": {}.{}}}",
        bits as u32,
        bits as u32,
        bits % 12,
        1024 + bits % 60_000,
        bits >> 16,
        bits,
        bits.rotate_left(17),
        bits % 40,
        bits % 1000
    );
}
