//! Keys on PKCS#11 tokens.
//!
//! Purpose: a [`Holder`](super::Holder) for a key that a `pkcs11:` URI names. Only this module knows PKCS#11; the pool
//! above knows holders, sessions and classes of faults. Invariant: one C_Initialize for each library and
//! one login for each token; a PIN that was refused is not tried again; each session looks for the key again;
//! everything opened is closed and finalised at the end ([`end`]). It does not know what is signed.
//!
//! - `uri`: which key is wanted.
//! - `module`: the library, and when it is initialised again and finalised; `gate`: how that waits for running calls;
//!   `library`: whether a file is one.
//! - `token`: the holder, from the URI to a session; `login` and `pin`: the login; `key`: finding the key.
//! - `generate`: makes a key, and finds out the kind of an existing one.
//! - `session`: hashing, signing, encoding.
//! - `fault`: what each return value means.

mod fault;
mod gate;
mod generate;
mod key;
mod library;
mod login;
mod module;
mod pin;
mod session;
mod token;
mod uri;

pub use module::end;
pub use token::Pkcs11Token;
pub use uri::{KeyWanted, LibraryWanted, ModuleWanted, SlotWanted, TokenWanted, Uri, UriError};
