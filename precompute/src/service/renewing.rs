//! The renewal of signers beside a running service: what is renewed, and what asks for a reload because of it.
//!
//! It does not know how a certificate is had.

use std::sync::Arc;

use tokio::sync::Notify;
use tracing::error;

use crate::{
    assemble::Assembly,
    renew::{Ask, Renewals, Renewing, Report},
};

/// The signers that are renewed. Dropped, it ends their threads.
#[derive(Debug)]
pub struct Renewer {
    renewals: Renewals,
    asked: Arc<Notify>,
    /// Whether time-stamping authorities are at work here.
    with_tsas: bool,
}

impl Renewer {
    /// For a service with the signers of `assembly`. Nothing is renewed before [`Self::change`].
    pub fn new(with_tsas: bool) -> Self {
        let asked = Arc::new(Notify::new());
        let ask = Arc::clone(&asked);
        let renewals = Renewals::new(Ask(Arc::new(move || ask.notify_one())));
        Self { renewals, asked, with_tsas }
    }

    /// Given when the configuration in use is to be opened anew.
    pub fn asked(&self) -> Arc<Notify> {
        Arc::clone(&self.asked)
    }

    /// The signers of an assembly, to be renewed once that is in use.
    pub fn of(&self, assembly: &Assembly) -> Vec<Renewing> {
        assembly.renewing(self.with_tsas)
    }

    /// Renews these from now on: those of the configuration that is in use now.
    pub fn change(&self, renewing: Vec<Renewing>) {
        self.renewals.change(renewing);
    }

    /// Notes that the configuration in use could not be opened anew.
    pub fn refused(&self, problem: &str) {
        error!("{problem}; the configuration stays as it was, without the renewed certificate");
        self.renewals.refused(problem);
    }

    /// How each of them fares.
    pub fn reports(&self) -> Vec<Report> {
        self.renewals.reports()
    }
}
