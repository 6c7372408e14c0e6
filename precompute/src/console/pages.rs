//! The pages, each from what it shows to HTML. Pure: they decide nothing, and know nothing beyond what they are given.

mod audit;
mod certificate;
mod charts;
mod clocks;
mod deed;
mod look_up;
mod overview;
mod sign_in;
#[cfg(test)]
mod tests;

pub(super) use self::{
    audit::{AuditPage, Filter, JournalLine},
    certificate::{CertificatePage, Known},
    charts::{ChartsPage, RANGES},
    clocks::clocks,
    deed::{Asked, Confirmation, Deed, DeedPage},
    look_up::{Found, look_up, path_of, results},
    overview::overview,
    sign_in::{SignIn, sign_in},
};
