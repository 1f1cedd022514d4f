//! As much of HTTP/1.1 as a server of small GETs needs, by hand: faults want to say how each byte is sent.

use super::scanners::Answer;
use std::fmt::Write as _;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How long a request's head may be.
const MOST_HEAD: usize = 16 << 10;
/// How much of a body is read and thrown away.
const MOST_BODY: usize = 1 << 20;

/// A request, as far as anybody cares.
#[derive(Debug, Default, PartialEq)]
pub struct Head {
    /// `GET`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The header `key`.
    pub key: Option<String>,
    /// The client wants the connection closed.
    pub close: bool,
    body: usize,
}

/// Reads requests off a connection; keeps what arrived too early.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    /// The next request; `None`: the client closed.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no request.
    pub async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Head>> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.buffer.len() > MOST_HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        };
        let head = parse(&String::from_utf8_lossy(&self.buffer[..end]))?;
        self.buffer.drain(..end);
        while self.buffer.len() < head.body {
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
        self.buffer.drain(..head.body);
        Ok(Some(head))
    }
}

fn parse(text: &str) -> io::Result<Head> {
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(path), Some("HTTP/1.1"), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut head = Head { method: method.into(), path: path.into(), ..Head::default() };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "key" => head.key = Some(value.into()),
            "connection" => head.close = value.eq_ignore_ascii_case("close"),
            "content-length" => {
                let length = value.parse().ok().filter(|&length| length <= MOST_BODY);
                head.body = length.ok_or(io::ErrorKind::InvalidData)?;
            }
            _ => {}
        }
    }
    Ok(head)
}

/// An answer's bytes.
pub fn response(answer: &Answer, content_type: &str) -> Vec<u8> {
    let reason = match answer.status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        500..=599 => "Server Error",
        _ => "Other",
    };
    let mut text = format!("HTTP/1.1 {} {reason}\r\nContent-Type: {content_type}\r\n", answer.status);
    let mut header = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = write!(text, "{name}: {value}\r\n");
    };
    header("Content-Length", &answer.body.len().to_string());
    header("Connection", "keep-alive");
    if let Some(after) = &answer.retry_after {
        header("Retry-After", after);
    }
    text.push_str("\r\n");
    text.push_str(&answer.body);
    text.into_bytes()
}
