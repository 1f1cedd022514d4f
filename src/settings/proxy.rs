//! Settings of an outgoing proxy: the way of downloads, of questions to GreyNoise and to Vault.

use enrich::proxy::Plan;
use pgrx::guc::GucFlags;

use super::text;
use super::texts::*;

static HTTPS_PROXY: Text = text_of(c"");
static NO_PROXY: Text = text_of(c"");
static HTTPS_PROXY_CREDENTIALS: Text = text_of(c"");

/// The settings now.
pub fn proxy() -> Plan {
    Plan { https_proxy: text(&HTTPS_PROXY), no_proxy: text(&NO_PROXY), credentials: text(&HTTPS_PROXY_CREDENTIALS) }
}

/// Defines the settings.
pub fn define() {
    let secret = GucFlags::SUPERUSER_ONLY;
    define_texts(&[
        (
            c"asn_inventory.https_proxy",
            c"Proxy for downloads, GreyNoise and Vault: http://host:port; empty: https_proxy of the server's environment.",
            c"It opens tunnels (CONNECT); certificates are verified through them. This machine is always asked directly.",
            &HTTPS_PROXY,
            secret,
            Some(check_proxy),
        ),
        (
            c"asn_inventory.no_proxy",
            c"Hosts that are asked without the proxy, comma separated: host, .domain, network, or *; empty: no_proxy of the server's environment.",
            c"A domain stands for all hosts in it. Networks are for addresses in URLs; names are not resolved.",
            &NO_PROXY,
            secret,
            Some(check_no_proxy),
        ),
        (
            c"asn_inventory.https_proxy_credentials",
            c"Where user:password for the proxy is stored: a reference such as file:/etc/asn_inventory/proxy, never the password itself.",
            c"If it cannot be resolved, nothing is asked through the proxy.",
            &HTTPS_PROXY_CREDENTIALS,
            secret,
            Some(check_proxy_credentials),
        ),
    ]);
}
