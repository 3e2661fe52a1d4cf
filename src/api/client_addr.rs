//! Who the client is, behind whatever proxies stand before us.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use socketioxide::adapter::Adapter;
use socketioxide::handler::FromConnectParts;
use socketioxide::socket::Socket;
use socketioxide_core::Value;

/// The address of a client: the peer's, or, behind a trusted proxy, the last untrusted hop of
/// `X-Forwarded-For`. Unknown only when the proxy on the Unix socket sends no such header.
///
/// An extractor of connect handlers, and an extension of `socket.req_parts()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub Option<IpAddr>);

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ip) => ip.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// Not an address.
#[derive(Debug, thiserror::Error)]
#[error("not an IP address")]
pub struct ClientAddrError;

impl FromStr for ClientAddr {
    type Err = ClientAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "unknown" => Ok(Self(None)),
            ip => ip
                .parse()
                .map(|ip| Self(Some(ip)))
                .map_err(|_| ClientAddrError),
        }
    }
}

impl<A: Adapter> FromConnectParts<A> for ClientAddr {
    type Error = Infallible;

    fn from_connect_parts(socket: &Arc<Socket<A>>, _: &Option<Value>) -> Result<Self, Infallible> {
        Ok(socket
            .req_parts()
            .extensions
            .get()
            .copied()
            .unwrap_or(Self(None)))
    }
}
