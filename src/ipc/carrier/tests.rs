use super::*;
use std::os::unix::net::UnixStream;

/// Who writes into what was put in is read from by who has taken it.
fn pass(count: usize, state: &[u8]) -> (Luggage, Vec<UnixStream>, Vec<Fd>) {
    let (mut carrier, far) = Carrier::new().unwrap();
    let mut kept = Vec::new();
    let mut places = Vec::new();
    for _ in 0..count {
        let (ours, theirs) = UnixStream::pair().unwrap();
        places.push(carrier.put(theirs.as_fd()).unwrap());
        kept.push(ours);
    }
    carrier.finish(state).unwrap();
    (Luggage::receive(far).unwrap(), kept, places)
}

#[test]
fn descriptors_and_the_state_arrive_each_in_its_place() {
    for count in [0, 1, BATCH - 1, BATCH, BATCH + 1] {
        let (mut luggage, mut kept, places) = pass(count, b"state");
        assert_eq!(luggage.state(), b"state");
        assert_eq!(luggage.left(), count);
        for (at, (ours, place)) in kept.iter_mut().zip(&places).enumerate().rev() {
            let number = u32::try_from(at).unwrap();
            assert_eq!(*place, Fd(number));
            ours.write_all(&number.to_le_bytes()).unwrap();
            let mut taken = UnixStream::from(luggage.take(*place).unwrap());
            let mut said = [0; 4];
            taken.read_exact(&mut said).unwrap();
            assert_eq!(u32::from_le_bytes(said), number);
        }
        assert_eq!(luggage.left(), 0);
    }
}

#[test]
fn a_descriptor_is_taken_once_and_an_unknown_one_never() {
    let (mut luggage, _kept, places) = pass(1, b"");
    luggage.take(places[0]).unwrap();
    for place in [places[0], Fd(1), Fd(u32::MAX)] {
        let refused = luggage.take(place);
        assert!(matches!(refused, Err(CarrierError::Missing(it)) if it == place));
    }
}

#[test]
fn much_state_and_five_thousand_descriptors_are_an_ordinary_load() {
    let null = File::open("/dev/null").unwrap();
    let (mut carrier, far) = Carrier::new().unwrap();
    for _ in 0..5_000 {
        carrier.put(null.as_fd()).unwrap();
    }
    let state = vec![7; 64 << 20];
    carrier.finish(&state).unwrap();
    assert_eq!(
        first_packets(&far),
        5_000,
        "nobody needs them all at once here"
    );
}

/// Counts what comes without keeping it: this process may not have so many descriptors.
fn first_packets(far: &OwnedFd) -> usize {
    let mut count = 0;
    loop {
        match receive(far).unwrap() {
            Packet::Passed(fds) => count += fds.len(),
            Packet::Last { .. } => return count,
        }
    }
}

#[test]
fn what_only_counts_gives_the_same_places() {
    let null = File::open("/dev/null").unwrap();
    let mut counting = Carrier::counting();
    let (mut carrying, _far) = Carrier::new().unwrap();
    for _ in 0..300 {
        let places = [&mut counting, &mut carrying].map(|it| it.put(null.as_fd()).unwrap());
        assert_eq!(places[0], places[1]);
    }
    counting.finish(b"state").unwrap();
}

#[test]
fn what_is_cut_off_or_foreign_is_an_error() {
    let null = File::open("/dev/null").unwrap();
    let (mut carrier, far) = Carrier::new().unwrap();
    for _ in 0..300 {
        carrier.put(null.as_fd()).unwrap();
    }
    drop(carrier);
    let cut = Luggage::receive(far);
    assert!(matches!(cut, Err(CarrierError::Incomplete)), "{cut:?}");

    let (carrier, far) = Carrier::new().unwrap();
    let open = Luggage::receive(far.try_clone().unwrap());
    assert!(matches!(open, Err(CarrierError::Incomplete)), "{open:?}");
    send(carrier.socket.as_ref().unwrap(), b"?", &[null.as_fd()]).unwrap();
    let foreign = Luggage::receive(far);
    assert!(matches!(foreign, Err(CarrierError::Foreign)), "{foreign:?}");

    let file = Luggage::receive(null.into());
    assert!(matches!(file, Err(CarrierError::Foreign)), "{file:?}");
}

/// In a process of its own, for the limit is the whole process's.
#[test]
fn a_limit_that_is_reached_is_an_error_that_says_what_to_do() {
    crate::process::passes_alone("ipc::carrier::tests::alone_a_limit_that_is_reached_is_an_error");
}

#[test]
#[ignore = "the test above runs it, in a process of its own"]
fn alone_a_limit_that_is_reached_is_an_error() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let null = File::open("/dev/null").unwrap();
    // A table that is full.
    let (mut carrier, far) = Carrier::new().unwrap();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(64);
    setrlimit(Resource::Nofile, limit).unwrap();
    let put = (0..100).find_map(|_| carrier.put(null.as_fd()).err());
    assert_eq!(
        put.unwrap().raw_os_error(),
        Some(Errno::MFILE.raw_os_error())
    );
    drop((carrier, far));
    // A queue that is full.
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let (mut carrier, far) = Carrier::new().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(carrier.socket.as_ref().unwrap(), 0).unwrap();
    let put = (0..1_000_000).find_map(|_| carrier.put(null.as_fd()).err());
    let put = put.unwrap().to_string();
    assert!(
        put.contains("wmem_max") || put.contains("LimitNOFILE"),
        "{put}"
    );
    drop(carrier);
    // Descriptors that find no room at their new place.
    let (mut carrier, far2) = Carrier::new().unwrap();
    for _ in 0..253 {
        carrier.put(null.as_fd()).unwrap();
    }
    carrier.finish(b"").unwrap();
    limit.current = Some(64);
    setrlimit(Resource::Nofile, limit).unwrap();
    let received = Luggage::receive(far2);
    assert!(
        matches!(received, Err(CarrierError::NoRoom)),
        "{received:?}"
    );
    drop(far);
}
