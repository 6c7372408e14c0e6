//! Who may do what, and with whose objects.
//!
//! Purpose: roles by tenant, and the one decision that the API, the console and the command line ask for:
//! [`Principal::may`]. Invariants: what nothing allows is refused; what is denied is refused whatever allows it; what
//! concerns the whole service needs a role for every tenant. A tenant in which a principal may not even look does not
//! exist for it. Pure: it does not know connections, or what is behind a tenant's name.
//!
//! `proof` is how a principal proves who it is, [`Known`] are all who can, `written` is how configurations have it, and `pace` how often it may ask.

mod known;
mod pace;
mod proof;
mod written;

pub use known::{Entry, Known};
pub use pace::{Bucket, Rates};
pub use proof::{Mark, Proof, TokenHash, dns_names};
pub use written::{Denial, Grant, Malformed};

/// What a principal is to a tenant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks, and takes the journal and the usage away to verify them.
    Auditor,
    /// Looks, and adds, revokes and releases certificates.
    Operator,
    /// Does everything.
    Administrator,
}

/// What may be asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Action {
    /// Look-ups, issuers, sources, signers, clocks; of the whole service: servers and their freshness.
    View,
    /// The journal and the usage.
    Audit,
    /// A certificate was issued.
    Add,
    /// It is revoked, or put on hold.
    Revoke,
    /// Its hold ends.
    Release,
    /// Versions of the configuration: to see, compare, publish and roll back.
    Configure,
    /// Who leads, which servers count.
    Operate,
    /// A copy of the book.
    BackUp,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Auditor, Self::Operator, Self::Administrator];

    /// Its name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }

    /// Whether it suffices for this.
    pub const fn may(self, action: Action) -> bool {
        match self {
            Self::Viewer => matches!(action, Action::View),
            Self::Auditor => matches!(action, Action::View | Action::Audit),
            Self::Operator => matches!(action, Action::View | Action::Add | Action::Revoke | Action::Release),
            Self::Administrator => true,
        }
    }
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 8] =
        [Self::View, Self::Audit, Self::Add, Self::Revoke, Self::Release, Self::Configure, Self::Operate, Self::BackUp];

    /// Its name in configurations and refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Audit => "audit",
            Self::Add => "add",
            Self::Revoke => "revoke",
            Self::Release => "release",
            Self::Configure => "configure",
            Self::Operate => "operate",
            Self::BackUp => "backup",
        }
    }

    /// Whether it never is of one tenant: a configuration, a leader and a book are everybody's.
    pub const fn is_of_service(self) -> bool {
        matches!(self, Self::Configure | Self::Operate | Self::BackUp)
    }
}

/// What is acted upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object<'n> {
    /// Something of the tenant with this name.
    Tenant(&'n str),
    /// The service with all its tenants.
    Service,
}

/// Somebody who is known by a name, with what is allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// Its name in the journal and in the log.
    pub name: String,
    /// What it may do,
    pub allow: Vec<Grant>,
    /// and what it may not, whatever stands in `allow`.
    pub deny: Vec<Denial>,
}

impl Principal {
    /// One that may do everything.
    pub fn administrator(name: impl Into<String>) -> Self {
        let all = Grant { role: Role::Administrator, tenant: None };
        Self { name: name.into(), allow: vec![all], deny: Vec::new() }
    }

    /// Whether it may do this to that.
    pub fn may(&self, action: Action, object: Object<'_>) -> bool {
        let object = if action.is_of_service() { Object::Service } else { object };
        let allowed = self.allow.iter().any(|grant| grant.role.may(action) && covers(grant.tenant.as_deref(), object));
        allowed && !self.deny.iter().any(|denial| denial.meets(action, object))
    }

    /// Whether a tenant exists as far as it can know.
    pub fn sees(&self, tenant: &str) -> bool {
        Action::ALL.into_iter().any(|action| !action.is_of_service() && self.may(action, Object::Tenant(tenant)))
    }
}

/// Whether a grant for this tenant, or for every one, is for `object`.
fn covers(tenant: Option<&str>, object: Object<'_>) -> bool {
    match (tenant, object) {
        (None, _) => true,
        (Some(tenant), Object::Tenant(name)) => tenant == name,
        (Some(_), Object::Service) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Action as A, Object::*, *};

    fn principal(allow: &[&str], deny: &[&str]) -> Principal {
        Principal {
            name: "somebody".into(),
            allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
            deny: deny.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn each_role_may_what_the_matrix_says_in_its_tenant_and_nothing_elsewhere() {
        use Role::*;
        for (role, may) in [
            (Viewer, &[A::View][..]),
            (Auditor, &[A::View, A::Audit]),
            (Operator, &[A::View, A::Add, A::Revoke, A::Release]),
            (Administrator, &[A::View, A::Audit, A::Add, A::Revoke, A::Release]),
        ] {
            let of_acme = principal(&[&format!("{}:acme", role.name())], &[]);
            let of_all = principal(&[&format!("{}:*", role.name())], &[]);
            for action in A::ALL {
                let expected = may.contains(&action);
                assert_eq!(of_acme.may(action, Tenant("acme")), expected, "{role:?} {action:?}");
                assert!(!of_acme.may(action, Tenant("acme2")) && !of_acme.may(action, Service), "{role:?} {action:?}");
                let by_all = expected || role == Administrator;
                assert_eq!(of_all.may(action, Tenant("acme")), by_all, "{role:?} {action:?}");
                assert_eq!(of_all.may(action, Service), by_all, "{role:?} {action:?}");
            }
        }
        assert!(A::ALL.into_iter().all(|action| !principal(&[], &[]).may(action, Tenant("acme"))));
    }

    #[test]
    fn what_is_denied_is_refused_whatever_allows_it() {
        for (deny, action, object, expected) in [
            ("revoke:acme", A::Revoke, Tenant("acme"), false),
            ("revoke:acme", A::Revoke, Tenant("other"), true),
            ("revoke:acme", A::Release, Tenant("acme"), true),
            ("revoke:*", A::Revoke, Tenant("other"), false),
            ("*:acme", A::View, Tenant("acme"), false),
            ("*:acme", A::View, Tenant("other"), true),
            // Who may not see all tenants does not get what all tenants are in.
            ("view:acme", A::View, Service, false),
            ("*:acme", A::BackUp, Service, false),
            ("revoke:acme", A::BackUp, Service, true),
            ("backup:*", A::BackUp, Service, false),
            ("*:*", A::Operate, Service, false),
        ] {
            let somebody = principal(&["administrator:*", "operator:acme"], &[deny]);
            assert_eq!(somebody.may(action, object), expected, "{deny} {action:?} {object:?}");
        }
        assert!(!principal(&["administrator:*"], &["*:acme"]).sees("acme"));
        assert!(principal(&["administrator:*"], &["revoke:acme"]).sees("acme"));
        assert!(!principal(&["operator:acme"], &[]).sees("acme2"));
    }
}
