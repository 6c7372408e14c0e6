//! How an operator confirms, once and while the service runs, what is refused otherwise.
//!
//! Purpose: the operator makes an empty file in the state directory (`touch`); the engine removes the file when it
//! takes the order. Invariant: an order is given after the refusal that it is about, and counts once for one source of
//! one issuer, so nothing is accepted that nobody has seen. It does not know what was refused.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tracing::{error, info};

use crate::issuer_id::IssuerId;

/// One such order. The error text names its file.
#[derive(Debug)]
pub(super) struct OperatorOrder {
    file: PathBuf,
    /// Whether the refusal was logged, so that the file may be made.
    asked: bool,
    given: bool,
}

impl OperatorOrder {
    /// `option`: the option of `ostia-precompute sync` for the same.
    pub(super) fn new(state_dir: &Path, option: &str, issuer: &IssuerId) -> Self {
        // The person who reads the error may be in another directory.
        let state_dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        Self { file: state_dir.join(format!("accept-{option}-{issuer}")), asked: false, given: false }
    }

    /// What to do, for error texts.
    pub(super) fn remedy(&self, option: &str) -> String {
        format!(
            "if this is intended, `touch {}`, or stop the service and run `ostia-precompute sync --accept-{option} --config …` once",
            self.file.display()
        )
    }

    /// Whether the next pass may accept it.
    pub(super) fn given(&mut self) -> bool {
        if self.asked && !self.given && self.take() {
            info!(file = %self.file.display(), "the operator has accepted what was refused");
            self.given = true;
        }
        self.given
    }

    /// After a pass: whether something was refused that the order can confirm.
    pub(super) fn refused(&mut self, refused: bool) {
        if refused && !self.asked {
            // A file that was already there was about something else.
            self.take();
        }
        self.asked = refused;
        if !refused {
            self.given = false;
        }
    }

    /// Removes the file; true if it was there. A file that cannot be removed would count forever, so it does not count.
    fn take(&self) -> bool {
        match fs::remove_file(&self.file) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                error!(file = %self.file.display(), "cannot be removed and has no effect: {error}");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_counts_once_and_only_after_the_refusal() {
        let dir = tempfile::tempdir().unwrap();
        let issuer = IssuerId::new("tenant", [3; 32]);
        let mut accept = OperatorOrder::new(dir.path(), "shrink", &issuer);
        let file = dir.path().join(format!("accept-shrink-{issuer}"));
        assert!(accept.remedy("shrink").contains(&format!("touch {}", file.display())));
        fs::write(&file, "").unwrap();
        assert!(!accept.given(), "nothing was refused");
        accept.refused(true);
        assert!(!accept.given() && !file.exists(), "it was there before the refusal");
        fs::write(&file, "").unwrap();
        assert!(accept.given() && !file.exists());
        accept.refused(true);
        assert!(accept.given(), "until a pass has used it");
        accept.refused(false);
        assert!(!accept.given());
        fs::create_dir(&file).unwrap();
        accept.refused(true);
        assert!(!accept.given(), "what cannot be removed");
    }
}
