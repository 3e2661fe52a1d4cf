//! How the master's parts come to be: afresh, or from what another program has handed over in this process.

use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use tokio::task::spawn_local;
use tracing::warn;

use super::bridge::Bridges;
use super::child::Process;
use super::control::{self, Control, Phase};
use super::drains::Drains;
use super::ends::Ends;
use super::faults::Faults;
use super::hub::{Hub, Identity};
use super::listeners::{self, Inherited};
use super::log::Log;
use super::pool::Pool;
use super::reload::{Driver, Program, Reloads, ResumeError, Resumed};
use super::router::{Router, RouterState};
use super::supervisor::Supervisor;
use super::totals::Totals;
use super::{Master, MasterError, Parts, TICK};
use crate::cli::{BridgeArgs, RunArgs};
use crate::config::Config;
use crate::ipc::carrier::Luggage;
use crate::logging::LogGuard;
use crate::systemd::Notify;
use crate::wire::handover::State;
use crate::wire::session_id::Keyring;

/// A server that starts.
///
/// # Errors
/// When it cannot start.
pub(super) async fn afresh(
    mut config: Config,
    mut inherited: Inherited,
    log: LogGuard,
    own_bridge: Option<BridgeArgs>,
) -> Result<Master, MasterError> {
    let metrics = inherited.take_metrics();
    config.workers = config.worker_count();
    let (listeners, missing) = listeners::open(inherited, &config).await?;
    let faults = Faults::default();
    let absent = missing.describe();
    for what in absent {
        faults.record(what);
    }
    let log = Log::new(log, config.log.level);
    let config = Rc::new(config);
    let keyring = Keyring::draw(machine(&config))?;
    let hub = Rc::new(match config.bridge.url {
        Some(_) => Hub::new(Identity::draw(keyring.machine())?),
        None => Hub::default(),
    });
    let pool = Rc::new(Pool::new(config.balance, &config.limits, keyring));
    let slots = Rc::default();
    let totals = Totals::new(config.workers);
    let router = Router::start(Rc::clone(&config), Rc::clone(&pool), listeners);
    let parts = Parts {
        config,
        pool,
        slots,
        router,
        missing: Rc::new(missing),
        faults: Rc::new(faults),
        drains: Rc::default(),
        ends: Rc::default(),
        totals,
        questions: Rc::default(),
        log,
        hub,
        reloads: Rc::default(),
        program: Rc::new(Program::this()),
        renew_bridge: Rc::default(),
        has_own_bridge: own_bridge.is_some(),
    };
    let bridges = Bridges::start(&parts, own_bridge, None);
    let control = Control::new(parts.clone());
    let served = Rc::new(control.serve(metrics, None));
    let workers = Supervisor::start(&parts);
    let (driver, steps) = Driver::new(&parts, &workers, &served);
    spawn_local(driver.drive(None));
    Ok(Master {
        workers,
        notify: Notify::from_env(TICK),
        control,
        bridges,
        parts,
        steps,
        was_ready: false,
        served,
    })
}

/// A server that runs in this process already, and was another program up to now. Nothing is awaited: who connects, and
/// what the workers say, waits as little as can be.
///
/// # Errors
/// When something did not come along.
pub(super) fn again(
    args: &RunArgs,
    config: Config,
    log: LogGuard,
    state: State,
    mut luggage: Luggage,
) -> Result<Master, ResumeError> {
    let State {
        program,
        workers,
        pool,
        connections,
        listeners,
        hub,
        control,
    } = state;
    let luggage = &mut luggage;
    let io = |what| move |error| ResumeError::Part(what, error);
    let config = Rc::new(config);
    let log = Log::new(log, config.log.level);
    log.adopt(&control.log);
    let fresh = Keyring::draw(machine(&config))?;
    let pool = Pool::adopt(pool, config.balance, &config.limits, fresh);
    let pool = Rc::new(pool);
    let hub = Hub::adopt(hub, luggage)?;
    if config.bridge.url.is_some() {
        // The number that is in the ids of the sessions.
        hub.expect_bridge(Identity::draw(pool.keyring().machine())?);
    }
    let totals = Totals::new(config.workers);
    totals.adopt(control.totals);
    let resumed = Resumed {
        version: program.version,
        bus: program.bus,
        same_program: program.file.is_some() && program.file == Program::file(),
        frozen_at_ns: program.frozen_at_ns,
        missing_units: listeners.missing_units.clone(),
    };
    let state = RouterState {
        listeners,
        connections,
    };
    let router = Router::adopt(Rc::clone(&config), Rc::clone(&pool), state, luggage)?;
    let drains = Drains::default();
    drains.adopt(program.taken_out_ms);
    let parts = Parts {
        slots: Rc::default(),
        config,
        pool,
        router,
        missing: Rc::default(),
        faults: Rc::new(Faults::adopt(control.faults)),
        drains: Rc::new(drains),
        ends: Rc::new(Ends::adopt(control.ends)),
        totals,
        questions: Rc::default(),
        log,
        hub: Rc::new(hub),
        reloads: Rc::new(Reloads::adopt(&program.waiting, luggage)?),
        program: Rc::new(Program::started_at(program.path)),
        renew_bridge: Rc::default(),
        has_own_bridge: program.has_own_bridge,
    };
    let own_bridge = program.has_own_bridge.then(|| BridgeArgs::of(args));
    let bridge = match &workers.bridge {
        None => None,
        Some(child) => {
            let process = Process::adopt(child.pid, luggage.take(child.pidfd)?);
            let hub = Rc::clone(&parts.hub);
            let served = spawn_local(async move { hub.resume_bridge().await });
            Some((process.map_err(io("the bridge"))?, served))
        }
    };
    let workers = Supervisor::adopt(&parts, workers, luggage, |pid| {
        spawn_local(Rc::clone(&parts.hub).resume(pid))
    })?;
    parts.hub.drop_unserved();
    let bridges = Bridges::start(&parts, own_bridge, bridge);
    let (metrics, socket) = control::adopt(control.asked, luggage)?;
    let operators = Control::since(parts.clone(), control.started_at_ms);
    operators.set_phase(Phase::Running);
    let served = Rc::new(operators.serve(metrics, socket));
    if luggage.left() > 0 {
        warn!(
            left = luggage.left(),
            "the program before handed something over that nobody knows"
        );
    }
    let (driver, steps) = Driver::new(&parts, &workers, &served);
    spawn_local(driver.drive(Some(resumed)));
    Ok(Master {
        workers,
        notify: Notify::from_env(TICK),
        control: operators,
        bridges,
        parts,
        steps,
        was_ready: true,
        served,
    })
}

/// A number for this machine, the same at every start: the configured one, or made from machine-id(5). A server that
/// is run by hand beside another one has a number of its own.
fn machine(config: &Config) -> u16 {
    use sha2::Digest;
    if config.bridge.machine > 0 {
        return config.bridge.machine;
    }
    let mut hash = sha2::Sha256::new();
    hash.update(std::fs::read("/etc/machine-id").unwrap_or_default());
    if let Some(instance) = config.instance() {
        hash.update(instance.as_os_str().as_bytes());
    }
    let [high, low, ..]: [u8; 32] = hash.finalize().into();
    u16::from_be_bytes([high, low])
}
