//! As much of HTTP/1.1 as a fake needs that wants to break it byte by byte.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// No request that makes sense has a longer head.
const LONGEST_HEAD: usize = 16 * 1024;

/// The head of a request. Bodies are not expected: a request with one is malformed.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// `/v3/community/8.8.8.8`.
    pub path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// Reads the next request's head from `stream`, beginning with the `rest` of the last time; `None`: the client is
    /// gone.
    ///
    /// # Errors
    /// Of the connection, or an invalid head.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin), rest: &mut Vec<u8>) -> io::Result<Option<Request>> {
        loop {
            if let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = rest.drain(..end + 4).collect();
                let head = String::from_utf8_lossy(&head[..end]).into_owned();
                return Request::parse(&head).map(Some).ok_or_else(|| io::Error::other("no HTTP request"));
            }
            if rest.len() > LONGEST_HEAD {
                return Err(io::Error::other("a head without end"));
            }
            if stream.read_buf(rest).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn parse(head: &str) -> Option<Request> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        if first.next()? != "HTTP/1.1" || first.next().is_some() {
            return None;
        }
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = lines.map(header).collect::<Option<Vec<_>>>()?;
        Some(Request { method, path, headers })
    }

    /// A header's value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// Whether the client wants the connection to end with the response.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A response.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
}

impl Response {
    /// One with JSON.
    pub fn json(status: u16, body: &serde_json::Value) -> Response {
        Response { status, content_type: "application/json", body: body.to_string().into_bytes(), retry_after: None }
    }

    /// As it goes over the wire.
    pub fn bytes(&self, closes: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            405 => "Method Not Allowed",
            429 => "Too Many Requests",
            500 => "Internal Server Error",
            503 => "Service Unavailable",
            _ => "Status",
        };
        let mut head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        if let Some(after) = &self.retry_after {
            head.push_str(&format!("Retry-After: {after}\r\n"));
        }
        head.push_str(if closes { "Connection: close\r\n\r\n" } else { "Connection: keep-alive\r\n\r\n" });
        [head.as_bytes(), &self.body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_and_nonsense_is_not() {
        let request = Request::parse("GET /v3 HTTP/1.1\r\nHost: localhost\r\nKey:  abc ").unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/v3"));
        assert_eq!((request.header("key"), request.header("accept")), (Some("abc"), None));
        for head in ["", "GET /", "GET / HTTP/1.0", "GET / HTTP/1.1 x", "GET / HTTP/1.1\r\nno colon"] {
            assert_eq!(Request::parse(head), None, "{head}");
        }
    }
}
