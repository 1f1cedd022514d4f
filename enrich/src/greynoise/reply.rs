//! The meaning of GreyNoise's answers.

use std::net::Ipv4Addr;

use serde_json::{Map, Value};

use super::instant::instant;
use super::{Scanner, Verdict, limits};
use crate::failure::{Failure, FailureKind};
use crate::text;
use crate::time::Micros;

#[cfg(test)]
mod tests;

/// The longest body that is read, in bytes. Real ones have a few hundred.
pub const MAX_BODY: usize = 64 << 10;

/// The verdict on `asked` that an HTTP answer gives: its status, its headers and the body. `now` is the time of the
/// answer, from which dates in headers count.
///
/// # Errors
/// An answer that is none: `Unauthorized` for a refused key, `Quota` for 429, `Permanent` for 400 (the service does not
/// take the address), `Transient` for everything else. That includes every status without a body of the service's own,
/// as captive portals, proxies and firewalls give them: a 200 or a 404 taken for an answer would stand for a whole TTL,
/// and a 401 or a 403 taken for its word would close the source.
pub fn parse<'a>(
    asked: Ipv4Addr,
    status: u16,
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
    now: Micros,
) -> Result<Verdict, Failure> {
    let own = |kind, reason: &str| {
        if is_own(body) {
            failure(kind, reason)
        } else {
            transient(&format!("HTTP {status} without GreyNoise's own body: probably from a proxy or firewall"))
        }
    };
    match status {
        200 => seen(asked, body),
        404 => not_seen(asked, body),
        400 => Err(own(FailureKind::Permanent, "HTTP 400: the address is not accepted")),
        // No system between us and the service uses 401: the status alone is enough.
        401 if body.is_empty() => Err(failure(FailureKind::Unauthorized, "HTTP 401: the key is refused")),
        401 => Err(own(FailureKind::Unauthorized, "HTTP 401: the key is refused")),
        403 => Err(own(FailureKind::Unauthorized, "HTTP 403: the key has no permission")),
        429 => {
            let retry_after = limits::wait(header, now);
            Err(failure(FailureKind::Quota { retry_after }, "HTTP 429: the quota is used up"))
        }
        300..400 => Err(transient(&format!("HTTP {status}: a redirect, which is not followed"))),
        _ => Err(transient(&format!("HTTP {status}"))),
    }
}

/// Whether a refusal is the service's: it always says why, in JSON.
fn is_own(body: &[u8]) -> bool {
    let says = |object: Map<String, Value>| {
        let text = |field| object.get(field).is_some_and(Value::is_string);
        text("message") || text("error") || (object.contains_key("noise") && object.contains_key("riot"))
    };
    object(body).is_some_and(says)
}

fn seen(asked: Ipv4Addr, body: &[u8]) -> Result<Verdict, Failure> {
    let object = object(body).ok_or_else(|| transient("HTTP 200 without the documented body"))?;
    if !is_about(&object, asked) {
        return Err(transient("HTTP 200 about another address"));
    }
    // Other objects have a name, too.
    let own = ["ip", "noise", "riot"];
    if own.iter().all(|field| object.get(*field).is_none_or(Value::is_null)) {
        return Err(transient("HTTP 200 without the documented body"));
    }
    Ok(Verdict::Seen(Scanner {
        noise: flag(&object, "noise").unwrap_or(false),
        riot: flag(&object, "riot").unwrap_or(false),
        classification: string(&object, "classification").and_then(classification),
        name: string(&object, "name").map(clean).filter(|name| !name.is_empty()),
        last_seen: string(&object, "last_seen").and_then(instant),
    }))
}

/// Only a body that says so is an answer: any gateway answers 404.
fn not_seen(asked: Ipv4Addr, body: &[u8]) -> Result<Verdict, Failure> {
    let says_so = object(body).is_some_and(|object| {
        let flags = [flag(&object, "noise"), flag(&object, "riot")];
        let message = string(&object, "message").unwrap_or_default().to_ascii_lowercase();
        let says_so = flags == [Some(false); 2] || message.contains("not observed");
        is_about(&object, asked) && !flags.contains(&Some(true)) && says_so
    });
    if says_so { Ok(Verdict::NotSeen) } else { Err(transient("HTTP 404 without the documented body")) }
}

/// The body, if it is a JSON object of a sane size. The parser refuses nesting deeper than 128.
fn object(body: &[u8]) -> Option<Map<String, Value>> {
    if body.len() > MAX_BODY { None } else { serde_json::from_slice(body).ok() }
}

/// Whether the answer is about the address that was asked for, or says of none: one that got mixed up on the way
/// would be kept under the wrong address.
fn is_about(object: &Map<String, Value>, asked: Ipv4Addr) -> bool {
    match object.get("ip") {
        None | Some(Value::Null) => true,
        Some(ip) => ip.as_str().and_then(|ip| ip.trim().parse().ok()) == Some(asked),
    }
}

fn flag(object: &Map<String, Value>, field: &str) -> Option<bool> {
    object.get(field)?.as_bool()
}

fn string<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str()
}

fn clean(raw: &str) -> String {
    text::clean(raw, text::MAX_TEXT).into_owned()
}

fn classification(raw: &str) -> Option<String> {
    let known = ["benign", "malicious", "unknown"];
    known.iter().find(|word| word.eq_ignore_ascii_case(raw.trim())).map(|word| (*word).to_owned())
}

fn transient(reason: &str) -> Failure {
    failure(FailureKind::Transient, reason)
}

fn failure(kind: FailureKind, reason: &str) -> Failure {
    Failure { kind, reason: reason.to_owned() }
}
