//! Settings of downloads: where newer files come from, and when.

use enrich::maxmind::download::Site;
use pgrx::guc::GucFlags;

use super::text;
use super::texts::*;

static MAXMIND_ACCOUNT_ID: Text = text_of(c"");
static MAXMIND_LICENSE_KEY: Text = text_of(c"env:MAXMIND_LICENSE_KEY");
static MAXMIND_URL: Text = text_of(c"https://download.maxmind.com");
static MMDB_SOURCES: Text = text_of(c"");
static MAXMIND_UPDATE_SCHEDULE: Text = text_of(c"17 5 * * 3,6");

/// Where newer files come from.
#[derive(Clone, Debug)]
pub struct Downloads {
    /// The account's number; empty: the older form of URL.
    pub account_id: String,
    /// Where the key is.
    pub license_key: String,
    /// Base URL.
    pub url: String,
    /// Where other editions, and lists of networks, come from.
    pub sites: Vec<Site>,
    /// When to look.
    pub schedule: String,
}

/// The settings of downloads now.
pub fn downloads() -> Downloads {
    Downloads {
        account_id: text(&MAXMIND_ACCOUNT_ID),
        license_key: text(&MAXMIND_LICENSE_KEY),
        url: text(&MAXMIND_URL),
        sites: Site::list(&text(&MMDB_SOURCES)).unwrap_or_default(),
        schedule: text(&MAXMIND_UPDATE_SCHEDULE),
    }
}

/// Defines the settings.
pub fn define() {
    let plain = GucFlags::default();
    let secret = GucFlags::SUPERUSER_ONLY;
    define_texts(&[
        (
            c"asn_inventory.maxmind_account_id",
            c"Number of the MaxMind account for downloads; empty: the older form of URL, which needs no account.",
            c"It belongs to asn_inventory.maxmind_license_key.",
            &MAXMIND_ACCOUNT_ID,
            secret,
            Some(check_account),
        ),
        (
            c"asn_inventory.maxmind_license_key",
            c"Where the key for downloads is stored: a reference such as env:MAXMIND_LICENSE_KEY, never the key itself.",
            c"If it cannot be resolved, nothing is downloaded.",
            &MAXMIND_LICENSE_KEY,
            secret,
            Some(check_license_key),
        ),
        (
            c"asn_inventory.maxmind_url",
            c"Base of the URL that files are downloaded from; https only.",
            c"The certificate is always verified, and the key is never sent to another host.",
            &MAXMIND_URL,
            secret,
            Some(check_maxmind_url),
        ),
        (
            c"asn_inventory.mmdb_sources",
            c"Where editions that MaxMind's server does not have and lists of networks come from: name=URL, comma separated.",
            c"In a URL {year}, {month}, {day} and {secret:REFERENCE} are filled in; #list (a list of networks), #sha256 and #every=6h may follow. A key itself is refused.",
            &MMDB_SOURCES,
            secret,
            Some(check_sources),
        ),
        (
            c"asn_inventory.maxmind_update_schedule",
            c"When the worker looks for newer files of MaxMind and of asn_inventory.mmdb_sources: five cron fields, UTC; empty: only when update_maxmind() asks.",
            c"The worker starts up to half an hour later, so that servers do not all connect at once.",
            &MAXMIND_UPDATE_SCHEDULE,
            plain,
            Some(check_schedule),
        ),
    ]);
}
