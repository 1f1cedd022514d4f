//! Addresses of services, as settings give them: `https://host[:port][/path]` and `host:port`, without parts that would
//! be dropped, sent or shown by accident. A refusal gives the reason and never repeats the text: it may contain a
//! password.

use std::net::{IpAddr, Ipv6Addr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use ureq::http::Uri;

/// The escaped characters in a segment of a path and in a value of a query: all except the unreserved ones of RFC 3986,
/// 2.3.
pub(crate) const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A service's base URL, without a slash at its end.
///
/// # Errors
/// Its error, as a sentence.
///
/// ```
/// use enrich::url::base;
/// assert_eq!(base(" https://mirror.example:8443/maxmind/ ").unwrap(), "https://mirror.example:8443/maxmind");
/// assert!(base("https://user:password@mirror.example").unwrap_err().contains("user"));
/// ```
pub fn base(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    let Some(rest) = text.get(..8).filter(|start| start.eq_ignore_ascii_case("https://")).map(|_| &text[8..]) else {
        return Err("It must begin with https://.");
    };
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("It must not contain blanks, backslashes or control characters.");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("It must not contain a user or password: credentials have their own settings.");
    }
    if rest.contains('?') {
        return Err("It must not contain a query (?…): the extension adds its own.");
    }
    if rest.contains('#') {
        return Err("It must not contain a fragment (#…): it is never sent to a server.");
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            is_port(port).then_some(host).ok_or("Its port must be a number from 1 to 65535.")?
        }
        _ => authority,
    };
    if !is_host(host) {
        return Err("It must name a host: https://host[:port][/path].");
    }
    let url: Uri = text.parse().map_err(|_| "It is not a URL.")?;
    Ok(url.to_string().trim_end_matches('/').to_owned())
}

/// The host of a base URL, with its port where one is given: what messages name.
pub fn host_of(base: &str) -> &str {
    let rest = base.trim().split_once("://").map_or(base, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// A service's host and port.
///
/// # Errors
/// Its error, as a sentence.
///
/// ```
/// use enrich::url::host_port;
/// assert_eq!(host_port("whois.cymru.com:43"), Ok(("whois.cymru.com", 43)));
/// assert!(host_port("whois://whois.cymru.com:43").is_err());
/// ```
pub fn host_port(text: &str) -> Result<(&str, u16), &'static str> {
    let text = text.trim();
    if text.contains("//") {
        return Err("It must be host:port, without a scheme.");
    }
    if text.contains(['/', '?', '#']) {
        return Err("It must be host:port, without a path.");
    }
    if text.contains('@') {
        return Err("It must be host:port, without a user.");
    }
    let Some((host, port)) = text.rsplit_once(':') else { return Err("It must be host:port.") };
    if host.contains(':') && !host.starts_with('[') {
        return Err("An IPv6 address must be in brackets: [2001:db8::1]:43.");
    }
    if !is_host(host) {
        return Err("It must be host:port.");
    }
    match port.parse() {
        Ok(number) if is_port(port) => Ok((host, number)),
        _ => Err("Its port must be a number from 1 to 65535."),
    }
}

/// Whether a host of a URL is this machine, by its own words: `localhost`, or an address that leads nowhere else.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()),
        None => {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            !text.is_empty() && !text.starts_with('.') && !text.contains("..") && text.bytes().all(fits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_https_a_host_and_a_path() {
        for (text, kept) in [
            ("https://download.maxmind.com", "https://download.maxmind.com"),
            ("HTTPS://Mirror.example/", "https://Mirror.example"),
            ("https://10.0.0.1:8443/a/b/", "https://10.0.0.1:8443/a/b"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
            ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
            ("https://host/a@b", "https://host/a@b"),
        ] {
            assert_eq!(base(text).as_deref(), Ok(kept), "{text}");
        }
    }

    #[test]
    fn what_else_stands_in_a_url_is_refused_with_its_reason_and_not_repeated() {
        for (text, why) in [
            ("", "https://"),
            ("download.maxmind.com", "https://"),
            ("http://download.maxmind.com", "https://"),
            ("https://", "host"),
            ("https:///path", "host"),
            ("https://:443", "host"),
            ("https://hunter2@host", "user"),
            ("https://user:hunter2@host/x", "user"),
            ("https://user:hunter2@host:8443", "user"),
            ("https://host/?key=hunter2", "query"),
            ("https://host?hunter2", "query"),
            ("https://host/#hunter2", "fragment"),
            ("https://host#hunter2", "fragment"),
            ("https://host:0", "port"),
            ("https://host:65536", "port"),
            ("https://host:hunter2", "port"),
            ("https://host:", "port"),
            ("https://ho st/", "blanks"),
            ("https://host/a\nb", "blanks"),
            ("https://host\\@hunter2", "backslashes"),
            ("https://2001:db8::1", "host"),
            ("https://[hunter2]", "host"),
            ("https://a..b", "host"),
            ("https://ä.example", "host"),
        ] {
            let refused = base(text).expect_err(text);
            assert!(refused.contains(why) && !refused.contains("hunter2"), "{text}: {refused}");
        }
    }

    #[test]
    fn a_whois_service_is_a_host_and_a_port() {
        assert_eq!(host_port(" whois.cymru.com:43 "), Ok(("whois.cymru.com", 43)));
        assert_eq!(host_port("[::1]:4343"), Ok(("[::1]", 4343)));
        for (text, why) in [
            ("whois.cymru.com", "host:port"),
            ("whois://whois.cymru.com:43", "scheme"),
            ("https://whois.cymru.com:43", "scheme"),
            ("whois.cymru.com:43/", "path"),
            ("whois.cymru.com/x:43", "path"),
            ("whois.cymru.com:43?x", "path"),
            ("me@whois.cymru.com:43", "user"),
            ("::1:43", "brackets"),
            ("whois.cymru.com:0", "port"),
            ("whois.cymru.com:+43", "port"),
            ("whois.cymru.com:whois", "port"),
            (":43", "host:port"),
            ("who is:43", "host:port"),
        ] {
            let refused = host_port(text).expect_err(text);
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
