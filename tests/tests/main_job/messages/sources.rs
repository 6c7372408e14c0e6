//! What the CA keeps.

use super::Row;

pub(super) const ROWS: &[Row] = &[];
