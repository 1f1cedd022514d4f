//! GreyNoise Community by HTTPS: `GET /v3/community/{ip}`, a key, a quota.

use super::data::Scanner;
use super::door::{Door, reset_on_close};
use super::fault::{Fault, GreyNoiseFault, Kind};
use super::http::{Request, Response};
use super::log::{Service, Via};
use super::state::{Received, State};
use super::tls::Identities;
use serde_json::{Value as Json, json};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

const PATH: &str = "/v3/community/";
const TWO_MEGABYTES: usize = 2 * 1024 * 1024;
const PAGE: &[u8] = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please sign in.</body></html>";

/// Answers connections.
pub async fn serve(state: Arc<State>, mut door: Door, identities: Identities) {
    loop {
        let stream = door.next().await;
        let (state, identities) = (Arc::clone(&state), identities.clone());
        tokio::spawn(async move {
            let acceptor = if state.faults().strike_certificate() { identities.wrong } else { identities.right };
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = connection(&state, stream).await;
            }
        });
    }
}

/// Requests one after the other, until the client leaves or a fault concerns new connections only: an idle
/// connection must not outlive the moment from which none is accepted.
async fn connection(state: &State, mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    let mut changed = state.changed.subscribe();
    let mut rest = Vec::new();
    loop {
        let request = tokio::select! {
            biased;
            request = Request::read(&mut stream, &mut rest) => request?,
            _ = changed.wait_for(|_| state.faults().strikes_connections(Service::Greynoise)) => None,
        };
        let Some(request) = request else {
            return stream.shutdown().await;
        };
        if !respond(state, &mut stream, &request).await? {
            return Ok(());
        }
    }
}

/// Answers one request; whether the connection stays.
async fn respond(state: &State, stream: &mut TlsStream<TcpStream>, request: &Request) -> io::Result<bool> {
    let ip: Option<IpAddr> = request.path.strip_prefix(PATH).and_then(|text| text.parse().ok());
    let (what, key) = (format!("{} {}", request.method, request.path), request.header("key").is_some());
    let received = Received { service: Service::Greynoise, what, via: Via::Tls, malformed: ip.is_none(), key };
    let (delay, fault) = state.receive(received, ip.as_slice());
    if delay > Duration::ZERO {
        tokio::time::sleep(delay).await;
    }
    let closes = request.closes();
    let bytes = |response: Response| response.bytes(closes);
    let bytes = match greynoise_fault(fault) {
        Some(GreyNoiseFault::Hang) => std::future::pending().await,
        Some(GreyNoiseFault::Reset(after)) => {
            let bytes = bytes(answer(state, request, ip));
            stream.write_all(&bytes[..after.min(bytes.len())]).await?;
            stream.flush().await?;
            reset_on_close(stream.get_ref().0);
            return Ok(false);
        }
        Some(GreyNoiseFault::SlowLoris(ms)) => {
            for byte in bytes(answer(state, request, ip)) {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            Vec::new()
        }
        Some(GreyNoiseFault::Status { status, body, retry_after }) => {
            let body = body.unwrap_or_default().into_bytes();
            bytes(Response { status, content_type: "application/json", body, retry_after })
        }
        Some(GreyNoiseFault::Html200) => {
            bytes(Response { status: 200, content_type: "text/html", body: PAGE.to_vec(), retry_after: None })
        }
        Some(GreyNoiseFault::Body2Mb) => {
            let mut body = seen(&example(ip));
            body["message"] = "x".repeat(TWO_MEGABYTES).into();
            bytes(Response::json(200, &body))
        }
        Some(GreyNoiseFault::BadLastSeen) => {
            let mut body = seen(&example(ip));
            body["last_seen"] = "the day before yesterday".into();
            bytes(Response::json(200, &body))
        }
        Some(GreyNoiseFault::OnlyIp) => bytes(Response::json(200, &json!({ "ip": ip }))),
        None | Some(GreyNoiseFault::Delay(_) | GreyNoiseFault::Refuse | GreyNoiseFault::WrongName) => {
            bytes(answer(state, request, ip))
        }
    };
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    if closes {
        stream.shutdown().await?;
    }
    Ok(!closes)
}

fn greynoise_fault(fault: Option<Fault>) -> Option<GreyNoiseFault> {
    match fault?.kind {
        Kind::Greynoise(fault) => Some(fault),
        _ => None,
    }
}

/// A listed address, for faults that need one.
fn example(ip: Option<IpAddr>) -> Scanner {
    let ip = match ip {
        Some(IpAddr::V4(v4)) => v4,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    Scanner::noise(ip, "malicious", "unknown")
}

/// The right answer. Only a 200 or 404 about an address is taken from the quota.
fn answer(state: &State, request: &Request, ip: Option<IpAddr>) -> Response {
    let mut world = state.world();
    if world.key.as_deref().is_some_and(|key| request.header("key") != Some(key)) {
        return Response::json(401, &json!({ "message": "unauthorized" }));
    }
    if request.method != "GET" {
        return Response::json(405, &json!({ "message": "method not allowed" }));
    }
    if !request.path.starts_with(PATH) {
        return Response::json(404, &json!({ "message": "no such endpoint" }));
    }
    let scanner = match ip {
        Some(IpAddr::V4(v4)) if world.scanner(v4).is_some() || is_routable(v4) => world.scanner(v4).cloned().ok_or(v4),
        _ => {
            let message = "Request is not a valid routable IPv4 address";
            return Response::json(400, &json!({ "ip": ip, "noise": false, "riot": false, "message": message }));
        }
    };
    if let Some(quota) = &mut world.quota {
        if quota.left == 0 {
            let body = json!({
                "plan": "unauthenticated",
                "rate-limit": "quota of this test",
                "message": "You have hit your rate limit.",
            });
            return Response { retry_after: quota.retry_after.clone(), ..Response::json(429, &body) };
        }
        quota.left -= 1;
    }
    match scanner {
        Ok(scanner) => Response::json(200, &seen(&scanner)),
        Err(ip) => Response::json(
            404,
            &json!({
                "ip": ip, "noise": false, "riot": false,
                "message": "IP not observed scanning the internet or contained in RIOT data set.",
            }),
        ),
    }
}

/// The body about a listed address: its data.
fn seen(scanner: &Scanner) -> Json {
    // A struct of strings and booleans is always JSON.
    let mut body = serde_json::to_value(scanner).unwrap_or_default();
    body["link"] = format!("https://viz.greynoise.invalid/ip/{}", scanner.ip).into();
    body["message"] = "Success".into();
    body
}

/// Whether the service takes an address. Data wins over this: a test may list any address.
fn is_routable(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmarking = a == 198 && (b & 0xfe) == 18;
    !(a == 0
        || a >= 224
        || shared
        || benchmarking
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_purpose_addresses_are_not_routable() {
        for text in ["0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.1.1", "192.0.2.1", "198.19.0.1"] {
            assert!(!is_routable(text.parse().unwrap()), "{text}");
        }
        for text in ["224.0.0.1", "255.255.255.255"] {
            assert!(!is_routable(text.parse().unwrap()), "{text}");
        }
        for text in ["8.8.8.8", "100.63.255.255", "100.128.0.0", "198.20.0.0", "223.255.255.255"] {
            assert!(is_routable(text.parse().unwrap()), "{text}");
        }
    }
}
