//! The service that socketioxide makes of a configuration and a handler. It gives the configuration's handle its
//! sessions, and passes every request on to the service inside.
//!
//! Requests of the engine do not come here: whoever has the handle reads them, decides whose they are, and asks the
//! handle. So there is one reading of a request, and one place that answers it.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::service::Service as HyperService;
use tower_service::Service as TowerService;

use crate::config::EngineIoConfig;
use crate::core::Core;
use crate::handler::EngineIoHandler;

/// Made for the handle that comes with it; requests are the inner service's.
pub struct EngineIoService<H: EngineIoHandler, S = NotFoundService> {
    inner: S,
    core: Arc<Core<H>>,
}

impl<H: EngineIoHandler, S: Clone> EngineIoService<H, S> {
    /// Makes a service, and has the configuration's handle lead to its sessions.
    pub fn with_config_inner(inner: S, handler: Arc<H>, config: EngineIoConfig) -> Self {
        let engine = config.engine.clone();
        let core = Arc::new(Core::new(handler, config));
        engine.install(Arc::clone(&core) as _);
        Self { inner, core }
    }

    /// A service that makes this service for each connection.
    pub fn into_make_service(self) -> MakeEngineIoService<H, S> {
        MakeEngineIoService { service: self }
    }
}

impl<H: EngineIoHandler, S: Clone> Clone for EngineIoService<H, S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            core: Arc::clone(&self.core),
        }
    }
}

impl<H: EngineIoHandler, S> fmt::Debug for EngineIoService<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineIoService").finish_non_exhaustive()
    }
}

impl<H, B, R, S> TowerService<Request<B>> for EngineIoService<H, S>
where
    H: EngineIoHandler,
    S: TowerService<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.inner.call(request)
    }
}

impl<H, B, R, S> HyperService<Request<B>> for EngineIoService<H, S>
where
    H: EngineIoHandler,
    S: HyperService<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<B>) -> Self::Future {
        self.inner.call(request)
    }
}

/// A connection was given to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "connections are given to the engine's handle (`Engine::open_websocket`), not to its service"
)]
pub struct NotHere;

impl<St, H: EngineIoHandler, S> TowerService<(St, Request<()>)> for EngineIoService<H, S> {
    type Response = ();
    type Error = NotHere;
    type Future = Ready<Result<(), NotHere>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotHere>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: (St, Request<()>)) -> Self::Future {
        ready(Err(NotHere))
    }
}

impl<St, H: EngineIoHandler, S> HyperService<(St, Request<()>)> for EngineIoService<H, S> {
    type Response = ();
    type Error = NotHere;
    type Future = Ready<Result<(), NotHere>>;

    fn call(&self, _: (St, Request<()>)) -> Self::Future {
        ready(Err(NotHere))
    }
}

/// Makes an [`EngineIoService`] for each connection: the same one.
pub struct MakeEngineIoService<H: EngineIoHandler, S> {
    service: EngineIoService<H, S>,
}

impl<H: EngineIoHandler, S: Clone, T> TowerService<T> for MakeEngineIoService<H, S> {
    type Response = EngineIoService<H, S>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: T) -> Self::Future {
        ready(Ok(self.service.clone()))
    }
}

impl<H: EngineIoHandler, S> fmt::Debug for MakeEngineIoService<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MakeEngineIoService")
            .finish_non_exhaustive()
    }
}

/// Answers every request with 404.
#[derive(Debug, Clone, Copy)]
pub struct NotFoundService;

/// A body without content.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

fn not_found() -> Ready<Result<Response<NoBody>, Infallible>> {
    let mut response = Response::new(NoBody);
    *response.status_mut() = StatusCode::NOT_FOUND;
    ready(Ok(response))
}

impl<B> TowerService<Request<B>> for NotFoundService {
    type Response = Response<NoBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<NoBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        not_found()
    }
}

impl<B> HyperService<Request<B>> for NotFoundService {
    type Response = Response<NoBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<NoBody>, Infallible>>;

    fn call(&self, _: Request<B>) -> Self::Future {
        not_found()
    }
}
