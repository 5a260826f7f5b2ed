//! No packet, from either side, does more than be refused.
#![no_main]

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use libfuzzer_sys::fuzz_target;
use v2m_client::protocol::{MAX_REPLY, MAX_REQUEST, Reply, Request, parse, receive};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = parse::<Request>(bytes) {
        // What is understood survives being said again.
        let again = said_again(&request);
        assert_eq!(again, request);
    }
    let _ = parse::<Reply>(bytes);
    // The same through a socket, where packets can be cut and empty.
    let (here, there) = UnixDatagram::pair().expect("a socket pair");
    here.send(bytes).ok();
    there.set_nonblocking(true).ok();
    let _ = receive::<Request>(there.as_fd(), MAX_REQUEST);
    here.send(bytes).ok();
    let _ = receive::<Reply>(there.as_fd(), MAX_REPLY);
});

fn said_again(request: &Request) -> Request {
    let (here, there) = UnixDatagram::pair().expect("a socket pair");
    v2m_client::protocol::send(here.as_fd(), request, None).expect("a request can be sent");
    receive(there.as_fd(), MAX_REQUEST).expect("and received").expect("at once").message
}
