//! Questions about many certificates of one CA, put together and read by hand: `openssl ocsp` for each would cost more than the
//! service.
//!
//! Invariant: an answer counts only if it names the certificate that was asked about. It does not verify signatures.

use crate::{
    Ask, Ca, Status,
    http::{self, Reply},
};

/// A serial number of the length of [`Ca::list`]'s; its place in a request is where others go.
const EXAMPLE: &str = "5AF0E1D2C3B4A596";

/// See the module.
#[derive(Clone, Debug)]
pub struct Questions {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Questions {
    /// About certificates of this CA with serial numbers of eight bytes.
    pub fn of(ca: &Ca) -> Self {
        let request = Ask::serial(ca, EXAMPLE).request();
        let at = place(&request, &bytes(EXAMPLE)).expect("the serial number stands in the request");
        Self { before: request[..at].to_vec(), after: request[at + 8..].to_vec() }
    }

    /// The whole of a POST.
    pub fn post(&self, serial: &str) -> Vec<u8> {
        let body = [&self.before[..], &bytes(serial), &self.after].concat();
        let headers = format!("Content-Type: application/ocsp-request\r\nContent-Length: {}\r\n", body.len());
        [http::request("POST", "/", &headers), body].concat()
    }

    /// What an answer says of a certificate (RFC 6960 section 4.2.1). `None` if it says nothing of it.
    pub fn read(serial: &str, reply: &Reply) -> Option<Status> {
        if reply.status != 200 {
            return None;
        }
        if let [0x30, 3, 10, 1, error] = reply.body[..] {
            return Some(Status::Error(format!("responseStatus {error}")));
        }
        let serial = bytes(serial);
        let behind = place(&reply.body, &serial)? + serial.len();
        match reply.body.get(behind)? {
            0x80 => Some(Status::Good),
            0xa1 => Some(Status::Revoked),
            0x82 => Some(Status::Unknown),
            _ => None,
        }
    }
}

fn place(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|some| some == part)
}

/// Of an even number of hexadecimal digits.
fn bytes(serial: &str) -> Vec<u8> {
    (0..serial.len()).step_by(2).map(|at| u8::from_str_radix(&serial[at..at + 2], 16).expect("digits")).collect()
}
