//! The records of an issuer and who may change them: sources as they are read, and pushes.

mod push;
pub(crate) mod reconcile;

pub use self::push::{Order, Outcome, Push, PushError, Refusal};
