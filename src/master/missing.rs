//! Which listeners are missing, and what mends it.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::bind::{self, Refused};
use super::router::Router;
use crate::config::Config;

/// The listeners that should be there and are not, each with what mends it.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    units: RefCell<Vec<String>>,
    /// Ports of workers that systemd does not open.
    ports: RefCell<Vec<String>>,
    addresses: RefCell<Vec<Refused>>,
    replaced: Notify,
}

impl Missing {
    /// What systemd should have passed.
    pub(super) fn of_systemd(units: Vec<String>, ports: Vec<String>) -> Self {
        Self {
            units: RefCell::new(units),
            ports: RefCell::new(ports),
            ..Self::default()
        }
    }

    /// What could not be had.
    pub(super) fn of_addresses(refused: Vec<Refused>) -> Self {
        Self {
            addresses: RefCell::new(refused),
            ..Self::default()
        }
    }

    /// The units of systemd's.
    pub(super) fn units(&self) -> Vec<String> {
        self.units.borrow().clone()
    }

    /// From now on these are missing.
    pub(super) fn replace(&self, other: &Self) {
        self.units.swap(&other.units);
        self.ports.swap(&other.ports);
        self.addresses.swap(&other.addresses);
        self.replaced.notify_one();
    }

    /// What could not be had, as it was configured.
    pub(super) fn refused(&self) -> Vec<String> {
        let addresses = self.addresses.borrow();
        addresses.iter().map(Refused::configured).collect()
    }

    /// What the status line says of them.
    pub(crate) fn describe(&self) -> Vec<String> {
        let (units, ports) = (self.units.borrow(), self.ports.borrow());
        let units = units.iter().map(|unit| absent(unit));
        let ports = (!ports.is_empty()).then(|| unopened(&ports));
        let addresses = self.addresses.borrow();
        let addresses = addresses
            .iter()
            .map(|refused| format!("{}, tried again", refused.error));
        units.chain(ports).chain(addresses).collect()
    }

    /// Which they are, and why each is missing.
    pub(crate) fn list(&self) -> Vec<(String, String)> {
        let (units, ports) = (self.units.borrow(), self.ports.borrow());
        let units = units.iter().map(|unit| (unit.clone(), absent(unit)));
        let ports = ports.iter();
        let ports = ports.map(|port| (port.clone(), unopened(std::slice::from_ref(port))));
        let addresses = self.addresses.borrow();
        let addresses = addresses
            .iter()
            .map(|refused| (refused.place(), refused.error.to_string()));
        units.chain(ports).chain(addresses).collect()
    }

    /// Tries the addresses again, for ever; what can be had goes to the router.
    pub(crate) async fn keep_trying(&self, router: &Rc<Router>) {
        loop {
            bind::keep_trying(&self.addresses, router).await;
            self.replaced.notified().await;
        }
    }
}

pub(super) fn absent(unit: &str) -> String {
    // Its restart would be no restart of the service, which takes no further listener while it runs.
    let is_a_part = unit.ends_with("-metrics.socket") || unit.contains("-worker@");
    let restarted = if is_a_part { "my-app.service" } else { unit };
    format!("{unit} is not open: 'systemctl restart {restarted}' once its address is free")
}

/// What is said of workers' ports that no unit opens.
pub(super) fn unopened(ports: &[String]) -> String {
    let all = ports.join(", ");
    let units = ports.iter().filter_map(|port| port.rsplit_once(':'));
    let units: Vec<_> = units
        .map(|(_, port)| format!("my-app-worker@{port}.socket"))
        .collect();
    format!(
        "worker_listen: systemd opens no {all}: 'systemctl enable {}', then 'systemctl restart my-app.service'",
        units.join(" ")
    )
}

/// The ports of workers that systemd has not passed; those whose unit is known to be missing are told with that.
pub(super) fn unopened_ports(
    config: &Config,
    opened: &[Option<u16>],
    units: &[String],
) -> Vec<String> {
    let Some(ports) = &config.worker_listen else {
        return Vec::new();
    };
    let has = |slot| opened.contains(&Some(slot));
    let missing = (0..config.workers).filter(|slot| !has(*slot));
    let missing = missing.filter_map(|slot| ports.of(slot));
    let missing = missing.map(|address| address.to_string());
    let is_told = |address: &str| {
        let port = address.rsplit_once(':').map_or("", |(_, port)| port);
        let unit = format!("my-app-worker@{port}.socket");
        units.contains(&unit)
    };
    missing.filter(|address| !is_told(address)).collect()
}
