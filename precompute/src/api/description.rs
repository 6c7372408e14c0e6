//! The description of the API as OpenAPI has it.
//!
//! It is written by hand, beside this file, for people to read as well; tests hold it against the paths, the problems and what
//! a running service answers.

use std::sync::LazyLock;

use serde_json::Value;

/// As it is served: with this version.
pub(super) static OPENAPI: LazyLock<Value> = LazyLock::new(|| {
    // A test reads it.
    let mut written: Value = serde_json::from_str(include_str!("openapi.json")).unwrap_or_default();
    written["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    written
});
