//! Keys, in files and on tokens.

use super::Row;

pub(super) const ROWS: &[Row] = &[];
