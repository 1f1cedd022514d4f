//! Plain HTTP, and proxies.

use super::*;
use crate::proxy::Plan;
use crate::proxy::fake::{FakeProxy, Way};
use crate::secrets::fake::FAR;

#[test]
fn plain_http_is_for_this_machine_alone_and_a_proxy_for_all_others() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
            head.push(byte[0]);
        }
        let body = database("plain");
        write!(stream, "HTTP/1.1 200 X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).unwrap();
        stream.write_all(&body).unwrap();
    });
    let far = Fake::start(|_| Reply::new(200, &[], database("far")));
    let way = FakeProxy::start(Way::Tunnel);
    let mut bench = Bench::new(&far);
    bench.resolver.proxy = Some(Plan { https_proxy: way.url(), ..Plan::default() });
    let sites = format!("a=http://localhost:{port}/x, b={}/x", far.url(FAR));
    assert_eq!(bench.run(&sites, NOON), "Downloaded | Downloaded");
    server.join().unwrap();
    assert_eq!((bench.file("a"), bench.file("b")), (Some(database("plain")), Some(database("far"))));
    assert_eq!(way.asked().len(), 1);
    // A proxy that is of no use: its name, and the target's.
    let wall = FakeProxy::start(Way::Says("HTTP/1.1 403 X\r\nContent-Type: text/html\r\n\r\n<html>blocked"));
    bench.resolver.proxy = Some(Plan { https_proxy: wall.url(), ..Plan::default() });
    let told = bench.run(&format!("b={}/y", far.url(FAR)), NOON);
    assert!(
        told.starts_with(&format!("the proxy {} answers with status 403, asked for {FAR}:", wall.name())),
        "{told}"
    );
    bench.resolver.proxy =
        Some(Plan { https_proxy: "http://p:1".to_owned(), credentials: "env:NONE".to_owned(), ..Plan::default() });
    let told = bench.run(&format!("b={}/z", far.url(FAR)), NOON);
    assert_eq!(
        told,
        "asn_inventory.https_proxy_credentials cannot be resolved: env:NONE: is not set in the server's environment; None"
    );
}
