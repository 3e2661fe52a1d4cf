//! The engine's configuration, and where its handle is born.

use std::borrow::Cow;
use std::time::Duration;

use engineioxide_core::TransportType;

use crate::engine::Engine;

/// The configuration. socketioxide makes it through [`EngineIoConfigBuilder`] and hands it to the service; the
/// handle in it is then the way to the sessions.
#[derive(Debug, Clone)]
pub struct EngineIoConfig {
    /// The path of the engine's requests.
    pub req_path: Cow<'static, str>,
    /// How often a client is pinged.
    pub ping_interval: Duration,
    /// How long a client may take to answer.
    pub ping_timeout: Duration,
    /// How long an upgrade may take.
    pub upgrade_timeout: Duration,
    /// Not used: what waits for a client is counted in bytes.
    pub max_buffer_size: usize,
    /// The longest message of a client, and the longest answer to a poll, in bytes.
    pub max_payload: u64,
    /// Not used: sessions have no buffer.
    pub ws_read_buffer_size: usize,
    /// Not used: `max_payload` holds for every transport.
    pub ws_max_message_size: usize,
    /// Not used: `max_payload` holds for every transport.
    pub ws_max_frame_size: usize,
    /// The transports, as bits of [`TransportType`].
    pub transports: u8,
    /// The way to the sessions.
    pub engine: Engine,
}

/// What socketioxide's builder has no words for; given by [`Engine::set_up`].
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a session may take to join a namespace.
    pub connect_timeout: Duration,
    /// How long a client may take nothing of what it is sent.
    pub write_stall_timeout: Duration,
    /// How long a message is, at least, that is deflated for a client that agreed to it, in bytes.
    pub compression_threshold: usize,
    /// Are the messages text of Socket.IO's common parser, which is looked at before it is handed on?
    pub common_parser: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(45),
            write_stall_timeout: Duration::from_secs(10),
            compression_threshold: 1024,
            common_parser: true,
        }
    }
}

impl Default for EngineIoConfig {
    fn default() -> Self {
        Self {
            req_path: "/engine.io".into(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            max_buffer_size: 0,
            max_payload: 1_000_000,
            ws_read_buffer_size: 0,
            ws_max_message_size: 0,
            ws_max_frame_size: 0,
            transports: TransportType::Polling as u8 | TransportType::Websocket as u8,
            engine: Engine::default(),
        }
    }
}

impl EngineIoConfig {
    /// A builder.
    #[must_use]
    pub fn builder() -> EngineIoConfigBuilder {
        EngineIoConfigBuilder::new()
    }

    /// Is this transport allowed?
    #[must_use]
    pub fn allowed_transport(&self, transport: TransportType) -> bool {
        self.transports & transport as u8 != 0
    }

    /// May a polling client upgrade?
    pub(crate) fn upgrades(&self) -> bool {
        self.allowed_transport(TransportType::Websocket)
    }

    pub(crate) fn max_payload(&self) -> usize {
        usize::try_from(self.max_payload).unwrap_or(usize::MAX)
    }
}

/// Builds an [`EngineIoConfig`].
#[derive(Debug, Clone, Default)]
pub struct EngineIoConfigBuilder {
    config: EngineIoConfig,
}

/// A setter for a field of the same name.
macro_rules! setters {
    ($($(#[$doc:meta])* $field:ident: $kind:ty),* $(,)?) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: $kind) -> Self {
            self.config.$field = $field;
            self
        })*
    };
}

impl EngineIoConfigBuilder {
    /// With the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`EngineIoConfig::req_path`].
    #[must_use]
    pub fn req_path(mut self, req_path: impl Into<Cow<'static, str>>) -> Self {
        self.config.req_path = req_path.into();
        self
    }

    setters! {
        /// See [`EngineIoConfig::ping_interval`].
        ping_interval: Duration,
        /// See [`EngineIoConfig::ping_timeout`].
        ping_timeout: Duration,
        /// See [`EngineIoConfig::upgrade_timeout`].
        upgrade_timeout: Duration,
        /// See [`EngineIoConfig::max_buffer_size`].
        max_buffer_size: usize,
        /// See the field of [`EngineIoConfig`].
        max_payload: u64,
        /// See [`EngineIoConfig::ws_read_buffer_size`].
        ws_read_buffer_size: usize,
        /// See [`EngineIoConfig::ws_max_message_size`].
        ws_max_message_size: usize,
        /// See [`EngineIoConfig::ws_max_frame_size`].
        ws_max_frame_size: usize,
    }

    /// The transports that are allowed.
    #[must_use]
    pub fn transports<const N: usize>(mut self, transports: [TransportType; N]) -> Self {
        self.config.transports = transports
            .into_iter()
            .fold(0, |all, transport| all | transport as u8);
        self
    }

    /// The configuration.
    #[must_use]
    pub fn build(self) -> EngineIoConfig {
        self.config
    }
}
