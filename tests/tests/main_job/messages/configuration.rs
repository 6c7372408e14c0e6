//! The configuration file.

use super::{Outcome::Refused, Row};

pub(super) const ROWS: &[Row] = &[Row {
    what: "a validity that is too short",
    spoil: |_, site| site.edit_config(|text| text.replacen("[[tenant]]", "[[tenant]]\nvalidity = \"1h\"", 1)),
    outcome: Refused,
    told: &["ostia.toml:", "tenant.validity", "«1h»", "from 8h to 10d"],
    never: &[],
}];
