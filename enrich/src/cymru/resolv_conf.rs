//! The name servers that the system's programs ask, by resolv.conf(5).
//!
//! Only those are read. Names that are asked here are rooted, so the search list does not matter, and only an unknown
//! line itself is ignored.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where the system keeps it.
pub const PATH: &str = "/etc/resolv.conf";

const PORT: u16 = 53;

/// The name servers that `text` lists, in order. Where it lists none, the host's own, as resolv.conf(5) has it.
pub fn name_servers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        server((words.next() == Some("nameserver")).then(|| words.next())??)
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

/// A name server: an address, and behind a `%` the interface that a link-local one is reached by, by its name or its
/// number. Router advertisements name such ones, in networks with IPv6 alone no others.
fn server(word: &str) -> Option<SocketAddr> {
    let Some((address, scope)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse().ok()?, PORT));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let number = match scope.parse() {
        Ok(number) => Some(number),
        Err(_) => interface(word),
    };
    // An address that needs none is a server without it, as the system's library has it.
    let number = if address.is_unicast_link_local() { number? } else { number.unwrap_or(0) };
    Some(SocketAddrV6::new(address, PORT, 0, number).into())
}

/// The number of the interface that stands behind an address, by the system's library: it reads the text, and asks nobody.
fn interface(word: &str) -> Option<u32> {
    let mut found = (word, PORT).to_socket_addrs().ok()?;
    found.find_map(|found| if let SocketAddr::V6(found) = found { Some(found.scope_id()) } else { None })
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
    fn a_link_local_server_keeps_its_interface() {
        // The loopback's is the first one in every network namespace.
        assert_eq!(of("nameserver fe80::1%lo\nnameserver fe80::1%7\n"), ["[fe80::1%1]:53", "[fe80::1%7]:53"]);
        assert_eq!(of("nameserver 2001:db8::1%no-such-one"), ["[2001:db8::1]:53"]);
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
            "nameserver fe80::1%no-such-one",
            "nameserver fe80::1%",
            "nameserver 10.0.0.2%lo",
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
