//! The fakes against clients of our own over real sockets: every good answer and every fault. Needs no
//! PostgreSQL.

mod dns;
mod greynoise;
mod program;
mod support;
mod whois;
