//! The bytes of OCSP (RFC 6960) that a responder writes.
//!
//! Purpose: CertIDs, and responses from values to DER. Invariant: what is written is DER, and equal to what the
//! `x509-ocsp` types encode for the same values (tests verify that). It does not know requests, HTTP, caches or keys;
//! of a signer it knows only the certificates ([`SignerIdentity`]). [`profile`] decides what an answer says and for how
//! long.

mod cache_key;
mod carried;
mod cert_id;
mod freshness;
mod identity;
mod packing;
mod policy;
pub mod profile;
mod response;
mod together;

pub use cache_key::{About, CacheKey, IssuerKey};
pub use carried::{Carried, Carries, Carrying};
pub use cert_id::{CertId, HashAlgorithm, IssuerHashes};
pub use freshness::{Doubt, Profile, Refresh, Share};
pub(crate) use identity::EXPIRES_SOON;
pub use identity::{Credential, IdentityError, SignerIdentity, Term};
pub use packing::Packing;
pub use policy::{CaRevoked, CertificateInclusion, NoncePolicy, Policy, ResponseForm, SignedRequests, Unlisted};
pub use response::{CertStatus, Content, Layout, OcspError, ResponderId, Single, Template, error_response};
pub use together::Together;
