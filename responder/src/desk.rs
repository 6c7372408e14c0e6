//! What one serving thread answers with.
//!
//! [`turns`] tell when it signs.

pub mod turns;
