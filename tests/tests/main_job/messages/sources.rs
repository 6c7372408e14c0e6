//! What the CA keeps.

use std::fs;

use ostia_tests::Ca;

use super::{Outcome, Row};

/// These lines behind those of the index.
fn append(ca: &Ca, lines: &str) {
    let index = fs::read_to_string(ca.index()).unwrap();
    ca.replace_index(&(index + lines));
}

pub(super) const ROWS: &[Row] = &[
    Row {
        what: "spaces for tabs, as a terminal shows them",
        spoil: |ca, _| append(ca, "V       470131120000Z           0ABC    unknown /CN=x\n"),
        outcome: Outcome::Refused,
        told: &["/index.txt:2: has spaces instead of tabs", "use the file itself"],
        never: &["has 1 of the six fields"],
    },
    Row {
        what: "an index in UTF-16",
        spoil: |ca, _| {
            let index = fs::read_to_string(ca.index()).unwrap();
            let wide: Vec<u8> =
                "\u{feff}".encode_utf16().chain(index.encode_utf16()).flat_map(u16::to_le_bytes).collect();
            fs::write(ca.index(), wide).unwrap();
        },
        outcome: Outcome::Refused,
        told: &["/index.txt:1: is UTF-16 text", "UTF-8"],
        never: &[],
    },
    Row {
        what: "a certificate that ends in 2055, written with two digits",
        spoil: |ca, _| append(ca, "V\t550101000000Z\t\t0ABC\tunknown\t/CN=x\n"),
        outcome: Outcome::Passes,
        told: &["/index.txt: line 2 expires `550101000000Z`", "two digits mean 1950 to 2049"],
        never: &[],
    },
    Row {
        what: "a release written as a reason",
        spoil: |ca, _| append(ca, "R\t470131120000Z\t250101000000Z,removeFromCRL\t0ABC\tunknown\t/CN=x\n"),
        outcome: Outcome::Passes,
        told: &["/index.txt: line 2 is revoked with the reason `removeFromCRL`", "taken as certificateHold"],
        never: &[],
    },
    Row {
        what: "a line of which nobody can say what it means",
        spoil: |ca, _| append(ca, "X\t470131120000Z\t\t0ABC\tunknown\t/CN=x\n"),
        outcome: Outcome::Refused,
        told: &["/index.txt:2: is of type `X`", "expected V (valid), R (revoked) or E (expired)"],
        never: &[],
    },
];
