//! How everything fares, as one principal may see it.
//!
//! Invariant: of a tenant in which it may not look a principal gets nothing, not even a count; what is of the whole service is
//! for who may look at all of it. It decides nothing: conditions are those that health checks tell.

use super::{
    format,
    parts::Parts,
    ring::{Kind, Ring},
    view::{Alarm, Figure, Level, Overview, Rows, SOON_DAYS, SignerRow, SourceRow},
};
use crate::{
    issuer::ActiveIssuer,
    limits::console::{ALARMS_MAX, ROWS_MAX, SAMPLE_INTERVAL},
    pki::{Certificate, UnixTime},
    principals::{Action, Object, Principal},
    signers::OcspSigner,
};

/// Over how many samples the figures of the overview are.
const FIGURES_OVER: u32 = 12;

/// The overview for this principal.
pub(super) fn overview(parts: &Parts, ring: &Ring, principal: &Principal, now: UnixTime) -> Overview {
    let sees_all = principal.may(Action::View, Object::Service);
    let tenants = parts.status.tenants();
    let shown = || tenants.issuers().filter(|(tenant, _)| principal.may(Action::View, Object::Tenant(tenant)));
    let sources: Vec<_> = shown().map(|(tenant, issuer)| source(tenant, issuer, now)).collect();
    let signers = shown()
        .flat_map(|(tenant, issuer)| issuer.signers.all().iter().map(move |one| signer(tenant, issuer, one, now)));
    let of_tsas = parts.tsa_signers.iter().flat_map(|read| read(now));
    let of_tsas = of_tsas.filter(|row| principal.may(Action::View, Object::Tenant(&row.tenant)));
    let signers: Vec<_> = signers.chain(of_tsas).collect();
    let (ready, alarms) = if sees_all {
        let (ready, lines) = (parts.readiness)(now);
        (Some(ready), alarms(ready, &lines))
    } else {
        (None, own_alarms(&sources, shown().map(|(tenant, issuer)| (tenant, &**issuer)), now))
    };
    Overview {
        program: parts.program.clone(),
        server: parts.server.clone(),
        now,
        ready,
        alarms: Rows::of(alarms, ALARMS_MAX, |alarm| alarm.level != Level::Note),
        figures: if sees_all { figures(parts, ring, now) } else { Vec::new() },
        sources: Rows::of(sources, ROWS_MAX, |row| !row.complaints.is_empty()),
        signers: Rows::of(signers, ROWS_MAX, |row| row.fault.is_some() || format::days_left(row.ends, now) < SOON_DAYS),
    }
}

/// The lines of a health check.
pub(super) fn alarms(ready: bool, lines: &str) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    for (place, line) in lines.lines().enumerate() {
        let (level, text) = match line.split_once(": ") {
            _ if place == 0 && ready => continue,
            _ if line == "ready" => continue,
            Some(("not ready", why)) => (Level::Bad, why),
            Some(("degraded", what)) => (Level::Warning, what),
            Some(("warning", what)) => (Level::Note, what),
            _ if line == "not ready" => (Level::Bad, "see below"),
            _ => (Level::Note, line),
        };
        alarms.push(Alarm { level, text: text.to_owned() });
    }
    alarms
}

/// What is to be said to who sees some tenants alone.
fn own_alarms<'i>(
    sources: &[SourceRow],
    issuers: impl Iterator<Item = (&'i str, &'i ActiveIssuer)>,
    now: UnixTime,
) -> Vec<Alarm> {
    let alarm = |tenant: &str, issuer: &str, what: &dyn std::fmt::Display| Alarm {
        level: Level::Warning,
        text: format!("{tenant}/{issuer}: {what}"),
    };
    let mut alarms = Vec::new();
    for row in sources {
        alarms.extend(row.complaints.iter().map(|complaint| alarm(&row.tenant, &row.issuer, complaint)));
    }
    for (tenant, issuer) in issuers {
        alarms.extend(issuer.signer_faults(now).map(|fault| alarm(tenant, &issuer.name, &fault)));
    }
    alarms
}

fn figures(parts: &Parts, ring: &Ring, now: UnixTime) -> Vec<Figure> {
    let span = SAMPLE_INTERVAL * FIGURES_OVER;
    let figure = |(place, meter): (usize, &super::Meter)| {
        let value = match meter.kind {
            Kind::Level => Some((meter.read)()).filter(|value| value.is_finite()),
            Kind::Counter => ring.mean(place, Kind::Counter, span, now),
        };
        Figure {
            title: meter.title.to_owned(),
            value: value.map_or("–".to_owned(), format::short),
            unit: meter.unit.to_owned(),
        }
    };
    parts.meters.iter().enumerate().map(figure).collect()
}

fn source(tenant: &str, issuer: &ActiveIssuer, now: UnixTime) -> SourceRow {
    let report = issuer.state.health.report();
    let counts = issuer.state.records.counts();
    SourceRow {
        tenant: tenant.to_owned(),
        issuer: issuer.name.clone(),
        good: counts.good,
        revoked: counts.revoked,
        verified: format::ago(report.verified, now),
        complaints: report.complaints(now, &issuer.policy),
    }
}

fn signer(tenant: &str, issuer: &ActiveIssuer, signer: &OcspSigner, now: UnixTime) -> SignerRow {
    let subject = Certificate::from_der(signer.certificate_der()).map(|certificate| certificate.subject());
    let is_revoked = signer.serial().is_some_and(|serial| issuer.state.records.is_revoked(serial));
    let is_down = signer.signing().is_some_and(|signing| signing.status().is_down());
    let fault = if is_revoked {
        Some("its certificate is revoked by its CA".to_owned())
    } else if let Err(fault) = signer.check_validity(now) {
        Some(fault.to_string())
    } else {
        is_down.then(|| "its key does not work".to_owned())
    };
    SignerRow {
        tenant: tenant.to_owned(),
        signs_for: issuer.name.clone(),
        certificate: subject.unwrap_or_default(),
        ends: signer.not_after(),
        fault,
        has_key: signer.signing().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_health_check_become_alarms_by_their_first_word() {
        let lines = "ready\ndegraded: t/CA: the CRL is old\nwarning: t/CA: unlisted\nready\nt/tsa: clock by kernel\n";
        let told: Vec<_> = alarms(true, lines).into_iter().map(|alarm| (alarm.level, alarm.text)).collect();
        let expected = [
            (Level::Warning, "t/CA: the CRL is old".to_owned()),
            (Level::Note, "t/CA: unlisted".into()),
            (Level::Note, "t/tsa: clock by kernel".into()),
        ];
        assert_eq!(told, expected);
        let told = alarms(false, "not ready: stopping\nready\n");
        assert_eq!(told, [Alarm { level: Level::Bad, text: "stopping".into() }]);
        assert_eq!(alarms(false, "not ready\nt/tsa: the clock is not trusted\n").len(), 2);
    }
}
