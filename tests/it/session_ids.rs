//! Session ids: who they let in.

use super::harness::*;

#[test]
fn a_polling_session_lives_on_one_connection_and_on_many() {
    let server = Server::start();
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::open(&mut raw);
    for nth in 0..20 {
        session.echo(&mut raw, &format!("same connection {nth}"));
        session.echo(&mut Raw::tcp(server.addr), &format!("new connection {nth}"));
    }
}
