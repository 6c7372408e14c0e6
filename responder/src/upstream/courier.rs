//! The thread on which upstreams are asked, and how many requests may wait for them.
//!
//! Invariant: at most [`limits::WAITING_MAX`] wait; whoever comes then is refused at once. The thread ends with the last
//! [`Courier`].

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{
    runtime::{Builder, Handle},
    sync::watch,
};
use tokio_rustls::TlsConnector;
use tracing::warn;

use crate::limits::upstream as limits;

/// Takes requests to upstreams. Clones share the thread.
#[derive(Clone, Debug)]
pub struct Courier {
    handle: Handle,
    waiting: Arc<AtomicUsize>,
    /// Its end ends the thread.
    _running: Arc<watch::Sender<()>>,
}

/// Whom an answer is of use to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// It is kept, or may be.
    Everybody,
    /// It has a nonce, or is for several certificates, or is a time-stamp.
    OneClient,
}

/// One of the places, which is free again when this is gone.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Courier {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (running, mut ended) = watch::channel(());
        thread::Builder::new().name("upstream".into()).spawn(move || {
            runtime.block_on(async { while ended.changed().await.is_ok() {} });
            // Requests to a peer that is silent would keep the process.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, waiting: Arc::default(), _running: Arc::new(running) })
    }

    /// A place for one request; `None` if as many wait as may.
    pub fn place(&self, of_use: Use) -> Option<Place> {
        let most = match of_use {
            Use::Everybody => limits::WAITING_MAX,
            Use::OneClient => limits::WAITING_ALONE_MAX,
        };
        let one_more = |waiting: usize| (waiting < most).then(|| waiting + 1);
        self.waiting.fetch_update(Relaxed, Relaxed, one_more).is_ok().then(|| Place(Arc::clone(&self.waiting)))
    }

    /// Runs it on the thread.
    pub fn run(&self, place: Place, errand: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(async move {
            errand.await;
            drop(place);
        });
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }
}

/// What connects over TLS. `cas`: whose certificates count, PEM; `None` for those of the system.
pub(super) fn connector(cas: Option<&[u8]>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match cas {
        Some(pem) => {
            let found = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
            roots.add_parsable_certificates(found);
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                warn!("the CAs that the system trusts cannot be read; name those of the upstreams by `tls_ca`");
            }
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_client_alone_can_use_leaves_room_for_what_everybody_can() {
        let courier = Courier::start().unwrap();
        let alone: Vec<_> = std::iter::from_fn(|| courier.place(Use::OneClient)).collect();
        assert_eq!((alone.len(), courier.waiting()), (limits::WAITING_ALONE_MAX, limits::WAITING_ALONE_MAX));
        let all: Vec<_> = std::iter::from_fn(|| courier.place(Use::Everybody)).collect();
        assert_eq!(alone.len() + all.len(), limits::WAITING_MAX);
        drop((alone, all));
        assert_eq!(courier.waiting(), 0, "whoever is done leaves room");
    }
}
