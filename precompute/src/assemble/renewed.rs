//! The certificates of a signer that is renewed: that of its file, and those that are kept in the state directory.
//!
//! Invariant: a kept certificate that a start would refuse is warned of and left out, so that no start fails because of it.

use std::{fs, io, sync::Weak};

use rustix::fs::{Access, access};

use super::Assembler;
use crate::{
    config::{RenewBy, RenewConfig, SignerConfig},
    renew::{Chain, Judge, Kept, Renewing, SignerId, Signs, begins, ends, may_be_written, standing},
    sign::Signing,
};

/// Whose signer it is.
pub(super) struct Whose<'a> {
    pub(super) tenant: &'a str,
    /// The issuer's or the authority's.
    pub(super) name: &'a str,
    pub(super) is_tsa: bool,
}

impl Assembler<'_> {
    /// The certificates that stand beside each other, the newest last; and what renews the signer, if anything does. `own`:
    /// those of its file.
    pub(super) fn standing(
        &self,
        config: &SignerConfig,
        whose: Whose<'_>,
        own: Chain,
        signs: Signs,
        key: Option<Weak<dyn Signing>>,
    ) -> (Vec<Chain>, Option<Renewing>) {
        let (Some(renew), Some(leaf), Some(file)) = (&config.renew, own.first(), &config.certificate) else {
            return (vec![own], None);
        };
        self.tell_of_command(renew);
        if let RenewBy::Request(file) = &renew.by
            && let Err(problem) = may_be_written(file)
        {
            let text =
                format_args!("is {}, where no request can be written: {problem}; name another file", file.display());
            self.problems.at(&renew.place).problem("request", text);
        }
        let id = SignerId::of(whose.tenant, whose.is_tsa, leaf);
        let kept = Kept::of(self.state_dir, &id);
        let judge = Judge { spki: leaf.spki_der().to_vec(), signs };
        let at = self.problems.at(&renew.place);
        let suits = |chain: &Chain| match judge.judge(chain, self.now) {
            Ok(()) => true,
            // It has had its time.
            Err(_) if chain.first().is_some_and(|leaf| leaf.not_after() <= self.now) => false,
            Err(problem) => {
                let directory = kept.directory().display();
                at.warning("before", format_args!("a certificate that was kept in {directory} is not used: it {problem}. Remove the file there if it stays so"));
                false
            }
        };
        let mut all = kept.read();
        all.retain(suits);
        all.push(own.clone());
        let mut chains = standing(all, self.now);
        if whose.is_tsa {
            // Only one signs.
            if chains.len() > 1 && chains[1][0].not_before() > self.now {
                chains.pop();
            }
            chains.drain(..chains.len() - 1);
        }
        let Some(present) = chains.last() else { return (vec![own], None) };
        let is_kept = kept.has(&present[0]);
        let (leaf, by) = (&present[0], begins(&present[0], is_kept, renew.before));
        if by <= self.now {
            at.warning("before", format_args!("is over at {by}, and the certificate of {}/{} that ends at {} is not renewed yet; see why, or renew it by hand", whose.tenant, whose.name, ends(leaf)));
        }
        let renewing = Renewing {
            id,
            tenant: whose.tenant.to_owned(),
            name: whose.name.to_owned(),
            is_tsa: whose.is_tsa,
            config: renew.clone(),
            file: file.clone(),
            kept,
            present: present.clone(),
            is_kept,
            judge,
            key,
        };
        (chains, Some(renewing))
    }

    /// A command that cannot be run would be found on the day on which it is needed.
    fn tell_of_command(&self, renew: &RenewConfig) {
        let RenewBy::Command(program, arguments, _) = &renew.by else { return };
        let is_file = fs::metadata(program).and_then(|metadata| match metadata.is_file() {
            true => Ok(access(program, Access::EXEC_OK)?),
            false => Err(io::Error::other("it is no file")),
        });
        if let Err(error) = is_file {
            let is_line = arguments.is_empty() && program.to_string_lossy().contains(' ');
            let list = if is_line {
                "; no shell parts it at its blanks: write a list, `command = [\"/usr/local/bin/get-cert\", \"ocsp\"]`"
            } else {
                ""
            };
            let program = program.display();
            let text = format_args!(
                "is {program}, which cannot be run: {error}{list}; name the program by its path, and let the user that runs this service execute it"
            );
            self.problems.at(&renew.place).problem_where_checked("command", text);
        }
    }
}

#[cfg(test)]
mod tests;
