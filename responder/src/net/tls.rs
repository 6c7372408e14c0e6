//! TLS below HTTP: a connection that says goodbye before it closes, and may ask its client for a certificate. It does not know
//! whose count.

use std::sync::Arc;

use monoio::net::TcpStream;
use monoio_rustls::ServerTlsStream;
use precompute::tls::Certificates;
use rustls::ServerConfig;

use super::connection::Carrier;

impl Carrier for ServerTlsStream<TcpStream> {
    const SAYS_GOODBYE: bool = true;
}

/// How connections are accepted.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Where nobody has to show a certificate,
    pub plain: Arc<ServerConfig>,
    /// and where clients are asked for one, and may go without.
    pub asking: Arc<ServerConfig>,
}

impl ServerTls {
    /// With this certificate of the server.
    pub fn of(certificates: &Arc<Certificates>) -> Result<Arc<Self>, rustls::Error> {
        Ok(Arc::new(Self { plain: certificates.server_config()?, asking: certificates.asking_config()? }))
    }
}
