//! The meaning of a TLS error, for the person who fixes it: which side, and how. Short enough for one line of a view.

use chrono::DateTime;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

/// One sentence. Names that the server presents are not repeated.
pub(super) fn of(error: &Error) -> String {
    use CertificateError::{
        Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext, NotValidForName, NotValidForNameContext,
        NotValidYet, NotValidYetContext, Other, Revoked, UnknownIssuer,
    };
    let Error::InvalidCertificate(why) = error else { return format!("TLS: {error}") };
    let why = match why {
        Expired => "has expired: renew it on that server, unless the clock here is ahead".to_owned(),
        ExpiredContext { not_after, .. } => {
            format!("expired on {}: renew it on that server, unless the clock here is ahead", day(*not_after))
        }
        NotValidYet => "is not valid yet: the clock here may be behind".to_owned(),
        NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}: the clock here may be behind", day(*not_before))
        }
        UnknownIssuer => "is not signed by a trusted authority (UnknownIssuer): put its authority's certificate \
             (a company's, an inspecting proxy's) into asn_inventory.tls_ca_file"
            .to_owned(),
        NotValidForName => "is for another host name: use a name from the certificate in the URL".to_owned(),
        NotValidForNameContext { expected, .. } => {
            format!("is not for {}: use a name from the certificate in the URL", expected.to_str())
        }
        Revoked => "was revoked: renew it on that server".to_owned(),
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "is not for servers: it needs the extended key usage serverAuth".to_owned()
        }
        Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "is an authority's (CA:TRUE), and a server cannot use it as its own: make one with CA:FALSE there, and put \
             that, or who signed it, into asn_inventory.tls_ca_file"
                .to_owned()
        }
        _ => format!("is refused: {error}"),
    };
    format!("TLS: the server's certificate {why}")
}

fn day(at: UnixTime) -> String {
    let at = i64::try_from(at.as_secs()).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    at.map_or_else(|| "an unknown day".to_owned(), |at| at.format("%Y-%m-%d").to_string())
}
