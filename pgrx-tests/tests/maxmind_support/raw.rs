//! Files that the fixture writer does not write: IPv4-only trees, IPv6 trees without a subtree for IPv4, and files whose nodes
//! are not a tree.

use ipnetwork::IpNetwork;
use serde_json::{Value as Json, json};
use std::path::Path;

/// Writes a file with branches of 32 bits and no aliases. Networks must not overlap.
pub fn write(path: &Path, edition: &str, ip_version: u16, networks: &[(&str, Json)]) {
    let mut nodes: Vec<[Branch; 2]> = vec![[Branch::Nothing; 2]];
    let mut data = Vec::new();
    for (network, record) in networks {
        let (address, length) = key(network, ip_version);
        let at = data.len() as u32;
        put(&mut data, "", record);
        insert(&mut nodes, address, length, at);
    }
    let count = nodes.len() as u32;
    let words: Vec<[u32; 2]> = nodes
        .iter()
        .map(|branches| {
            branches.map(|branch| match branch {
                Branch::Nothing => count,
                Branch::Node(node) => node,
                Branch::Data(at) => count + 16 + at,
            })
        })
        .collect();
    std::fs::write(path, file(edition, ip_version, &words, &data)).expect("written");
}

/// A file of IPv6 that is small, and has as many ways to IPv4 as 2 to the power of `doublings`: outside of `::/1`, both
/// branches of a node lead to the next one.
pub fn crowded(edition: &str, doublings: u32) -> Vec<u8> {
    let (ipv4, count) = (96, 97 + doublings);
    let mut nodes: Vec<[u32; 2]> = (1..=ipv4).map(|next| [next, count]).collect();
    nodes[0][1] = ipv4 + 1;
    nodes.push([count + 16; 2]);
    nodes.extend((ipv4 + 2..count).map(|next| [next, next]));
    nodes.push([ipv4; 2]);
    let mut data = Vec::new();
    put(&mut data, "", &json!({ "autonomous_system_number": 64500 }));
    file(edition, 6, &nodes, &data)
}

fn file(edition: &str, ip_version: u16, nodes: &[[u32; 2]], data: &[u8]) -> Vec<u8> {
    let metadata = json!({
        "binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 1,
        "database_type": edition, "description": { "en": "test" }, "ip_version": ip_version,
        "languages": ["en"], "node_count": nodes.len(), "record_size": 32,
    });
    let mut out: Vec<u8> = nodes.iter().flatten().flat_map(|word| word.to_be_bytes()).collect();
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    put(&mut out, "", &metadata);
    out
}

#[derive(Clone, Copy)]
enum Branch {
    Nothing,
    Node(u32),
    Data(u32),
}

/// The address in the tree's highest bits, and how many of them count.
fn key(network: &str, ip_version: u16) -> (u128, u32) {
    match network.parse().expect("a network") {
        IpNetwork::V4(v4) if ip_version == 4 => (u128::from(v4.network().to_bits()) << 96, v4.prefix().into()),
        IpNetwork::V4(v4) => (v4.network().to_bits().into(), u32::from(v4.prefix()) + 96),
        IpNetwork::V6(v6) => (v6.network().to_bits(), v6.prefix().into()),
    }
}

fn insert(nodes: &mut Vec<[Branch; 2]>, address: u128, length: u32, data: u32) {
    let side = |bit: u32| (address >> (127 - bit) & 1) as usize;
    let mut node = 0;
    for bit in 0..length - 1 {
        node = match nodes[node][side(bit)] {
            Branch::Node(next) => next as usize,
            _ => {
                let next = nodes.len();
                nodes.push([Branch::Nothing; 2]);
                nodes[node][side(bit)] = Branch::Node(next as u32);
                next
            }
        };
    }
    nodes[node][side(length - 1)] = Branch::Data(data);
}

/// Integers of the metadata have types of their own.
fn put(out: &mut Vec<u8>, key: &str, value: &Json) {
    match value {
        Json::String(text) => {
            match text.len() {
                short @ 0..29 => out.push(2 << 5 | short as u8),
                long @ 29..285 => out.extend([2 << 5 | 29, (long - 29) as u8]),
                _ => panic!("too long to be written here"),
            }
            out.extend(text.as_bytes());
        }
        Json::Number(number) => {
            let bytes = number.as_u64().expect("unsigned").to_be_bytes();
            match key {
                "build_epoch" => out.extend([8, 2]),
                "autonomous_system_number" | "node_count" => out.push(6 << 5 | 4),
                _ => out.push(5 << 5 | 2),
            }
            out.extend(match key {
                "build_epoch" => &bytes[..],
                "autonomous_system_number" | "node_count" => &bytes[4..],
                _ => &bytes[6..],
            });
        }
        Json::Object(pairs) => {
            out.push(7 << 5 | pairs.len() as u8);
            for (key, value) in pairs {
                put(out, "", &json!(key));
                put(out, key, value);
            }
        }
        Json::Array(all) => {
            out.extend([all.len() as u8, 4]);
            all.iter().for_each(|value| put(out, key, value));
        }
        other => panic!("{other} is not written here"),
    }
}
