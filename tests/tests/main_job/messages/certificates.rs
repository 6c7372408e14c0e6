//! Certificates and CRLs.

use super::Row;

pub(super) const ROWS: &[Row] = &[];
