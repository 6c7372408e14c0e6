//! `ostia-precompute keys check`: measures every signer of a configuration by letting it sign.
//!
//! Reading the configuration opens each key as a start does, so faults are reported in the same words, and a wrong PIN
//! is tried once. Signers that could be read are listed and measured even if others are faulty.

use std::{
    fmt,
    path::Path,
    sync::{Arc, mpsc::channel},
    thread,
    time::{Duration, Instant},
};

use indicatif::HumanCount;

use crate::{
    assemble::{AssembledTsa, Tokens, assemble},
    config::ConfigError,
    limits,
    output::{complain, say},
    pki::{Certificate, UnixTime},
    sign::{Health, Job, MemberStatus, Priority, Signing},
    signers::OcspSigner,
};

/// How long each signer signs: some hundred signatures on the slowest tokens.
const MEASURED: Duration = Duration::from_millis(500);
/// How long the number of a signer's sessions has to stay the same before it counts as final.
const SETTLED: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn run(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let now = UnixTime::now();
    let (signers, faults) = read(path, now)?;
    let mut table = Table::default();
    let mut silent = Vec::new();
    let mut keys = 0;
    for signer in &signers {
        let measured = measure(&*signer.signing);
        keys += measured.holders.len();
        table.add(signer, &measured, now);
        for holder in measured.holders.iter().filter(|holder| !holder.signs) {
            let why = holder.why.as_deref().unwrap_or("no session could be opened in time");
            silent.push(format!("{}/{}: {} does not sign: {why}", signer.tenant, signer.name, holder.name));
        }
    }
    if !signers.is_empty() {
        say(&table)?;
    }
    match faults {
        Some(faults) => {
            // The error is the configuration's: its exit status says that trying again is of no use.
            silent.iter().for_each(|silent| complain("ostia-precompute", silent));
            Err(faults.into())
        }
        None if silent.is_empty() => Ok(()),
        None => Err(format!("{} of {keys} keys do not sign\n{}", silent.len(), silent.join("\n")).into()),
    }
}

/// A signer of the configuration.
struct Listed {
    tenant: String,
    /// The issuer or authority that it signs for.
    name: String,
    certificate: Vec<u8>,
    not_after: UnixTime,
    key_names: Vec<String>,
    signing: Arc<dyn Signing>,
}

impl Listed {
    /// `None` for a signer whose key is elsewhere.
    fn ocsp(tenant: &str, issuer: &str, signer: &OcspSigner) -> Option<Self> {
        Some(Self {
            tenant: tenant.to_owned(),
            name: issuer.to_owned(),
            certificate: signer.certificate_der().to_vec(),
            not_after: signer.not_after(),
            key_names: signer.key_names().to_vec(),
            signing: Arc::clone(signer.signing()?),
        })
    }

    fn tsa(tenant: &str, tsa: &AssembledTsa) -> Self {
        let signer = &tsa.signer;
        Self {
            tenant: tenant.to_owned(),
            name: format!("{} (TSA)", tsa.name),
            certificate: signer.certificate().der().to_vec(),
            not_after: signer.use_of_key().ends,
            key_names: signer.key_names().to_vec(),
            signing: Arc::clone(signer.signing()),
        }
    }
}

/// All signers that could be opened, and what is wrong with the file and the others.
fn read(path: &Path, now: UnixTime) -> Result<(Vec<Listed>, Option<ConfigError>), ConfigError> {
    let mut signers = Vec::new();
    let reading = super::super::read(path)?.with(|config, problems| {
        let assembly = assemble(config, problems, &Tokens::default(), now);
        for (tenant, issuer) in assembly.issuers() {
            let ocsp = |signer: &Arc<OcspSigner>| Listed::ocsp(&tenant.name, &issuer.name, signer);
            signers.extend(issuer.signers.all().iter().filter_map(ocsp));
        }
        signers.extend(assembly.tsas().map(|(tenant, tsa)| Listed::tsa(&tenant.name, tsa)));
    });
    Ok((signers, reading.finish().err()))
}

/// The result of measuring a signer.
struct Measured {
    holders: Vec<Holder>,
    /// Signatures a second, all sessions together.
    rate: f64,
    /// Whether they were made on one thread, as each serving thread makes them.
    here: bool,
}

struct Holder {
    name: String,
    sessions: usize,
    rate: f64,
    signs: bool,
    why: Option<String>,
}

fn measure(signing: &dyn Signing) -> Measured {
    let before = settled(signing);
    let begin = Instant::now();
    let until = begin + MEASURED;
    let here = signing.signs_here();
    let made = if here { sign_here(signing, until) } else { sign_on_pool(signing, &before, until) };
    let seconds = begin.elapsed().as_secs_f64();
    let signed = signing.status().members.into_iter().zip(&before).map(|(end, begin)| end.signed - begin.signed);
    let signed: Vec<_> = signed.collect();
    let holders = ended(signing).into_iter().zip(signed).map(|(member, signed)| {
        Holder {
            // A holder without jobs has shown that it signs when its session was opened.
            signs: if here { made > 0 } else { member.health == Health::AtWork && member.sessions > 0 },
            rate: if here { made as f64 } else { signed as f64 } / seconds,
            name: member.name,
            sessions: member.sessions,
            why: member.why,
        }
    });
    Measured { holders: holders.collect(), rate: made as f64 / seconds, here }
}

/// The holders, once their sessions are open, or clearly will not open.
fn settled(signing: &dyn Signing) -> Vec<MemberStatus> {
    let begin = Instant::now();
    let sessions = |members: &[MemberStatus]| members.iter().map(|member| member.sessions).collect::<Vec<_>>();
    let mut members = signing.status().members;
    let mut since = begin;
    loop {
        thread::sleep(LOOK);
        let now = signing.status().members;
        if sessions(&now) != sessions(&members) {
            since = Instant::now();
        }
        members = now;
        let waits = members.iter().any(|member| member.health == Health::AtWork && member.sessions == 0);
        if !waits && since.elapsed() >= SETTLED || begin.elapsed() >= limits::OPEN_CALL_LIMIT {
            return members;
        }
    }
}

/// The holders, once all their jobs have ended, well or not. The pool reports a call that does not return within its
/// limit, and another holder does the job.
fn ended(signing: &dyn Signing) -> Vec<MemberStatus> {
    let begin = Instant::now();
    loop {
        let members = signing.status().members;
        let waits = members.iter().any(|member| member.health == Health::AtWork && member.busy > 0);
        if !waits || begin.elapsed() >= 2 * limits::SIGN_CALL_LIMIT {
            return members;
        }
        thread::sleep(LOOK);
    }
}

/// The message to sign: as long as the ResponseData of one certificate.
fn message(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(24)
}

fn sign_here(signing: &dyn Signing, until: Instant) -> u64 {
    let mut made = 0;
    while Instant::now() < until {
        match signing.sign_here(&message(made)) {
            Some(Ok(_)) => made += 1,
            _ => break,
        }
    }
    made
}

/// Keeps every session busy, with a few more jobs than there are sessions.
fn sign_on_pool(signing: &dyn Signing, members: &[MemberStatus], until: Instant) -> u64 {
    let sessions: usize = members.iter().map(|member| member.sessions).sum();
    let (send, ended) = channel();
    let submit = |number: u64| {
        let send = send.clone();
        signing.submit(Job {
            message: message(number),
            priority: Priority::Live,
            deadline: until + limits::SIGN_CALL_LIMIT,
            done: Box::new(move |_, outcome| {
                // Results that arrive late are dropped.
                let _ = send.send(outcome.is_ok());
            }),
        });
    };
    (0..4 * sessions as u64).for_each(&submit);
    let (mut made, mut failed) = (0, 0);
    while let Ok(signed) = ended.recv_timeout(until.saturating_duration_since(Instant::now())) {
        made += u64::from(signed);
        failed += u64::from(!signed);
        // If all fail at once, there is nothing left to measure.
        if failed > 4 * sessions as u64 {
            break;
        }
        submit(made + failed);
    }
    made
}

/// Rows of text, in columns as wide as their contents.
#[derive(Default)]
struct Table {
    rows: Vec<[String; COLUMNS.len()]>,
}

/// The columns, and whether their values are numbers.
const COLUMNS: [(&str, bool); 8] = [
    ("TENANT/ISSUER", false),
    ("CERTIFICATE", false),
    ("ENDS", false),
    ("ALGORITHM", false),
    ("TOKEN", false),
    ("KEY", false),
    ("SESSIONS", true),
    ("SIGNATURES/S", true),
];

impl Table {
    fn add(&mut self, listed: &Listed, measured: &Measured, now: UnixTime) {
        let Listed { tenant, name, certificate, not_after, key_names, .. } = listed;
        let certificate = Certificate::from_der(certificate);
        let mut signers = [
            format!("{tenant}/{name}"),
            certificate.map_or_else(|error| error.to_string(), |certificate| certificate.subject()),
            ends(*not_after, now),
            listed.signing.algorithm().to_string(),
        ];
        for (place, holder) in measured.holders.iter().enumerate() {
            let rate = match holder {
                Holder { signs: false, .. } => "none".into(),
                Holder { rate, .. } if measured.here => format!("{} a core", HumanCount(*rate as u64)),
                // Another token of the signer got all the jobs, as configured.
                Holder { rate, .. } if *rate == 0.0 => "stands by".into(),
                Holder { rate, .. } => HumanCount(*rate as u64).to_string(),
            };
            let key = key_names.get(place).cloned().unwrap_or_default();
            let sessions = if measured.here { String::new() } else { holder.sessions.to_string() };
            let [first, second, third, fourth] = std::mem::take(&mut signers);
            self.rows.push([first, second, third, fourth, holder.name.clone(), key, sessions, rate]);
        }
        if measured.holders.len() > 1 {
            let sessions: usize = measured.holders.iter().map(|holder| holder.sessions).sum();
            let [none, _, _, _] = std::mem::take(&mut signers);
            self.rows.push([
                none.clone(),
                none.clone(),
                none.clone(),
                none.clone(),
                "in all".into(),
                none,
                sessions.to_string(),
                HumanCount(measured.rate as u64).to_string(),
            ]);
        }
    }
}

/// The day, and the time until then.
fn ends(not_after: UnixTime, now: UnixTime) -> String {
    const DAY: u64 = 86_400;
    let text = not_after.to_string();
    let day = text.split('T').next().unwrap_or_default();
    match not_after.since(now).as_secs() / DAY {
        _ if not_after <= now => format!("{day} (expired)"),
        1 => format!("{day} (1 day)"),
        days => format!("{day} ({days} days)"),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = COLUMNS.map(|(head, _)| head.to_owned());
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&heads]).map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
        for (number, row) in [&heads].into_iter().chain(&self.rows).enumerate() {
            let mut line = String::new();
            for ((cell, width), (_, is_number)) in row.iter().zip(widths).zip(COLUMNS) {
                line += &if is_number { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
            }
            let between = if number == 0 { "" } else { "\n" };
            write!(f, "{between}{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_with_the_days_that_are_left() {
        let now = UnixTime(1_800_000_000);
        for (seconds, told) in [(86_399, "(0 days)"), (86_400, "(1 day)"), (200 * 86_400, "(200 days)")] {
            let text = ends(now.after(Duration::from_secs(seconds)), now);
            assert!(text.starts_with("2027-") && text.ends_with(told), "{text}");
        }
        assert!(ends(now, now).ends_with("(expired)"));
    }

    #[test]
    fn columns_stand_under_each_other() {
        let row = |name: &str, rate: &str| {
            let mut row: [String; COLUMNS.len()] = Default::default();
            (row[0], row[7]) = (name.into(), rate.into());
            row
        };
        let text = Table { rows: vec![row("tenant/Ümlaut and more", "1,234"), row("", "7")] }.to_string();
        let lengths: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(lengths, [lengths[0]; 3], "{text}");
    }
}
