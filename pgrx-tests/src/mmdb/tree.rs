//! The search tree: a node for each bit of an address, with two branches.

use std::io::{self, Write};

/// The target of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Branch {
    Nothing,
    Node(u32),
    Data(u32),
}

/// Branches are kept in 32 bits: a full-size tree has millions.
const NOTHING: u32 = u32::MAX;
const DATA: u32 = 1 << 31;

impl Branch {
    fn pack(self) -> u32 {
        match self {
            Branch::Nothing => NOTHING,
            Branch::Node(n) => n,
            Branch::Data(offset) => offset | DATA,
        }
    }

    fn unpack(word: u32) -> Branch {
        match word {
            NOTHING => Branch::Nothing,
            node if node & DATA == 0 => Branch::Node(node),
            data => Branch::Data(data & !DATA),
        }
    }
}

/// A tree over 128-bit addresses; IPv4 lives under `::/96`.
pub struct Tree {
    nodes: Vec<[u32; 2]>,
}

impl Default for Tree {
    fn default() -> Self {
        let mut tree = Tree { nodes: vec![[NOTHING; 2]] };
        tree.descend(0, 96);
        tree
    }
}

/// The longest data offset a branch can hold.
pub const MAX_DATA: u32 = DATA - 2;

impl Tree {
    /// Nodes so far.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    fn branch(&self, node: u32, side: usize) -> Branch {
        Branch::unpack(self.nodes[node as usize][side])
    }

    fn set(&mut self, node: u32, side: usize, branch: Branch) {
        self.nodes[node as usize][side] = branch.pack();
    }

    /// The node at `depth` bits of `address`, made where there is none. A network on the way is split:
    /// both halves keep its data.
    fn descend(&mut self, address: u128, depth: u32) -> u32 {
        let mut node = 0;
        for bit in 0..depth {
            let side = (address >> (127 - bit) & 1) as usize;
            node = match self.branch(node, side) {
                Branch::Node(next) => next,
                split => {
                    let next = self.nodes.len() as u32;
                    assert!(next < DATA, "too many nodes");
                    self.nodes.push([split.pack(); 2]);
                    self.set(node, side, Branch::Node(next));
                    next
                }
            };
        }
        node
    }

    /// Gives a network its data, in place of what it had; networks inside it are lost, so insert the
    /// shorter prefixes first.
    ///
    /// # Panics
    /// For a length of 0 or above 128.
    pub fn insert(&mut self, address: u128, length: u32, data: u32) {
        assert!((1..=128).contains(&length), "a prefix of {length} bits");
        assert!(data <= MAX_DATA, "too much data");
        let node = self.descend(address, length - 1);
        let side = (address >> (128 - length) & 1) as usize;
        self.set(node, side, Branch::Data(data));
    }

    /// MaxMind lets mapped (`::ffff:0:0/96`), 6to4 (`2002::/16`) and Teredo (`2001::/32`) addresses share
    /// the tree of IPv4. Call it last.
    pub fn alias_ipv4(&mut self) {
        let ipv4 = self.descend(0, 96);
        for (address, length) in [(0xffff_u128 << 32, 96), (0x2002_u128 << 112, 16), (0x2001_u128 << 112, 32)] {
            let node = self.descend(address, length - 1);
            let side = (address >> (128 - length) & 1) as usize;
            self.set(node, side, Branch::Node(ipv4));
        }
    }

    /// The smallest record size in bits that can name every node and every byte of the data section.
    pub fn record_size(&self, data_bytes: usize) -> u16 {
        match self.len() + 16 + data_bytes {
            0..0x100_0000 => 24,
            0x100_0000..0x1000_0000 => 28,
            _ => 32,
        }
    }

    /// Writes the nodes with branches of `size` bits: a node's number, the number of nodes for nothing,
    /// above it data.
    ///
    /// # Errors
    /// As the writer's.
    ///
    /// # Panics
    /// For another size than 24, 28 or 32.
    pub fn write(&self, size: u16, out: &mut impl Write) -> io::Result<()> {
        let count = self.len() as u32;
        let word = |packed| match Branch::unpack(packed) {
            Branch::Nothing => count,
            Branch::Node(node) => node,
            Branch::Data(offset) => count + 16 + offset,
        };
        for &[left, right] in &self.nodes {
            let [left, right] = [word(left).to_be_bytes(), word(right).to_be_bytes()];
            match size {
                24 => {
                    out.write_all(&left[1..])?;
                    out.write_all(&right[1..])?;
                }
                28 => {
                    out.write_all(&left[1..])?;
                    out.write_all(&[left[0] << 4 | right[0]])?;
                    out.write_all(&right[1..])?;
                }
                32 => {
                    out.write_all(&left)?;
                    out.write_all(&right)?;
                }
                _ => panic!("branches of {size} bits are not in the format"),
            }
        }
        Ok(())
    }
}
