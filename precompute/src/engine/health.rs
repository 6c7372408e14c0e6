//! How an issuer's sources fare, for health checks and metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Pass;
use crate::{limits, pki::UnixTime};

/// Written by the engine, read by whoever reports.
#[derive(Debug, Default)]
pub struct Health(Mutex<HealthReport>);

/// One issuer's sources at one moment.
#[derive(Clone, Debug, Default)]
pub struct HealthReport {
    /// When the sources were last taken.
    pub last_read: Option<UnixTime>,
    /// What is wrong with the sources now.
    pub fault: Option<String>,
    /// What is wrong with the book now: changes are answered, and are not durable yet.
    pub book_fault: Option<String>,
    /// When the sources were last looked at, changed or not.
    pub last_look: Option<UnixTime>,
    /// When the CRL goes out of date.
    pub crl_next_update: Option<UnixTime>,
    /// Refused reads since the start.
    pub faults: u64,
    /// Reads taken since the start.
    pub reads: u64,
    /// Certificates that the sources listed at the last read.
    pub listed: u64,
    /// Records changed since the start.
    pub changed: u64,
    /// Revocations that the sources would take back and that stay.
    pub contradictions: u64,
    /// Entries of the sources that were passed over at the last read: no certificate can have their serial numbers.
    pub passed_over: u64,
}

impl HealthReport {
    /// What is wrong `now`, a line each.
    pub fn complaints(&self, now: UnixTime) -> Vec<String> {
        let mut lines: Vec<String> = [&self.fault, &self.book_fault].into_iter().flatten().cloned().collect();
        if let Some(look) = self.last_look.filter(|look| now.since(*look) > limits::LOOK_OVERDUE) {
            lines.push(format!("the sources were last looked at {look}: reading one of them takes long, or hangs"));
        }
        if let Some(end) = self.crl_next_update.filter(|end| *end <= now) {
            lines.push(format!("the CRL is out of date since {end}"));
        }
        if self.contradictions > 0 {
            lines.push(format!("the source takes back {} revocations, which stay", self.contradictions));
        }
        lines
    }
}

impl Health {
    /// As it is now.
    pub fn report(&self) -> HealthReport {
        self.lock().clone()
    }

    pub(super) fn read(&self, now: UnixTime, pass: &Pass) {
        let mut report = self.lock();
        report.last_read = Some(now);
        report.fault = None;
        report.reads += 1;
        report.listed = pass.listed;
        report.crl_next_update = pass.crl_next_update;
    }

    /// Notes entries that were passed over; true if that is news.
    pub(super) fn passed_over(&self, entries: u64) -> bool {
        let before = std::mem::replace(&mut self.lock().passed_over, entries);
        entries > 0 && entries != before
    }

    pub(super) fn changed(&self, records: u64) {
        self.lock().changed += records;
    }

    pub(super) fn looked(&self, now: UnixTime) {
        self.lock().last_look = Some(now);
    }

    /// Notes whether the book could be written; true if a fault is news.
    pub(super) fn saved(&self, fault: Option<String>) -> bool {
        let mut report = self.lock();
        let news = fault.is_some() && report.book_fault != fault;
        report.book_fault = fault;
        news
    }

    /// Notes a refused read; true if it is news.
    pub(super) fn refused(&self, fault: &str) -> bool {
        let mut report = self.lock();
        report.faults += 1;
        let news = report.fault.as_deref() != Some(fault);
        report.fault = Some(fault.to_owned());
        news
    }

    pub(super) fn contradictions(&self, count: u64) {
        self.lock().contradictions = count;
    }

    fn lock(&self) -> MutexGuard<'_, HealthReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
