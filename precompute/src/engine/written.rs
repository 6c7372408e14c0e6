//! Where in the configuration a refusal of the engine has its cause. Pure.
//!
//! Invariant: whoever has to do something in the file hears which file, and the line where there is one. Errors that are about
//! other files name those themselves.

use super::EngineError;
use crate::{
    assemble::{AssembledIssuer, AssembledTenant, Assembly},
    output::Where,
};

impl EngineError {
    /// The place in this configuration, with the tenant and the issuer if it is about one. `of`: that is known already, by the
    /// names of both.
    pub fn place(&self, assembly: &Assembly, of: Option<(&str, &str)>) -> Where {
        let file = Some(assembly.file.display().to_string());
        let is_it = |(tenant, issuer): &(&AssembledTenant, &AssembledIssuer)| match of {
            Some(of) => of == (&*tenant.name, &*issuer.name),
            None => self.is_about(tenant, issuer),
        };
        let Some((tenant, issuer)) = assembly.issuers().find(is_it) else {
            return Where { file, ..Where::default() };
        };
        // What the book has under another name is settled by a name of the tenant.
        let line = if let Self::Forgotten(..) = self { tenant.line } else { issuer.line };
        let (tenant, issuer) = (Some(tenant.name.clone()), Some(issuer.name.clone()));
        Where { file, line, tenant, issuer, ..Where::default() }
    }

    /// For people: file, line, and what is wrong.
    pub fn told(&self, assembly: &Assembly, of: Option<(&str, &str)>) -> String {
        let place = self.place(assembly, of);
        let file = place.file.as_deref().unwrap_or_default();
        let line = place.line.map(|line| format!(":{line}")).unwrap_or_default();
        match (self, &place.tenant, &place.issuer) {
            // The others name their issuer.
            (Self::Source(_) | Self::Book(_), Some(tenant), Some(issuer)) => {
                format!("{file}{line}: {tenant}/{issuer}: {self}")
            }
            // It names its own file, and nothing in this one changes that.
            (Self::Book(_), ..) => self.to_string(),
            _ => format!("{file}{line}: {self}"),
        }
    }

    fn is_about(&self, tenant: &AssembledTenant, issuer: &AssembledIssuer) -> bool {
        match self {
            Self::OutOfDate(name, ..) | Self::Forgotten(name, _) | Self::Thread(name, _) => {
                name.split_once('/') == Some((&*tenant.name, &*issuer.name))
            }
            Self::Source(faults) => {
                let paths = issuer.sources.paths();
                faults.0.iter().any(|fault| paths.contains(&fault.path))
            }
            Self::Book(_) | Self::Departed(_) | Self::Overtaken => false,
        }
    }
}
