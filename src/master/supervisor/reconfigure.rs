//! Another configuration for workers that there are.

use std::rc::Rc;

use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::super::dialogue::reconfigure;
use super::care::PING;
use super::slot::{Slot, Worker};
use super::{Generation, Supervisor};
use crate::config::Config;

impl Supervisor {
    /// The configuration of the generation that gets what is new.
    pub(crate) fn current_config(&self) -> Option<Rc<Config>> {
        let current = self.generation(self.parts.pool.current());
        current.map(|it| it.config())
    }

    /// Is that generation the one that was started last? It is not if that did not start.
    pub(crate) fn current_is_last(&self) -> bool {
        self.last.get() == self.parts.pool.current()
    }

    /// From now on a generation has this configuration, which needs no new workers. How many of its workers do not
    /// know it by `deadline`; they are told when they listen.
    pub(crate) async fn reconfigure(
        &self,
        number: u16,
        config: Rc<Config>,
        deadline: Instant,
    ) -> usize {
        let Some(generation) = self.generation(number) else {
            return 0;
        };
        generation.config.send_replace(config);
        let all_know = async {
            loop {
                let changed = self.changed.notified();
                if generation.unaware() == 0 {
                    return;
                }
                changed.await;
            }
        };
        // Who is late is counted.
        let _ = timeout_at(deadline, all_know).await;
        generation.unaware()
    }
}

impl Generation {
    /// How many of its workers do not know its configuration.
    pub(super) fn unaware(&self) -> usize {
        let config = self.config();
        let workers = self.slots.borrow();
        let workers = workers.iter().filter_map(|slot| slot.worker());
        workers.filter(|worker| !worker.knows(&config)).count()
    }
}

impl Slot {
    /// What holds now, unless it knows.
    pub(super) async fn tell_config(&self, worker: &Worker) {
        let config = self.config();
        if !worker.ready.get() || worker.knows(&config) {
            return;
        }
        match reconfigure(&worker.member.link, &config, PING).await {
            Ok(false) => {}
            Ok(true) => {
                worker.told_config.replace(Some(config));
                self.moved();
            }
            Err(error) => {
                debug!(%error, pid = worker.member.pid, "a worker is told later what changed");
            }
        }
    }
}

impl Worker {
    /// Is that the configuration which it has?
    pub(super) fn knows(&self, config: &Rc<Config>) -> bool {
        let told = self.told_config.borrow();
        told.as_ref().is_some_and(|it| Rc::ptr_eq(it, config))
    }
}
