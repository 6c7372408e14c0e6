//! Status lines and header fields, RFC 9110 and 9111, written straight into the output.

use precompute::{
    ocsp::{OcspError, error_response, profile::Times},
    pki::{Serial, UnixTime, hex},
};

use super::{Rejection, conditions::Verdict};
use crate::{front::route::Refusal, limits, ocsp::store::Etag, tsa::routes::Chain};

/// What every response of a connection needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The current time as IMF-fixdate.
    pub date: [u8; 29],
    /// Whether the connection stays after this response.
    pub keep_alive: bool,
    /// Whether HTTP/1.0 was spoken.
    pub http_1_0: bool,
    /// Whether the body stays away (HEAD).
    pub head_only: bool,
}

impl Context {
    /// Date and, where the version's default is another, Connection; then the empty line.
    fn finish(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(&self.date);
        match (self.keep_alive, self.http_1_0) {
            (true, false) => out.extend_from_slice(b"\r\n\r\n"),
            (true, true) => out.extend_from_slice(b"\r\nConnection: keep-alive\r\n\r\n"),
            (false, _) => out.extend_from_slice(b"\r\nConnection: close\r\n\r\n"),
        }
    }

    fn body(&self, out: &mut Vec<u8>, body: &[u8]) {
        if !self.head_only {
            out.extend_from_slice(body);
        }
    }
}

/// What the header fields of a signed answer tell.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// Its validity.
    pub times: &'a Times,
    /// Its entity tag.
    pub etag: &'a Etag,
    /// Whether a date can vouch for a copy of it.
    pub dated: bool,
    /// The names by which caches can be told to drop it.
    pub surrogate: Option<Surrogate<'a>>,
}

/// The names of an answer in caches: its issuer's, and `<issuer's>-<serial in hexadecimal digits>`.
#[derive(Clone, Copy, Debug)]
pub struct Surrogate<'a> {
    /// The issuer's name.
    pub issuer: &'a [u8],
    /// The certificate's.
    pub serial: &'a Serial,
}

/// The head of a signed answer of `length` bytes that caches may keep.
pub fn answer(out: &mut Vec<u8>, fields: &Fields<'_>, length: usize, now: UnixTime, context: &Context) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\n");
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, length as u64);
    out.extend_from_slice(b"\r\n");
    fields.write(out, now);
    context.finish(out);
}

/// The head of an answer of this media type, with `length` bytes, that nobody may keep.
pub fn unkept(out: &mut Vec<u8>, media_type: &str, length: usize, context: &Context) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: ");
    out.extend_from_slice(media_type.as_bytes());
    out.extend_from_slice(b"\r\nCache-Control: no-store\r\nContent-Length: ");
    decimal(out, length as u64);
    out.extend_from_slice(b"\r\n");
    context.finish(out);
}

/// 304: the client's copy is this answer. RFC 9110 section 15.4.5 wants the fields of a 200 but for those that describe
/// a body.
pub fn not_modified(out: &mut Vec<u8>, fields: &Fields<'_>, now: UnixTime, context: &Context) {
    out.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n");
    fields.write(out, now);
    context.finish(out);
}

impl Fields<'_> {
    fn write(&self, out: &mut Vec<u8>, now: UnixTime) {
        out.extend_from_slice(b"Cache-Control: max-age=");
        decimal(out, self.times.max_age(now).as_secs());
        out.extend_from_slice(b", public, no-transform, must-revalidate\r\nExpires: ");
        // Date + max-age.
        out.extend_from_slice(&self.times.refresh_at.max(now).imf_fixdate());
        out.extend_from_slice(b"\r\nLast-Modified: ");
        out.extend_from_slice(&self.times.this_update.imf_fixdate());
        out.extend_from_slice(b"\r\nETag: ");
        out.extend_from_slice(self.etag.text());
        if let Some(Surrogate { issuer, serial }) = self.surrogate {
            let mut digits = [0; 2 * Serial::MAX_OCTETS];
            let digits = hex::write(serial.magnitude(), &mut digits);
            // The same names in the two ways that CDNs read them.
            for (field, between) in [(&b"\r\nSurrogate-Key: "[..], &b" "[..]), (b"\r\nCache-Tag: ", b",")] {
                [field, issuer, between, issuer, b"-", digits].iter().for_each(|part| out.extend_from_slice(part));
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A chain of certificates in PEM (media type of RFC 8555 section 9.1), or what the client's conditions make of it.
pub fn chain(out: &mut Vec<u8>, chain: &Chain, verdict: Verdict, context: &Context) {
    if verdict == Verdict::Failed {
        return precondition_failed(out, context);
    }
    let is_current = verdict == Verdict::NotModified;
    if is_current {
        out.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n");
    } else {
        out.extend_from_slice(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/pem-certificate-chain\r\nContent-Length: ",
        );
        decimal(out, chain.pem.len() as u64);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"Cache-Control: max-age=");
    decimal(out, limits::CHAIN_MAX_AGE.as_secs());
    out.extend_from_slice(b", public, must-revalidate\r\nETag: ");
    out.extend_from_slice(chain.etag.as_bytes());
    out.extend_from_slice(b"\r\n");
    context.finish(out);
    if !is_current {
        context.body(out, chain.pem.as_bytes());
    }
}

/// An unsigned OCSP error; never kept by anybody. `unavailable` says so in HTTP as well, for balancers that look at
/// the status only.
pub fn ocsp_error(out: &mut Vec<u8>, error: OcspError, unavailable: bool, context: &Context) {
    let status = if unavailable { &b"HTTP/1.1 503 Service Unavailable"[..] } else { b"HTTP/1.1 200 OK" };
    out.extend_from_slice(status);
    out.extend_from_slice(
        b"\r\nContent-Type: application/ocsp-response\r\nCache-Control: no-store\r\nContent-Length: 5\r\n",
    );
    context.finish(out);
    context.body(out, &error_response(error));
}

/// A line for people. `fields` are whole header lines.
pub fn text(out: &mut Vec<u8>, status: &str, fields: &str, body: &str, context: &Context) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_bytes());
    out.extend_from_slice(b"\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n");
    out.extend_from_slice(fields.as_bytes());
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, body.len() as u64);
    out.extend_from_slice(b"\r\n");
    context.finish(out);
    context.body(out, body.as_bytes());
}

/// A refusal by what the header section asks for.
pub fn refusal(out: &mut Vec<u8>, refusal: &Refusal, context: &Context) {
    text(out, refusal.status, refusal.fields, refusal.text, context);
}

/// 412: what there is is not what the client wants it to be.
pub fn precondition_failed(out: &mut Vec<u8>, context: &Context) {
    text(out, "412 Precondition Failed", "", "412 Precondition Failed\n", context);
}

/// A refusal by HTTP itself.
pub fn rejection(out: &mut Vec<u8>, rejection: Rejection, context: &Context) {
    let status = rejection.status();
    text(out, status, "", &format!("{status}\n"), context);
}

/// The status code of a response that was written here.
pub fn status_of(response: &[u8]) -> u16 {
    let digits = response.get(b"HTTP/1.1 ".len()..).unwrap_or_default().iter().take(3);
    digits.fold(0, |status, digit| status * 10 + u16::from(digit.wrapping_sub(b'0') % 10))
}

fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_whole() {
        for number in [0, 9, 10, 345_600, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
