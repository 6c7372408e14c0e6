//! Grants and denials as configurations write them: `ROLE:TENANT` and `ACTION:TENANT`, with `*` for every one.

use std::{fmt, str::FromStr};

use super::{Action, Object, Role, covers};

/// A role in one tenant, or in every one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// The tenant's name; `None` for every tenant, and for what concerns the whole service.
    pub tenant: Option<String>,
}

/// What is not to be done to one tenant's objects, or to anybody's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// `None` for everything.
    action: Option<Action>,
    /// `None` for every tenant, and for what concerns the whole service.
    tenant: Option<String>,
}

impl Denial {
    /// The tenant that it names.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Whether it is against this. What shows or copies the whole service shows each of its tenants.
    pub(super) fn meets(&self, action: Action, object: Object<'_>) -> bool {
        let is_of_all = object == Object::Service && self.tenant.is_some();
        let concerns = match self.action {
            None => true,
            Some(denied) => denied == action || is_of_all && denied == Action::View && action == Action::BackUp,
        };
        concerns && (is_of_all || covers(self.tenant.as_deref(), object))
    }
}

/// Why a text is no grant or denial, with what would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed(pub(super) String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Grant {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (role, tenant) = parted(text, "operator:acme")?;
        let role = Role::ALL.into_iter().find(|known| known.name() == role).ok_or_else(|| {
            Malformed(format!("names the role `{role}`; expected {}", listed(Role::ALL.map(Role::name))))
        })?;
        Ok(Self { role, tenant })
    }
}

impl FromStr for Denial {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (action, tenant) = parted(text, "revoke:acme")?;
        let known = || Action::ALL.into_iter().find(|known| known.name() == action).map(Some);
        let action = if action == "*" { Some(None) } else { known() };
        let action = action.ok_or_else(|| {
            let known = listed(Action::ALL.map(Action::name));
            Malformed(format!("names `{}`; expected `*`, {known}", text.split(':').next().unwrap_or_default()))
        })?;
        Ok(Self { action, tenant })
    }
}

/// The parts around the colon; the tenant `None` for `*`.
fn parted<'t>(text: &'t str, example: &str) -> Result<(&'t str, Option<String>), Malformed> {
    match text.split_once(':') {
        Some((what, tenant)) if !what.is_empty() && !tenant.is_empty() => {
            Ok((what, (tenant != "*").then(|| tenant.to_owned())))
        }
        _ => Err(Malformed(format!("is `{text}`; expected `{example}`, with `*` for every tenant"))),
    }
}

fn listed<const N: usize>(names: [&str; N]) -> String {
    names.map(|name| format!("`{name}`")).join(", ")
}

/// As it is read.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.role.name(), self.tenant.as_deref().unwrap_or("*"))
    }
}

/// As it is read.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.action.map_or("*", Action::name), self.tenant.as_deref().unwrap_or("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_anything_else_is_told_with_what_would_be_right() {
        for text in ["viewer:acme", "administrator:*", "operator:a-b.c"] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        for text in ["view:acme", "*:*", "*:acme", "backup:*"] {
            assert_eq!(text.parse::<Denial>().unwrap().to_string(), text);
        }
        for (text, expected) in [
            ("", "expected `operator:acme`"),
            ("operator", "expected `operator:acme`"),
            ("operator:", "expected `operator:acme`"),
            (":acme", "expected `operator:acme`"),
            ("boss:acme", "names the role `boss`; expected `viewer`, `auditor`, `operator`, `administrator`"),
            ("Operator:acme", "names the role `Operator`"),
        ] {
            let fault = text.parse::<Grant>().unwrap_err().to_string();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
        let fault = "erase:acme".parse::<Denial>().unwrap_err().to_string();
        assert!(fault.starts_with("names `erase`; expected `*`, `view`, `audit`"), "{fault}");
    }
}
