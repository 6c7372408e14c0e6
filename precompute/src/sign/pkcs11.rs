//! Keys on PKCS#11 tokens.
//!
//! Purpose: a [`Holder`](super::Holder) for a key that a `pkcs11:` URI names. Only this module knows PKCS#11; the pool
//! above knows holders, sessions and classes of faults. Invariant: see `SIGNING`: one C_Initialize for each library,
//! one login for each token, a PIN that was refused is not tried again, a key is looked for anew with each session; and
//! what was opened is closed and finalised at the end ([`end`]).
//!
//! - `uri`: which key is wanted.
//! - `module`: the library, when it is initialised anew and when finalised; `gate`: how that waits for the others;
//!   `library`: whether a file is one.
//! - `token`: the holder: from the URI to a session; `login` and `pin`: by whose leave; `key`: to which key.
//! - `generate`: making a key, and finding out what one is that is there.
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
