//! The name servers that the system's programs ask, by resolv.conf(5).
//!
//! Only those are read. Names that are asked here are rooted, so the search list does not matter, and only an unknown
//! line itself is ignored.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where the system keeps it.
pub const PATH: &str = "/etc/resolv.conf";

const PORT: u16 = 53;

/// The name servers that `text` lists, in order. Where it lists none, the host's own, as resolv.conf(5) has it.
pub fn name_servers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address: IpAddr = (words.next() == Some("nameserver")).then(|| words.next())??.parse().ok()?;
        Some(SocketAddr::new(address, PORT))
    };
    let mut servers: Vec<SocketAddr> = Vec::new();
    for server in text.lines().filter_map(address) {
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    let listed = text.lines().any(|line| line.split_ascii_whitespace().next() == Some("nameserver"));
    if servers.is_empty() && !listed {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    servers
}

/// The name servers of a file. Without a file, those of an empty one.
///
/// # Errors
/// It is there, and cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<SocketAddr>> {
    match fs::read(path) {
        Ok(text) => Ok(name_servers(&String::from_utf8_lossy(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(name_servers("")),
        Err(error) => Err(error),
    }
}

/// A mark that distinguishes states of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(Option<[i64; 6]>);

impl Mark {
    /// Of the file that a path leads to now.
    pub fn of(path: &Path) -> Mark {
        let mark =
            |m: fs::Metadata| [m.dev() as i64, m.ino() as i64, m.size() as i64, m.mtime(), m.mtime_nsec(), m.ctime()];
        Mark(fs::metadata(path).ok().map(mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        name_servers(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_read_in_order_and_once() {
        let text = "# by hand\nnameserver 10.0.0.1\n  nameserver\t2001:db8::1 # here\nnameserver 10.0.0.1\n";
        assert_eq!(of(text), ["10.0.0.1:53", "[2001:db8::1]:53"]);
    }

    #[test]
    fn no_other_line_costs_a_server() {
        for line in [
            "search -bad-.example",
            "search a.b c..d \u{fffd}",
            "domain ..",
            "options ndots:x timeout:-1 nonsense",
            "sortlist 1.2.3.4/bad",
            "nameserver",
            "nameserver resolver.example",
            "nameserver fe80::1%eth0",
            "lookup file bind",
            "\u{0}",
        ] {
            assert_eq!(of(&format!("{line}\nnameserver 10.0.0.1\n{line}")), ["10.0.0.1:53"], "{line}");
        }
    }

    #[test]
    fn without_any_it_is_the_host_itself() {
        assert_eq!(of("search example.org\n#nameserver 10.0.0.1\n"), ["127.0.0.1:53"]);
        assert_eq!(of(""), ["127.0.0.1:53"]);
        // One that is not understood is not the host itself.
        assert_eq!(of("nameserver resolver.example"), [""; 0]);
    }

    #[test]
    fn a_mark_tells_another_file_and_none() {
        let path = std::env::temp_dir().join(format!("asn_inventory-mark-{}", std::process::id()));
        assert_eq!(Mark::of(&path), Mark::of(&path));
        let none = Mark::of(&path);
        fs::write(&path, "nameserver 10.0.0.1").unwrap();
        let first = Mark::of(&path);
        assert_ne!(none, first);
        fs::write(&path, "nameserver 10.0.0.10").unwrap();
        assert_ne!(first, Mark::of(&path));
        fs::remove_file(&path).unwrap();
    }
}
