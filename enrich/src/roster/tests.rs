use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn written(path: &Path, ips: &[IpAddr]) -> u64 {
    write(path, ips.iter().map(|ip| Ok(entry(*ip)))).expect("written")
}

fn names(dir: &Path) -> Vec<String> {
    let name = |found: io::Result<fs::DirEntry>| found.expect("an entry").file_name().to_string_lossy().into_owned();
    fs::read_dir(dir).expect("a directory").map(name).collect()
}

#[test]
fn each_reads_its_own_part() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("1.ips");
    let ips: Vec<IpAddr> = ["8.8.8.8", "::ffff:8.8.8.8", "2001:4860::8888", "0.0.0.0", "::"].map(ip).into();
    assert_eq!(written(&path, &ips), 5);
    let list = Roster::open(&path, Some(5)).expect("a list");
    assert_eq!(list.total(), 5);
    assert_eq!(list.read(0, 2).expect("two"), ips[..2]);
    assert_eq!(list.read(2, 100).expect("the rest"), ips[2..]);
    assert!(list.read(5, 9).expect("none").is_empty());
    assert!(list.read(7, 9).expect("none").is_empty());
    assert_eq!(names(dir.path()), ["1.ips"]);
}

#[test]
fn what_is_missing_or_no_address_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("1.ips");
    let error = |total| Roster::open(&path, total).expect_err("not a list").to_string();
    written(&path, &["8.8.8.8", "9.9.9.9"].map(ip));
    assert_eq!(error(Some(3)), "it has 2 of 3 addresses");
    let mut bytes = fs::read(&path).expect("bytes");
    bytes.push(4);
    fs::write(&path, &bytes).expect("written");
    assert_eq!(error(Some(2)), "entry 3 is not an address");
    assert_eq!(error(None), "entry 3 is not an address");
    for (at, byte) in [(WIDTH, 5), (2 * WIDTH - 1, 1)] {
        let mut bytes = bytes[..2 * WIDTH].to_vec();
        bytes[at] = byte;
        fs::write(&path, &bytes).expect("written");
        let list = Roster::open(&path, Some(2)).expect("as long as it should be");
        assert_eq!(list.read(0, 1).expect("the first"), ["8.8.8.8"].map(ip));
        assert_eq!(list.read(0, 2).expect_err("no address").to_string(), "entry 2 is not an address");
    }
}

#[test]
fn a_list_that_fails_leaves_the_one_before_and_no_draft() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("1.ips");
    written(&path, &["8.8.8.8"].map(ip));
    let failing = [Ok(entry(ip("9.9.9.9"))), Err(io::Error::other("no more"))];
    assert_eq!(write(&path, failing.into_iter()).expect_err("an error").to_string(), "no more");
    assert_eq!(names(dir.path()), ["1.ips"]);
    assert_eq!(Roster::open(&path, Some(1)).expect("a list").read(0, 1).expect("one"), ["8.8.8.8"].map(ip));
}

#[test]
fn runs_have_no_name_on_the_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sorter = Sorter::new(dir.path().join("1.runs"), 2);
    for n in [5u8, 1, 4, 1, 3] {
        sorter.push([n]).expect("pushed");
    }
    assert_eq!(names(dir.path()), [""; 0]);
    let sorted: Vec<[u8; 1]> = sorter.finish().expect("sorted").collect::<io::Result<_>>().expect("all");
    assert_eq!(sorted, [[1], [3], [4], [5]]);
}

#[test]
fn what_fits_needs_no_disk() {
    let mut sorter = Sorter::new(PathBuf::from("/nowhere/at/all"), 3);
    for n in [3u8, 1, 2] {
        sorter.push([n]).expect("pushed");
    }
    assert!(sorter.push([0]).is_err());
    let mut sorter = Sorter::new(PathBuf::from("/nowhere/at/all"), 3);
    sorter.push([7u8]).expect("pushed");
    assert_eq!(sorter.finish().expect("sorted").map(Result::unwrap).collect::<Vec<_>>(), [[7]]);
}

proptest! {
    #[test]
    fn an_entry_is_its_address_and_sorts_as_it(ips: Vec<IpAddr>) {
        let mut entries: Vec<Entry> = ips.iter().copied().map(entry).collect();
        let back: Vec<IpAddr> = entries.iter().filter_map(|entry| address(entry)).collect();
        prop_assert_eq!(&back, &ips);
        entries.sort_unstable();
        let mut sorted = ips;
        sorted.sort_unstable();
        prop_assert_eq!(entries.iter().filter_map(|entry| address(entry)).collect::<Vec<_>>(), sorted);
    }

    #[test]
    fn ranked_entries_sort_by_their_number_and_then_as_addresses_do(numbers: Vec<(u64, IpAddr)>) {
        let mut entries: Vec<Ranked> = numbers.iter().map(|(number, ip)| ranked(*ip, *number)).collect();
        entries.sort_unstable();
        let sorted: Vec<IpAddr> = entries.iter().map(|entry| unranked(entry).expect("an address")).collect();
        let mut expected = numbers;
        expected.sort_unstable_by_key(|(number, ip)| (Reverse(*number), *ip));
        prop_assert_eq!(sorted, expected.into_iter().map(|(_, ip)| ip).collect::<Vec<_>>());
    }

    #[test]
    fn runs_are_merged_without_repetitions(records: Vec<[u8; 2]>, most in 1usize..20) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sorter = Sorter::new(dir.path().join("runs"), most);
        for record in &records {
            sorter.push(*record).expect("pushed");
        }
        let sorted: Vec<[u8; 2]> = sorter.finish().expect("sorted").collect::<io::Result<_>>().expect("all");
        let expected: Vec<[u8; 2]> = records.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        prop_assert_eq!(sorted, expected);
    }
}

/// Longer than what is read of a run at a time.
#[test]
fn long_runs_are_read_to_their_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sorter = Sorter::new(dir.path().join("runs"), 10_000);
    for n in 0..25_000u32 {
        sorter.push((n.wrapping_mul(2_654_435_761) % 25_000).to_be_bytes()).expect("pushed");
        sorter.push(n.to_be_bytes()).expect("pushed");
    }
    let sorted = sorter.finish().expect("sorted").map(|record| u32::from_be_bytes(record.expect("a record")));
    assert!(sorted.eq(0..25_000));
}
