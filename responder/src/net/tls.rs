//! TLS below HTTP: a connection that says goodbye before it closes. It does not know certificates.

use monoio::net::TcpStream;
use monoio_rustls::ServerTlsStream;

use super::connection::Carrier;

impl Carrier for ServerTlsStream<TcpStream> {
    const SAYS_GOODBYE: bool = true;
}
