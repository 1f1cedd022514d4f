//! The cost of the inner loops, without PostgreSQL: `cargo bench -p enrich`, or a part: `cargo bench -p enrich --
//! lookup`.
//!
//! The figures depend on the machine: compare two runs on one. `make bench` measures the user's view.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use enrich::address::{classify, parse_host};
use enrich::cymru::Origin;
use enrich::cymru::rounds::Rounds;
use enrich::maxmind::{Edition, Store};
use enrich::pack::{Entry, Packer, unpack};

// The files come from the tests' own writer.
#[allow(dead_code, unused_imports)]
#[path = "../../pgrx-tests/src/mmdb/mod.rs"]
mod mmdb;

/// Addresses of one round: more than stay in the fastest cache.
const ADDRESSES: usize = 10_000;

/// Addresses all over the IPv4 space, the same in every run.
fn addresses() -> Vec<IpAddr> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    (0..ADDRESSES).map(|_| IpAddr::V4(Ipv4Addr::from(next()))).collect()
}

fn lookup(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let files = dir.path().join("files");
    std::fs::create_dir(&files).expect("made");
    let editions = ["GeoLite2-City", "GeoLite2-ASN"].map(|name| Edition::new(name).expect("an edition"));
    let plans = [mmdb::synthetic::Plan::full_city(1, 1_700_000_000), mmdb::synthetic::Plan::full_asn(1, 1_700_000_000)];
    for (edition, plan) in editions.iter().zip(plans) {
        plan.smaller(10).write(&files.join(edition.file_name())).expect("written");
    }
    let store = Store::new(dir.path().join("store"));
    store.import(&files, &editions, true, &|| ()).expect("imported");
    let (_, databases, troubles) = store.open(&editions).expect("opened");
    assert!(troubles.is_empty(), "{troubles:?}");
    let addresses = addresses();
    let mut group = c.benchmark_group("lookup");
    group.throughput(Throughput::Elements(ADDRESSES as u64));
    group.bench_function("answer", |b| {
        b.iter(|| addresses.iter().for_each(|ip| _ = black_box(databases.answer(black_box(*ip)))));
    });
    group.bench_function("place", |b| {
        b.iter(|| addresses.iter().for_each(|ip| _ = black_box(databases.place(black_box(*ip)))));
    });
    group.bench_function("origin", |b| {
        b.iter(|| addresses.iter().for_each(|ip| _ = black_box(databases.asn(black_box(*ip)))));
    });
    group.finish();
}

fn address(c: &mut Criterion) {
    let addresses = addresses();
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let urls: Vec<String> = addresses.iter().map(|ip| format!("http://user@{ip}:8080/a/b?c=d")).collect();
    let mut group = c.benchmark_group("address");
    group.throughput(Throughput::Elements(ADDRESSES as u64));
    group.bench_function("classify", |b| {
        b.iter(|| addresses.iter().for_each(|ip| _ = black_box(classify(black_box(*ip)))));
    });
    for (name, texts) in [("parse_host", &texts), ("parse_host of a URL", &urls)] {
        group.bench_function(name, |b| {
            b.iter(|| texts.iter().for_each(|text| _ = black_box(parse_host(black_box(text.as_bytes())))));
        });
    }
    group.finish();
}

fn pack(c: &mut Criterion) {
    let at = 817_000_000_000_000;
    let entries: Vec<Entry> = addresses()
        .into_iter()
        .zip(0i64..)
        .map(|(ip, n)| Entry { ip, count: 1 + n % 7, first: at + n, last: at + n * 1000 })
        .collect();
    let filled = |packer: &mut Packer| entries.iter().for_each(|entry| packer.push(entry));
    let mut packed = Packer::new(at, 1 << 20);
    filled(&mut packed);
    let mut group = c.benchmark_group("pack");
    group.throughput(Throughput::Elements(ADDRESSES as u64));
    group.bench_function("pack", |b| {
        b.iter_batched_ref(|| Packer::new(at, 1 << 20), filled, BatchSize::LargeInput);
    });
    group.bench_function("unpack", |b| b.iter(|| black_box(unpack(packed.bytes()).count())));
    group.finish();
}

fn rounds(c: &mut Criterion) {
    let mut group = c.benchmark_group("rounds");
    group.throughput(Throughput::Elements(ADDRESSES as u64));
    let addresses: Vec<(IpAddr, u64)> = addresses().into_iter().zip(1..).collect();
    group.bench_function("asked and answered", |b| {
        b.iter_batched(
            || addresses.clone(),
            |addresses| {
                let mut rounds = Rounds::new(addresses);
                while !rounds.is_empty() {
                    for ip in rounds.next(1000) {
                        black_box(rounds.answer(ip, &Origin::NotAnnounced));
                    }
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, lookup, address, pack, rounds);
criterion_main!(benches);
