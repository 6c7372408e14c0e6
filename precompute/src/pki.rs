//! The basic values of the field: serial numbers, times, statuses, certificates, issuers.
//!
//! Purpose: turns bytes into values that cannot be wrong in form, once, so that no other code checks again. Invariant:
//! a value of these types is valid by construction (a [`Serial`] is 1 … 2^160−1, a [`Reason`] is one that RFC 5280
//! names for an entry). It does not know where records come from, how they are kept, or that there is a network.

mod algorithm;
mod certificate;
mod certs_only;
pub mod delegation;
pub mod elements;
pub mod encode;
mod excerpt;
mod file;
pub mod hex;
mod name;
mod path;
pub mod pem;
mod pss;
mod request;
mod rsa;
mod serial;
mod status;
pub mod tag;
mod time;
mod verify;
mod wrapped;
pub mod written;

pub(crate) use self::wrapped::{pkcs12_option, wrapping};
pub use algorithm::Algorithm;
pub use certificate::{Certificate, CertificateError, KeyPeriod, TIME_STAMPING, TimeStampingKeyUsage};
pub use certs_only::certs_only;
pub(crate) use excerpt::Excerpt;
pub use file::{
    FileError, Secret, certificates, certificates_in, find_secret, open_regular, read_bounded, read_opened,
    read_secret, secret_place,
};
pub(crate) use name::Unlike;
pub use name::{is_same_general_name, is_same_name};
pub use path::Path as CertificatePath;
pub use pss::{PssHash, PssParameters};
pub use request::{Purpose, Request, RequestError};
pub use serial::Serial;
pub use status::{Reason, Record, Status};
pub use time::{Instant, UnixTime};
pub use verify::{Verifier, VerifyError, verify_signed};
