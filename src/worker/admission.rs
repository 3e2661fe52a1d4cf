//! The one admission point: who may open a session.
//!
//! Both of the intake's roads ask here, for handshakes of either transport and for upgrades, so
//! that nothing guards one road and not the other. A handshake is let in by the worker that reads it,
//! and counted by the master ([`reserve`](super::link::Master::reserve)). It also tells who a client is. (Which page
//! may have it connect, [`Cors`](super::http1::Cors) tells.)

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use http::header::HeaderName;
use http::request::Parts;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::api::{self, Admitted, App, ClientAddr, Refusal};
use crate::config::Limits;
use crate::metrics::Refused;
use crate::wire::link::{LetIn, NoPlace, Origin};

/// How long an application may take to say whether a client may come in.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// So many clients of a worker may wait for that.
const MAX_WAITING: usize = 1024;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// One for each worker; every handshake and every upgrade asks it once.
#[derive(Debug)]
pub(crate) struct Admission {
    app: App,
    limits: watch::Sender<Limits>,
    /// Is the memory full?
    full: AtomicBool,
    /// Clients that wait for the application's answer.
    waiting: Semaphore,
}

impl Admission {
    pub(crate) fn new(app: App, limits: &Limits) -> Self {
        Self {
            app,
            limits: watch::Sender::new(limits.clone()),
            full: AtomicBool::new(false),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// From now on these hold.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        self.limits.send_replace(limits.clone());
    }

    /// Who the client is. `X-Forwarded-For` counts only behind a proxy that is trusted: one on the
    /// Unix socket, or one of `trusted_proxies`.
    pub(crate) fn client(&self, origin: Origin, headers: &HeaderMap) -> ClientAddr {
        let limits = self.limits.borrow();
        let values: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
        let values = values
            .into_iter()
            .rev()
            .map(|value| value.to_str().unwrap_or_default());
        // Nobody is known yet behind the Unix socket: the proxy there is trusted, and nameless.
        let mut client = match origin {
            Origin::Tcp(peer) => Some(peer.ip().to_canonical()),
            Origin::Unix | Origin::Worker => None,
        };
        for hop in values.flat_map(|value| value.rsplit(',')).map(parse_hop) {
            // Behind something that is no address nothing can be believed.
            if hop.is_none() || !client.is_none_or(|ip| limits.trusts(ip)) {
                break;
            }
            client = hop;
        }
        ClientAddr(client)
    }

    /// Is what this peer says beside a request believed?
    pub(crate) fn trusts(&self, origin: Origin) -> bool {
        match origin {
            Origin::Tcp(peer) => self.limits.borrow().trusts(peer.ip()),
            Origin::Unix | Origin::Worker => true,
        }
    }

    /// May this client have what its request wants? Dropped, nobody waits for the answer any more.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn check(
        &self,
        request: &Parts,
        client: ClientAddr,
    ) -> Result<LetIn, Refusal> {
        let mut answer = (self.app.admit)(request, client);
        // Most applications know at once.
        let known = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        let Admitted { until } = match known {
            Poll::Ready(answer) => answer?,
            Poll::Pending => self.wait_for(answer).await?,
        };
        let until = until.map(|until| until.duration_since(UNIX_EPOCH).unwrap_or_default());
        let let_in = LetIn {
            until_ms: until.map(|until| u64::try_from(until.as_millis()).unwrap_or(u64::MAX)),
        };
        if let_in.left().is_some_and(|left| left.is_zero()) {
            return Err(Refusal::unauthorized(
                "the time for which you may come in is over",
            ));
        }
        Ok(let_in)
    }

    async fn wait_for(&self, answer: api::Admission<'_>) -> Result<Admitted, Refusal> {
        let Ok(_turn) = self.waiting.try_acquire() else {
            return Err(Refusal::busy(
                "too many clients wait to be let in, try again later",
            ));
        };
        timeout(ANSWER_WITHIN, answer).await.unwrap_or_else(|_| {
            Err(Refusal::busy(
                "nobody could say in time whether you may come in, try again later",
            ))
        })
    }

    /// From now on there is memory for new sessions, or there is none.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Relaxed);
    }

    /// May this worker open one more session now?
    ///
    /// # Errors
    /// When it has no memory for it.
    pub(crate) fn check_capacity(&self) -> Result<(), Refusal> {
        if self.full.load(Relaxed) {
            let refusal = Refusal::busy("the server is full, try again later");
            return Err(refusal.because(Refused::Memory));
        }
        Ok(())
    }
}

/// What a client is told whose session may not be opened now.
pub(crate) fn no_place(why: NoPlace) -> Refusal {
    match why {
        NoPlace::Full => {
            Refusal::busy("the server has as many sessions as it may, try again later")
                .because(Refused::Full)
        }
        NoPlace::Rate => {
            Refusal::busy("too many new sessions, try again in a second").because(Refused::Rate)
        }
        NoPlace::ClientRate => {
            Refusal::too_many("too many new sessions from this address, try again in a second")
                .because(Refused::AddressRate)
        }
        NoPlace::ClientFull => {
            Refusal::too_many("this address has as many sessions as it may, try again later")
                .because(Refused::AddressFull)
        }
    }
}

/// An entry of `X-Forwarded-For`: an address, by some proxies with a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| {
        let socket: std::net::SocketAddr = text.parse().ok()?;
        Some(socket.ip())
    });
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::SystemTime;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::config::Config;

    fn admission(config: &Config) -> Admission {
        Admission::new(crate::app::APP, &config.limits)
    }

    fn tcp(ip: &str) -> Origin {
        Origin::Tcp((ip.parse::<IpAddr>().unwrap(), 1).into())
    }

    fn client(trusted: &[&str], origin: Origin, forwarded: &[&str]) -> String {
        let mut config = Config::default();
        config.limits.trusted_proxies = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        admission(&config).client(origin, &headers).to_string()
    }

    #[test]
    fn an_untrusted_peer_cannot_say_who_it_is() {
        assert_eq!(client(&[], tcp("192.0.2.1"), &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(
            client(&["10.0.0.0/8"], tcp("192.0.2.1"), &["203.0.113.9"]),
            "192.0.2.1"
        );
    }

    #[test]
    fn the_last_untrusted_hop_is_the_client() {
        let proxies = ["10.0.0.0/8"];
        let forged = "198.51.100.66, 203.0.113.9, 10.0.0.7";
        assert_eq!(client(&proxies, tcp("10.0.0.1"), &[forged]), "203.0.113.9");
        assert_eq!(
            client(&proxies, tcp("10.0.0.1"), &["6.6.6.6", "203.0.113.9"]),
            "203.0.113.9"
        );
        assert_eq!(client(&proxies, tcp("10.0.0.1"), &["10.0.0.5"]), "10.0.0.5");
        assert_eq!(client(&proxies, tcp("10.0.0.1"), &[]), "10.0.0.1");
        assert_eq!(
            client(&proxies, tcp("::ffff:10.0.0.1"), &["203.0.113.9:443"]),
            "203.0.113.9"
        );
    }

    #[test]
    fn on_the_unix_socket_the_proxy_is_believed_and_its_clients_are_not() {
        assert_eq!(
            client(&[], Origin::Unix, &["6.6.6.6, 203.0.113.9"]),
            "203.0.113.9"
        );
        assert_eq!(client(&[], Origin::Unix, &[]), "unknown");
        assert_eq!(client(&[], Origin::Unix, &["garbage"]), "unknown");
        let behind = client(&["10.0.0.0/8"], Origin::Unix, &["203.0.113.9, 10.0.0.7"]);
        assert_eq!(behind, "203.0.113.9");
    }

    #[test]
    fn garbage_between_hops_ends_the_search() {
        let hops = "203.0.113.9, garbage, 10.0.0.7";
        assert_eq!(
            client(&["10.0.0.0/8"], tcp("10.0.0.1"), &[hops]),
            "10.0.0.7"
        );
    }

    /// What the application says, which has `admit`, and when.
    async fn checked(admission: &Admission) -> (Result<LetIn, Refusal>, Duration) {
        let (parts, ()) = http::Request::new(()).into_parts();
        let began = Instant::now();
        let answer = admission.check(&parts, ClientAddr(None)).await;
        (answer, began.elapsed())
    }

    fn asking(admit: for<'a> fn(&'a Parts, ClientAddr) -> api::Admission<'a>) -> Admission {
        let app = App {
            admit,
            ..crate::app::APP
        };
        Admission::new(app, &Config::default().limits)
    }

    #[tokio::test(start_paused = true)]
    async fn an_application_may_take_its_time_but_not_all_of_it() {
        let late = asking(|_, _| {
            Box::pin(async {
                sleep(Duration::from_secs(9)).await;
                Ok(Admitted::default())
            })
        });
        assert_eq!(
            checked(&late).await,
            (Ok(LetIn::default()), Duration::from_secs(9))
        );
        let never = asking(|_, _| Box::pin(pending()));
        let (answer, took) = checked(&never).await;
        assert_eq!(
            (answer.unwrap_err().status.as_u16(), took),
            (503, ANSWER_WITHIN)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_may_wait_for_an_answer_and_no_more() {
        let never = asking(|_, _| Box::pin(pending()));
        let all = futures_util::future::join_all((0..MAX_WAITING).map(|_| checked(&never)));
        let mut all = Box::pin(all);
        tokio::select! {
            _ = &mut all => panic!("nobody was answered"),
            () = sleep(Duration::from_secs(1)) => {}
        }
        let (answer, took) = checked(&never).await;
        assert_eq!(
            (answer.unwrap_err().status.as_u16(), took),
            (503, Duration::ZERO)
        );
        // Who goes away waits no more.
        drop(all);
        assert_eq!(checked(&never).await.1, ANSWER_WITHIN);
    }

    #[tokio::test]
    async fn who_is_let_in_for_a_time_is_told_so_unless_it_is_over() {
        let hour = asking(|_, _| {
            let until = SystemTime::now() + Duration::from_hours(1);
            Box::pin(async move { Ok(Admitted::until(until)) })
        });
        let left = checked(&hour).await.0.unwrap().left().unwrap();
        assert!(
            left <= Duration::from_hours(1) && left > Duration::from_mins(59),
            "{left:?}"
        );
        let over = asking(|_, _| Box::pin(async { Ok(Admitted::until(SystemTime::now())) }));
        assert_eq!(checked(&over).await.0.unwrap_err().status.as_u16(), 401);
    }

    #[test]
    fn a_worker_without_memory_opens_no_sessions() {
        let admission = admission(&Config::default());
        assert!(admission.check_capacity().is_ok());
        admission.set_full(true);
        assert!(admission.check_capacity().is_err());
    }
}
