//! Addresses and sockets.

use super::Row;

pub(super) const ROWS: &[Row] = &[];
