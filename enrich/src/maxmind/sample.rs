//! Small files for tests, node by node.

use super::head::{Head, MARKER};

/// The node at which IPv4 begins in [`Sample::asn`] and [`Sample::aliases`].
pub(super) const IPV4: usize = 96;
/// More levels would make a branch longer than an address.
pub(super) const MOST_DOUBLINGS: u32 = 126;

/// A file of one record.
#[derive(Clone)]
pub(super) struct Sample {
    pub ip_version: u16,
    pub record_size: u16,
    pub build_epoch: u64,
    /// Where the branches of each node lead: to a node, by the number of nodes to nothing, by 16 above it to the record.
    pub nodes: Vec<[u32; 2]>,
    pub record: Vec<u8>,
}

impl Sample {
    /// All of IPv4 belongs to an AS.
    pub fn asn(number: u32) -> Sample {
        let count = IPV4 as u32 + 1;
        let mut nodes: Vec<[u32; 2]> = (1..count).map(|next| [next, count]).collect();
        nodes.push([count + 16; 2]);
        let mut record = vec![7 << 5 | 1, 2 << 5 | 24];
        record.extend(b"autonomous_system_number");
        record.push(6 << 5 | 4);
        record.extend(number.to_be_bytes());
        Sample { ip_version: 6, record_size: 24, build_epoch: 1, nodes, record }
    }

    /// Outside of `::/1`, nodes of which both branches lead to the next one, so many, and the last ones to IPv4: 2 to that
    /// power aliases in a file of about a kilobyte.
    pub fn aliases(doublings: u32) -> Sample {
        let mut sample = Sample::asn(1);
        let first = IPV4 as u32 + 1;
        let count = first + doublings;
        sample.nodes.extend((first + 1..count).map(|next| [next, next]));
        sample.nodes.push([IPV4 as u32; 2]);
        for node in &mut sample.nodes[..IPV4] {
            node[1] = count;
        }
        sample.nodes[0][1] = first;
        sample.nodes[IPV4] = [count + 16; 2];
        sample
    }

    pub fn file(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for branches in &self.nodes {
            let [left, right] = branches.map(u32::to_be_bytes);
            match self.record_size {
                24 => out.extend([&left[1..], &right[1..]].concat()),
                28 => out.extend([&left[1..], &[left[0] << 4 | right[0]], &right[1..]].concat()),
                _ => out.extend([left, right].concat()),
            }
        }
        out.extend([0; 16]);
        out.extend(&self.record);
        out.extend(MARKER);
        let nodes = u32::try_from(self.nodes.len()).unwrap();
        out.extend(Head::sample(self.ip_version, self.record_size, nodes, self.build_epoch).encode());
        out
    }
}
