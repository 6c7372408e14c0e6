//! HTTP/1.1 from the client's side, no more than OCSP and TSP over HTTP need.
//!
//! [`url`] says where to, [`request`] puts bytes on the line, [`response`] finds the body in what comes back.

pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod url;
