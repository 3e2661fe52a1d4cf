//! The harness's machines are what they say: what other tests conclude stands on it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::harness::*;

#[test]
fn what_is_sent_over_a_cut_cable_arrives_when_it_is_whole_again() {
    let switch = Space::switch();
    let machine = Space::new("alpha");
    machine.plug_into(&switch, "alpha", "10.77.0.11");
    let bus = Bus::start(Kind::Redis, &switch);
    let mut stream = machine
        .network()
        .within(|| TcpStream::connect(bus.addr()).unwrap());
    let mut ping = |within: Duration| {
        stream.set_read_timeout(Some(within)).unwrap();
        let _ = stream.write_all(b"PING\r\n");
        let mut pong = [0; 7];
        stream.read_exact(&mut pong).map(|()| pong)
    };
    assert_eq!(ping(SOON).unwrap(), *b"+PONG\r\n");
    switch.unplug("alpha");
    assert!(ping(Duration::from_millis(500)).is_err());
    switch.plug("alpha");
    assert_eq!(ping(SOON).unwrap(), *b"+PONG\r\n");
}

#[test]
fn what_goes_through_a_relay_takes_its_time_and_can_be_cut() {
    let switch = Space::switch();
    let bus = Bus::start(Kind::Redis, &switch);
    let far = Relay::to(bus.addr(), switch.network(), Duration::from_millis(40));
    let addr = (bus.addr().ip(), far.port);
    let mut stream = switch
        .network()
        .within(|| TcpStream::connect(addr).unwrap());
    stream.set_read_timeout(Some(SOON)).unwrap();
    let began = Instant::now();
    stream.write_all(b"PING\r\n").unwrap();
    let mut pong = [0; 7];
    stream.read_exact(&mut pong).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(80));
    far.cut_all();
    assert!(stream.read_exact(&mut pong).is_err());
}

#[test]
fn each_kind_of_server_runs_stops_crashes_and_starts_again() {
    for kind in [Kind::Redis, Kind::Postgres] {
        let switch = Space::switch();
        let bus = Bus::start(kind, &switch);
        for _ in 0..2 {
            assert_eq!(bus.connections().len(), 0);
            bus.publish("a", b"it's");
            bus.stop();
            bus.go_on();
            bus.kill();
            bus.start_again();
        }
    }
}
