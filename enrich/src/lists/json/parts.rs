//! Objects that write a network as two members: `{"start": …, "end": …}`, `{"network": …, "netmask": …}`. Taken one by one
//! they would be two addresses.

use super::super::span::{Entry, Span, entry};

/// What a member is of a network, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    First,
    Last,
    Network,
    Mask,
    /// The length of the prefix, where it is a number.
    Bits,
}

/// Letters of the longest name of a part.
const LONGEST: usize = 32;
/// What stands before or behind the word that counts.
const FILLERS: [&str; 6] = ["ipv4", "ipv6", "address", "addr", "range", "ip"];

impl Part {
    /// The part that a name stands for, in the spellings of many: `start_ip`, `rangeStart`, `ip-from`, `first_address`.
    pub fn of(name: &str) -> Option<Part> {
        let mut kept = [0; LONGEST];
        let mut length = 0;
        for byte in name.bytes().filter(u8::is_ascii_alphanumeric) {
            *kept.get_mut(length)? = byte.to_ascii_lowercase();
            length += 1;
        }
        let mut word = std::str::from_utf8(&kept[..length]).ok()?;
        while let Some(rest) =
            FILLERS.iter().find_map(|filler| word.strip_prefix(filler).or_else(|| word.strip_suffix(filler)))
        {
            word = rest;
        }
        Some(match word {
            "start" | "begin" | "first" | "from" | "low" | "lower" | "min" => Part::First,
            "end" | "last" | "to" | "high" | "upper" | "max" | "stop" => Part::Last,
            "net" | "network" | "subnet" | "base" => Part::Network,
            "mask" | "netmask" | "subnetmask" | "networkmask" => Part::Mask,
            "prefix" | "prefixlen" | "prefixlength" | "masklen" | "masklength" | "cidr" | "bits" => Part::Bits,
            _ => return None,
        })
    }
}

/// A value that may be a part, and the number of its string; 0: it is a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// An address and nothing else, that was not taken yet.
    Address(Span, u64),
    Number(u64),
    Nothing,
}

/// The parts of one object so far.
#[derive(Default)]
pub(super) struct Parts([Option<(Span, u64)>; 4], Option<u64>);

/// What an object says in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Entry(Entry, u64),
    /// Parts that make no network.
    Bad(u64),
}

impl Parts {
    /// Keeps a part. Returned: what is none, or takes its place.
    pub fn put(&mut self, part: Option<Part>, found: Found) -> Found {
        let slot = match (part, found) {
            (Some(Part::Bits | Part::Mask), Found::Number(bits)) => {
                self.1 = Some(bits);
                return Found::Nothing;
            }
            (Some(Part::First), Found::Address(..)) => &mut self.0[0],
            (Some(Part::Last), Found::Address(..)) => &mut self.0[1],
            (Some(Part::Network), Found::Address(..)) => &mut self.0[2],
            (Some(Part::Mask), Found::Address(..)) => &mut self.0[3],
            _ => return found,
        };
        let Found::Address(span, number) = found else { return found };
        match slot.replace((span, number)) {
            Some((before, number)) => Found::Address(before, number),
            None => Found::Nothing,
        }
    }

    /// All that the parts say, when the object is through.
    pub fn said(self) -> impl Iterator<Item = Said> {
        let Parts([first, last, network, mask], bits) = self;
        let alone = |(span, number)| Said::Entry(Entry { span, has_host_bits: false }, number);
        let together =
            |entry: Option<Entry>, number| entry.map_or(Said::Bad(number), |entry| Said::Entry(entry, number));
        let range = match (first, last) {
            (Some((first, number)), Some((last, _))) => [Some(together(between(first, last), number)), None],
            (first, last) => [first.map(alone), last.map(alone)],
        };
        let network = match (network, mask, bits) {
            (Some((network, number)), Some((mask, _)), _) => Some(together(with(network, &text(mask)), number)),
            (Some((network, number)), None, Some(bits)) => Some(together(with(network, &bits.to_string()), number)),
            (Some(network), None, None) => Some(alone(network)),
            // The mask of what, is not plain; that of one address says nothing.
            (None, Some((Span::V4(u32::MAX, _), _)), _) => None,
            (None, Some((mask, number)), _) if is_mask(mask) => Some(Said::Bad(number)),
            (None, mask, _) => mask.map(alone),
        };
        range.into_iter().chain([network]).flatten()
    }
}

fn between(first: Span, last: Span) -> Option<Entry> {
    entry(format!("{}-{}", text(first), text(last)).as_bytes())
}

fn with(network: Span, mask: &str) -> Option<Entry> {
    entry(format!("{}/{mask}", text(network)).as_bytes())
}

fn is_mask(mask: Span) -> bool {
    entry(format!("0.0.0.0/{}", text(mask)).as_bytes()).is_some()
}

/// The first address, as text.
fn text(span: Span) -> String {
    match span {
        Span::V4(first, _) => std::net::Ipv4Addr::from(first).to_string(),
        Span::V6(first, _) => std::net::Ipv6Addr::from(first).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_in_many_spellings() {
        for (part, names) in [
            (Part::First, &["start", "startIp", "ip_from", "range-start", "firstAddress", "IPv4 begin", "low"][..]),
            (Part::Last, &["end", "endIp", "ip_to", "range-end", "lastAddress", "high"]),
            (Part::Network, &["net", "network", "network_address", "subnet"]),
            (Part::Mask, &["mask", "netmask", "subnet_mask"]),
            (Part::Bits, &["prefix", "prefixLength", "cidr", "prefix_len"]),
        ] {
            names.iter().for_each(|name| assert_eq!(Part::of(name), Some(part), "{name}"));
        }
        for name in ["", "ip", "address", "last_seen", "startup", "ip_prefix_list", "vendor", &"x".repeat(100)] {
            assert_eq!(Part::of(name), None, "{name}");
        }
    }
}
