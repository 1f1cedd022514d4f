//! The search tree of a file, walked once before any other code walks it.
//!
//! A file need not hold a tree: where many branches lead to one node, a kilobyte has more paths than anybody can walk.
//! `maxminddb` counts the networks that it yields. The aliases of IPv4 that it passes over are not among them, so a single
//! step of its iterator may take for ever, and no interrupt is looked for meanwhile. Here every end of a branch is counted.

use maxminddb::{MaxMindDbError, Reader};

/// Ends of branches between two looks at `breathe`.
const BREATH: u64 = 1 << 16;
/// Ends beside those that the nodes account for: aliases of IPv4 in a small file. Real files have three or four.
const SPARE: u64 = 1024;
/// IPv4 stands behind so many zeros in a tree of IPv6.
const ZEROS: u8 = 96;

/// Why a search tree must not be walked.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The file is not a database.
    #[error("{0}")]
    Database(#[from] MaxMindDbError),
    /// Branches lead to the same nodes again and again.
    #[error("invalid database: its search tree leads to more networks than its nodes can hold")]
    Crowded,
    /// A branch leads back to a node above it.
    #[error("invalid database: its search tree is deeper than an address is long")]
    Deep,
}

/// Refuses a file of which a walk would not come to an end: one with more than three ends of branches for each node, as
/// `Reader::verify` does. An alias of IPv4 is one end. `breathe` is called now and then, and may leave by unwinding.
///
/// # Errors
/// [`TreeError`].
pub fn check(database: &[u8], breathe: &dyn Fn()) -> Result<(), TreeError> {
    let reader = Reader::from_source(database)?;
    let metadata = reader.metadata();
    let is_v6 = metadata.ip_version == 6;
    let tree = Tree {
        database,
        nodes: metadata.node_count,
        node_bytes: usize::from(metadata.record_size) / 4,
        bits: if is_v6 { 128 } else { 32 },
    };
    let ipv4 = is_v6.then(|| tree.ipv4());
    tree.walk(ipv4, breathe)
}

/// The nodes in the bytes of a file, which has room for all of them.
struct Tree<'a> {
    database: &'a [u8],
    nodes: u32,
    node_bytes: usize,
    bits: u8,
}

impl Tree<'_> {
    /// Where the two branches of a node lead: to a node, or at or above the number of nodes to an end.
    #[inline]
    fn branches(&self, node: u32) -> [u32; 2] {
        let at = node as usize * self.node_bytes;
        match *self.database.get(at..at + self.node_bytes).unwrap_or_default() {
            [a, b, c, d, e, f] => [[0, a, b, c], [0, d, e, f]].map(u32::from_be_bytes),
            // The highest bits of both share the byte in the middle.
            [a, b, c, both, d, e, f] => [[both >> 4, a, b, c], [both & 15, d, e, f]].map(u32::from_be_bytes),
            [a, b, c, d, e, f, g, h] => [[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes),
            _ => [u32::MAX; 2],
        }
    }

    /// Where IPv4 begins in a tree of IPv6; an end, where there is nothing of its own for IPv4.
    fn ipv4(&self) -> u32 {
        (0..ZEROS).fold(0, |node, _| if node < self.nodes { self.branches(node)[0] } else { node })
    }

    fn walk(&self, ipv4: Option<u32>, breathe: &dyn Fn()) -> Result<(), TreeError> {
        let most = u64::from(self.nodes) * 3 + SPARE;
        let mut ends = 0u64;
        // A node, how many bits lead there, and whether it is on the way to IPv4 or below: elsewhere IPv4 is an alias.
        let mut stack = vec![(0, 0, true)];
        while let Some((node, depth, is_ipv4)) = stack.pop() {
            if node >= self.nodes || (!is_ipv4 && ipv4 == Some(node)) {
                ends += 1;
                if ends > most {
                    return Err(TreeError::Crowded);
                }
                if ends.is_multiple_of(BREATH) {
                    breathe();
                }
                continue;
            }
            if depth == self.bits {
                return Err(TreeError::Deep);
            }
            let [left, right] = self.branches(node);
            stack.push((right, depth + 1, is_ipv4 && depth >= ZEROS));
            stack.push((left, depth + 1, is_ipv4));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::sample::{self, Sample};
    use super::*;

    fn told(sample: &Sample) -> Result<(), String> {
        let told = [24, 28, 32].map(|record_size| {
            let file = Sample { record_size, ..sample.clone() }.file();
            check(&file, &|| ()).map_err(|error| error.to_string())
        });
        assert!(told.iter().all(|other| *other == told[0]), "{told:?}");
        told.into_iter().next().unwrap()
    }

    fn refused(sample: &Sample) -> String {
        told(sample).unwrap_err()
    }

    #[test]
    fn trees_of_both_families_pass_with_and_without_aliases() {
        assert_eq!(told(&Sample::asn(64500)), Ok(()));
        let v4 = Sample { ip_version: 4, nodes: vec![[1, 2], [3, 3], [3, 3]], ..Sample::asn(1) };
        assert_eq!(told(&v4), Ok(()));
        let mut aliases = Sample::asn(1);
        for bit in 1..=sample::IPV4 {
            aliases.nodes[bit - 1][1] = sample::IPV4 as u32;
        }
        assert_eq!(told(&aliases), Ok(()), "an alias at each bit");
        assert!(maxminddb::Reader::from_source(aliases.file()).unwrap().verify().is_ok());
    }

    #[test]
    fn aliases_of_ipv4_that_are_passed_over_without_end_are_refused() {
        let refusal = TreeError::Crowded.to_string();
        for doublings in [24, 60, sample::MOST_DOUBLINGS] {
            assert_eq!(refused(&Sample::aliases(doublings)), refusal, "{doublings}");
        }
        // The same where IPv4 is one record: whatever has this record counts as an alias.
        let mut alone = Sample::asn(1);
        alone.nodes = vec![[0, 1]];
        alone.nodes.extend((2..=100).map(|next| [next, next]));
        let count = alone.nodes.len() as u32;
        alone.nodes[0][0] = count + 16;
        alone.nodes[count as usize - 1] = [count + 16; 2];
        assert_eq!(refused(&alone), refusal);
    }

    #[test]
    fn shared_nodes_and_circles_are_refused() {
        for ip_version in [4, 6] {
            let mut nodes: Vec<[u32; 2]> = (1..=31).map(|next| [next, next]).collect();
            nodes.push([32 + 16; 2]);
            let shared = Sample { ip_version, nodes, ..Sample::asn(1) };
            assert_eq!(refused(&shared), TreeError::Crowded.to_string());
            let circle = Sample { ip_version, nodes: vec![[1, 1], [0, 0]], ..Sample::asn(1) };
            assert_eq!(refused(&circle), TreeError::Deep.to_string());
        }
        assert!(refused(&Sample { ip_version: 5, ..Sample::asn(1) }).contains("ip_version"));
    }

    #[test]
    fn it_looks_for_interrupts() {
        let breaths = Cell::new(0);
        let looked = |nodes: Vec<[u32; 2]>| {
            let file = Sample { ip_version: 4, nodes, ..Sample::asn(1) }.file();
            breaths.set(0);
            (check(&file, &|| breaths.set(breaths.get() + 1)).is_ok(), breaths.get())
        };
        let count = (1 << 17) - 1;
        let whole: Vec<_> = (0..count).map(|node| [node * 2 + 1, node * 2 + 2].map(|next| next.min(count))).collect();
        assert_eq!(looked(whole.clone()), (true, 2));
        // Its first levels alone are walked, again and again.
        let mut crowded = whole;
        crowded[3] = [4, 4];
        crowded[4] = [5, 5];
        crowded[5] = [6, 6];
        assert_eq!(looked(crowded), (false, 6));
    }
}
