//! Time-stamping authorities: their certificates, proper and otherwise, and their part of a configuration.

use std::fs;

use crate::{Ca, KeyKind, Signer, bash, openssl};

/// The policy of an authority that is given no other; nobody's.
pub const POLICY: &str = "1.3.6.1.4.1.99999.1";

/// Certificates for time-stamping, proper and otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TsaCertificate {
    /// As it should be.
    Proper,
    /// With a URI as its subjectAltName.
    Named,
    /// Its extended key usage is not critical.
    NotCritical,
    /// Its extended key usage is OCSPSigning as well.
    TwoUsages,
    /// Without extended key usage.
    NoUsage,
    /// Its key is for encryption.
    NoSignature,
    /// Its time is over.
    Expired,
    /// Its time begins in 2035.
    NotYet,
    /// It ends in so many minutes.
    EndsIn(u32),
}

impl TsaCertificate {
    fn arguments(self) -> Vec<String> {
        let times =
            |begin: &str, end: &str| vec!["-startdate".into(), begin.to_owned(), "-enddate".into(), end.to_owned()];
        let (section, mut times) = match self {
            Self::Proper => ("tsa_signer", Vec::new()),
            Self::Named => ("tsa_signer_named", Vec::new()),
            Self::NotCritical => ("tsa_signer_not_critical", Vec::new()),
            Self::TwoUsages => ("tsa_signer_of_two_usages", Vec::new()),
            Self::NoUsage => ("tsa_signer_without_usage", Vec::new()),
            Self::NoSignature => ("tsa_signer_that_enciphers", Vec::new()),
            Self::Expired => ("tsa_signer", times("20240101000000Z", "20240201000000Z")),
            Self::NotYet => ("tsa_signer", times("20350101000000Z", "20360101000000Z")),
            Self::EndsIn(minutes) => {
                let end = bash("/".as_ref(), &format!("date -u -d '+{minutes} minutes' +%Y%m%d%H%M%SZ"));
                ("tsa_signer", vec!["-enddate".into(), end.trim().to_owned()])
            }
        };
        times.extend(["-extensions".into(), section.into()]);
        times
    }
}

impl Ca {
    /// A key and its certificate for time-stamping.
    pub fn tsa(&self, certificate: TsaCertificate, kind: KeyKind) -> Signer {
        let arguments = certificate.arguments();
        self.certified("tsa", kind, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A key and its certificate for signing code.
    pub fn code_signer(&self, kind: KeyKind) -> Signer {
        self.certified("code", kind, &["-extensions", "code_signer"])
    }

    /// A proper time-stamping certificate that an intermediate CA issued, with that one's behind it in its file.
    pub fn tsa_behind_an_intermediate(&self) -> Signer {
        let between = self.certified("between", KeyKind::P256, &["-extensions", "intermediate"]);
        let stem = self.fresh_name("tsa");
        let key = format!("{stem}.key");
        KeyKind::P256.generate(self.dir(), &key);
        let [request, own, file] = ["csr", "own", "pem"].map(|ending| format!("{stem}.{ending}"));
        let subject = format!("/O=Ostia tests/CN={stem}");
        openssl(
            self.dir(),
            ["req", "-config", "openssl.cnf", "-new", "-key", &key, "-subj", &subject, "-out", &request],
        );
        let (certificate, key_between) = (between.certificate.to_str().unwrap(), between.key.to_str().unwrap());
        self.ca(&[
            "-cert",
            certificate,
            "-keyfile",
            key_between,
            "-extensions",
            "tsa_signer",
            "-in",
            &request,
            "-out",
            &own,
        ]);
        let both = [self.file(&own), between.certificate].map(|part| fs::read(part).unwrap()).concat();
        fs::write(self.file(&file), both).unwrap();
        Signer { certificate: self.file(&file), key: self.file(&key) }
    }
}

/// A `[[tenant.tsa]]` of a configuration.
#[derive(Clone, Debug)]
pub struct Tsa {
    name: String,
    policies: Vec<String>,
    settings: String,
    signer: String,
}

impl Tsa {
    /// One that serves [`POLICY`].
    pub fn of(name: &str, signer: &Signer) -> Self {
        Self::by(name, &signer.lines())
    }

    /// The same; lines of its signer.
    pub fn by(name: &str, signer: &str) -> Self {
        let (policies, signer) = (vec![POLICY.to_owned()], signer.to_owned());
        Self { name: name.to_owned(), policies, settings: String::new(), signer }
    }

    /// Serving these policies.
    #[must_use]
    pub fn policies(mut self, policies: &[&str]) -> Self {
        self.policies = policies.iter().map(|policy| (*policy).to_owned()).collect();
        self
    }

    /// With lines of policy, such as `path = "/a"`.
    #[must_use]
    pub fn set(mut self, lines: &str) -> Self {
        self.settings += lines;
        self.settings.push('\n');
        self
    }

    /// With lines of its signer, such as `algorithm = "rsa-pss"`.
    #[must_use]
    pub fn set_signer(mut self, lines: &str) -> Self {
        self.signer.push('\n');
        self.signer += lines;
        self
    }

    /// Its part of a configuration.
    pub fn text(&self) -> String {
        let Self { name, policies, settings, signer } = self;
        // The only one stands for itself, a list of none is left out.
        let policy = match &policies[..] {
            [] => String::new(),
            [one] => format!("policy = {one:?}\n"),
            several => format!("policy = {several:?}\n"),
        };
        format!("\n[[tenant.tsa]]\nname = {name:?}\n{policy}{settings}\n[tenant.tsa.signer]\n{signer}\n")
    }
}
