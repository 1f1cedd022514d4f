//! The errors of a download. They contain no key, and no URL that could contain one.

use std::io;
use std::time::Duration;

use ureq::http::Uri;

use crate::proxy::Proxy;
use crate::proxy::pace::TooSlow;
use crate::secrets::SecretError;
use crate::tls;

/// Why an edition did not arrive. The previous file stays in use.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// 401: the server does not know the account or the key.
    #[error("the server does not accept the account or its licence key (401)")]
    Unauthorized,
    /// 403: it knows them, and this edition is not theirs.
    #[error("the account may not download this edition (403)")]
    Forbidden,
    /// 429: the account's downloads of this day are used up.
    #[error("the account's daily download limit is reached (429)")]
    DailyLimit {
        /// How long the server wants to be left alone, where it says so.
        retry_after: Option<Duration>,
    },
    /// 304: nothing newer.
    #[error("not modified (304)")]
    NotModified,
    /// A refusal that comes as a web page. The server itself gives none: something in between has spoken.
    #[error("status {0} with a web page: probably from a proxy or firewall, not from the server")]
    Intercepted(u16),
    /// Any other status that is not a success.
    #[error("the server answers with status {0}")]
    Http(u16),
    /// A redirect that is not followed.
    #[error("the server redirects {0}")]
    Redirect(&'static str),
    /// The settings do not allow a request.
    #[error("{0}")]
    Setting(String),
    /// The server cannot be reached, or does not speak as it should.
    #[error("{0}")]
    Network(String),
    /// The time for one edition is over.
    #[error("the download took too long")]
    TooSlow,
    /// Less comes than the limits want.
    #[error("the download is too slow: less than {least} bytes in {} s", .window.as_secs())]
    Drips {
        /// Of the limits.
        least: u64,
        /// Of the limits.
        window: Duration,
    },
    /// Nobody wants it any more.
    #[error("the download was cancelled")]
    Cancelled,
    /// The connection ended before the answer did.
    #[error("the answer was cut short")]
    Cut,
    /// More than the limits allow.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// A web page in place of a file, whatever its status and its type say.
    #[error("the answer is a web page, not a file")]
    Page,
    /// Unpacked, and something else.
    #[error("the downloaded file is not an mmdb file")]
    NotADatabase,
    /// A list of networks without a byte: the one of before stays.
    #[error("the downloaded list is empty")]
    EmptyList,
    /// 401 of a source beside MaxMind's.
    #[error("the server does not accept the credentials of this source (401)")]
    Credentials,
    /// 403 of one.
    #[error("the server refuses this file (403)")]
    Denied,
    /// 429 of one.
    #[error("the server wants to be left alone (429)")]
    Busy {
        /// How long, where it says so.
        retry_after: Option<Duration>,
    },
    /// A reference in the source's URL.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// 404 or 410 of the sum beside the file of a source.
    #[error("the server answers with status {0} for the SHA-256 sum beside the file")]
    NoSum(u16),
    /// The archive does not match the server's SHA-256. A new build may have come in between.
    #[error("the archive does not match its SHA-256 sum")]
    HashMismatch,
    /// The download is not an archive.
    #[error("not an archive: {0}")]
    NotAnArchive(&'static str),
    /// An archive with something else in it than the one file that was asked for.
    #[error("the archive is refused: {0}")]
    Contents(&'static str),
    /// The file could not be written.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

impl DownloadError {
    /// The same request may succeed within seconds or minutes. A wrong sum is from a build that came in between, or a
    /// late copy; a web page is from a portal, or from the server during repairs.
    pub fn is_transient(&self) -> bool {
        match self {
            DownloadError::Network(_) | DownloadError::TooSlow | DownloadError::Drips { .. } => true,
            DownloadError::Cut => true,
            DownloadError::Intercepted(_) | DownloadError::HashMismatch | DownloadError::NotAnArchive(_) => true,
            DownloadError::Page | DownloadError::NotADatabase | DownloadError::EmptyList => true,
            DownloadError::Busy { .. } => true,
            DownloadError::Secret(error) => error.is_transient(),
            DownloadError::Http(status) => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// A source's no, which may be another one for other credentials: as [`Closed::is_refusal`](super::Closed::is_refusal).
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            DownloadError::Credentials
                | DownloadError::Denied
                | DownloadError::Http(404 | 410)
                | DownloadError::NoSum(_)
        )
    }

    /// Whether the host that was asked has a part in it: messages about a disk, a setting or a secret do not name it.
    pub fn is_of_host(&self) -> bool {
        !matches!(
            self,
            DownloadError::Disk(_) | DownloadError::Setting(_) | DownloadError::Secret(_) | DownloadError::Cancelled
        )
    }

    /// The meaning of the error of a request to this URL.
    pub(super) fn at(error: &ureq::Error, url: &Uri, proxy: Option<&Proxy>) -> DownloadError {
        match DownloadError::of(error) {
            DownloadError::Network(_) => DownloadError::Network(tls::failure_at(error, url, proxy).reason),
            other => other,
        }
    }

    /// What an answer means from a source beside MaxMind's, which knows no accounts and no editions.
    pub(super) fn of_site(self) -> DownloadError {
        match self {
            DownloadError::Unauthorized => DownloadError::Credentials,
            DownloadError::Forbidden => DownloadError::Denied,
            DownloadError::DailyLimit { retry_after } => DownloadError::Busy { retry_after },
            other => other,
        }
    }

    /// The meaning of an agent's error here.
    pub(super) fn of(error: &ureq::Error) -> DownloadError {
        if let ureq::Error::Other(inner) = error
            && let Some(TooSlow(pace)) = inner.downcast_ref()
        {
            return DownloadError::Drips { least: pace.bytes, window: pace.within };
        }
        match error {
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => DownloadError::Cut,
            ureq::Error::Timeout(ureq::Timeout::Global) => DownloadError::TooSlow,
            ureq::Error::BodyExceedsLimit(_) => DownloadError::TooLarge("the answer"),
            error => DownloadError::Network(tls::failure(error).reason),
        }
    }
}
