//! The fakes against clients of our own over real sockets: every good answer and every fault. Needs no
//! PostgreSQL.

#[path = "fakes_self/dns.rs"]
mod dns;
#[path = "fakes_self/greynoise.rs"]
mod greynoise;
#[path = "fakes_self/program.rs"]
mod program;
#[path = "fakes_self/support.rs"]
mod support;
#[path = "fakes_self/whois.rs"]
mod whois;
