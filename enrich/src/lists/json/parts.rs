//! Objects that write a network as two members: `{"start": …, "end": …}`, `{"network": …, "netmask": …}`. Taken one by one
//! they would be two addresses.

use super::super::span::{Entry, Span, entry, is_within};

/// What a member is of a network, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The first address of a range, as an object, too.
    Start,
    End,
    /// The same, or where something comes from.
    First,
    Last,
    /// The last address of a network, or of that of an address.
    Broadcast,
    Network,
    Mask,
    /// The length of the prefix, where it is a number.
    Bits,
    /// An address of any meaning.
    Address,
    /// The same, or two as an array.
    Range,
}

/// Letters of the longest name of a part.
const LONGEST: usize = 32;
/// What stands before or behind the word that counts.
const FILLERS: [&str; 11] =
    ["ipv4", "ipv6", "address", "addr", "range", "ip", "network", "subnet", "block", "cidr", "net"];

impl Part {
    /// The part that a name stands for, in the spellings of many: `start_ip`, `rangeStart`, `ip-from`, `first_address`.
    pub fn of(name: &str) -> Option<Part> {
        let mut kept = [0; LONGEST];
        let mut length = 0;
        for byte in name.bytes().filter(u8::is_ascii_alphanumeric) {
            *kept.get_mut(length)? = byte.to_ascii_lowercase();
            length += 1;
        }
        let name = std::str::from_utf8(&kept[..length]).ok()?;
        let mut word = name;
        loop {
            let part = Part::of_word(word);
            if part.is_some() || word.is_empty() {
                let any = if name.ends_with("range") { Part::Range } else { Part::Address };
                return part.or((!name.is_empty()).then_some(any));
            }
            let shorter = |filler: &&str| word.strip_prefix(*filler).or_else(|| word.strip_suffix(*filler));
            word = FILLERS.iter().find_map(shorter)?;
        }
    }

    fn of_word(word: &str) -> Option<Part> {
        Some(match word {
            "start" | "begin" => Part::Start,
            "end" | "finish" => Part::End,
            "first" | "from" | "low" | "lower" | "lo" | "min" => Part::First,
            "last" | "to" | "high" | "upper" | "hi" | "max" | "stop" | "till" | "until" => Part::Last,
            "broadcast" => Part::Broadcast,
            "net" | "network" | "subnet" | "base" => Part::Network,
            "mask" => Part::Mask,
            "prefix" | "prefixlen" | "prefixlength" | "masklen" | "masklength" | "cidr" | "bits" => Part::Bits,
            _ => return None,
        })
    }
}

/// A value that may be a part; an address has the number of its string.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// An address and nothing else, that was not taken yet.
    Address(Span, u64),
    /// The same, from an object within.
    Nested(Span, u64),
    /// An array of two such addresses.
    Pair((Span, u64), (Span, u64)),
    /// A network or a range, that was taken.
    Whole(Span),
    Number(u64),
    /// A number as text.
    Text(u64),
    Nothing,
}

/// The parts of one object so far.
#[derive(Default)]
pub(super) struct Parts {
    /// First, last, network, mask, any address, broadcast address.
    slots: [Option<(Span, u64)>; 6],
    bits: Option<u64>,
    pair: Option<Said>,
    /// The first network or range of each family that stands there as one string.
    whole: [Option<Span>; 2],
}

/// What an object says in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Entry(Entry, u64),
    /// One address, which may be a part of what is around the object.
    Address(Span, u64),
    /// Parts that make no network.
    Bad(u64),
}

impl Parts {
    /// Keeps a part. Returned: what is none, or takes its place.
    pub fn put(&mut self, part: Option<Part>, found: Found) -> Found {
        let (span, number) = match (part, found) {
            (_, Found::Whole(span)) => {
                self.whole[usize::from(matches!(span, Span::V6(..)))].get_or_insert(span);
                return Found::Nothing;
            }
            (Some(Part::Bits | Part::Mask), Found::Number(bits)) => {
                self.bits = Some(bits);
                return Found::Nothing;
            }
            (Some(Part::Bits | Part::Mask), Found::Text(bits)) => {
                self.bits.get_or_insert(bits);
                return Found::Nothing;
            }
            (Some(Part::Range), Found::Pair((first, number), (last, _))) if self.pair.is_none() => {
                self.pair = Some(together(between(first, last), number));
                return Found::Nothing;
            }
            (_, Found::Address(span, number)) | (Some(Part::Start | Part::End), Found::Nested(span, number)) => {
                (span, number)
            }
            // What comes from one place and goes to another is no range.
            _ => return found,
        };
        let slot = match part {
            Some(Part::Start | Part::First) => 0,
            Some(Part::End | Part::Last) => 1,
            Some(Part::Network) => 2,
            Some(Part::Bits) if self.slots[2].is_none() => 2,
            Some(Part::Mask) => 3,
            Some(Part::Address | Part::Range) => 4,
            Some(Part::Broadcast) => 5,
            Some(Part::Bits) | None => return found,
        };
        match self.slots[slot].replace((span, number)) {
            Some((before, number)) => Found::Address(before, number),
            None => Found::Nothing,
        }
    }

    /// All that the parts say, when the object is through.
    pub fn said(self) -> impl Iterator<Item = Said> {
        let Parts { slots: [first, last, network, mask, address, broadcast], bits, pair, whole } = self;
        let alone = |(span, number)| Said::Address(span, number);
        let bad = |(_, number)| Said::Bad(number);
        // What lies in a network or a range that is taken already says nothing more.
        let is_told = |span: Span| whole.into_iter().flatten().any(|whole| is_within(span, whole));
        let mask_text = mask.map(|(mask, _)| text(mask)).or_else(|| bits.map(|bits| bits.to_string()));
        let is_without = first.is_none() && network.is_none();
        let (last, broadcast) = match network {
            Some(_) if first.is_none() => (broadcast.or(last), broadcast.and(last)),
            _ => (last, broadcast),
        };
        let last = last.filter(|(last, _)| !is_without || !is_told(*last) && address.is_none_or(|(ip, _)| ip != *last));
        // A network's last address may stand beside its mask.
        let (network, start) = match (first, mask_text.is_some()) {
            (None, false) if last.is_some() => (None, network),
            (Some(_), true) if last.is_none() && network.is_none() => (first, None),
            _ => (network, first),
        };
        let end = last.filter(|_| first.is_none() && network.is_some());
        // The end of what, is not plain; it may be that of an address.
        let is_open = last.is_some() && start.is_none() && end.is_none();
        let range = match (start, last) {
            (Some((start, number)), Some((last, _))) => Some(together(between(start, last), number)),
            (None, Some(last)) if is_open => Some(bad(address.unwrap_or(last))),
            (start, _) => start.map(alone),
        };
        let network = match (network, &mask_text) {
            (Some((network, number)), Some(mask)) => {
                let entry = with(network, mask).filter(|entry| end.is_none_or(|last| ends_with(*entry, last.0)));
                Some(if entry.is_none() && is_told(network) {
                    alone((network, number))
                } else {
                    together(entry, number)
                })
            }
            (network, _) => network.map(alone),
        };
        // An address in its network, or the network? But for a mask or a length that say one address, or say nothing.
        let is_sole = |address: Span| {
            let said = mask_text.as_ref().and_then(|mask| with(address, mask));
            network.is_some() || said.is_none_or(|entry| entry.span == address || is_told(entry.span))
        };
        let sole = address.filter(|_| !is_open);
        let sole = sole.map(|address| if is_sole(address.0) { alone(address) } else { bad(address) });
        // The mask of what, is not plain; that of one address says nothing.
        let mask = match mask.filter(|_| network.is_none()) {
            Some((Span::V4(u32::MAX, _), _)) => None,
            Some((mask, _)) if is_mask(mask) && (address.is_some() || whole[0].is_some()) => None,
            Some((mask, number)) if is_mask(mask) => Some(Said::Bad(number)),
            mask => mask.map(alone),
        };
        let broadcast = broadcast.filter(|(last, _)| !is_told(*last)).map(alone);
        [range, network, sole, mask, pair, broadcast].into_iter().flatten()
    }
}

/// Whether the last address of an entry is that one.
fn ends_with(entry: Entry, last: Span) -> bool {
    match (entry.span, last) {
        (Span::V4(_, end), Span::V4(last, _)) => end == last,
        (Span::V6(_, end), Span::V6(last, _)) => end == last,
        _ => false,
    }
}

fn together(entry: Option<Entry>, number: u64) -> Said {
    entry.map_or(Said::Bad(number), |entry| Said::Entry(entry, number))
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
            (Part::Start, &["start", "startIp", "range-start", "IPv4 begin", "net_start"][..]),
            (Part::End, &["end", "endIp", "range-end", "block_end", "finish"]),
            (Part::First, &["ip_from", "firstAddress", "cidr_lo"]),
            (Part::Last, &["ip_to", "last_ip", "till"]),
            (Part::Broadcast, &["broadcast", "broadcast_address"]),
            (Part::Network, &["net", "network", "network_address", "subnet", "netblock"]),
            (Part::Mask, &["mask", "netmask", "subnet_mask", "networkMask"]),
            (Part::Bits, &["prefix", "prefixLength", "cidr", "prefix_len", "ip_prefix"]),
            (Part::Range, &["range", "ip_range", "addressRange"]),
            (Part::Address, &["ip", "address", "ip_address", "ipAddr"]),
        ] {
            names.iter().for_each(|name| assert_eq!(Part::of(name), Some(part), "{name}"));
        }
        for name in ["", "last_seen", "backend", "internet", "startup", "ip_prefix_list", "vendor", &"x".repeat(100)] {
            assert_eq!(Part::of(name), None, "{name}");
        }
    }
}
