//! Metrics as monitoring takes them: both forms, the names that everybody expects, and nothing that would mislead.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use ostia_tests::{
    Ca, Delegate, KeyKind, Responder, Site, Tenant, Tsa, TsaCertificate,
    http::{exchange, request},
    openssl, programs, run, until,
};

/// For a machine with other things to do.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A responder with everything that has a certificate.
fn started() -> (Ca, Responder) {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tsa = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::of(&ca, &signer).tsa(&Tsa::of("tsa", &tsa))]);
    let request = ["req", "-config", "openssl.cnf", "-new", "-x509", "-key", "leaf.key", "-subj", "/CN=localhost"];
    ca.issue();
    openssl(
        ca.dir(),
        [&request[..], &["-addext", "subjectAltName = DNS:localhost", "-days", "30", "-out", "tls.pem"]].concat(),
    );
    fs::copy(&signer.certificate, ca.file("signer.pem")).unwrap();
    fs::copy(&tsa.certificate, ca.file("tsa.pem")).unwrap();
    let (certificate, key) = (ca.file("tls.pem"), ca.file("leaf.key"));
    let tls = format!("[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = {certificate:?}\nkey = {key:?}\n[admin]");
    site.edit_config(|text| text.replacen("[admin]", &tls, 1));
    (ca, site.start())
}

fn scraped(responder: &Responder, accept: &str) -> (String, String) {
    let reply = exchange(responder.site.admin, &request("GET", "/metrics", accept)).unwrap();
    assert_eq!(reply.status, 200);
    (reply.header("content-type").unwrap().to_owned(), reply.text())
}

const OPENMETRICS: &str = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";

/// The name of a series with its labels, by line.
fn series(text: &str) -> BTreeSet<&str> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

/// The families that a kind of line names.
fn families<'t>(text: &'t str, kind: &str) -> BTreeSet<&'t str> {
    text.lines().filter_map(|line| line.strip_prefix(kind)?.split_once(' ')).map(|(name, _)| name).collect()
}

/// The value of a series, by its name with labels.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[test]
fn promtool_finds_no_fault_and_both_forms_have_the_same_with_help_for_all() {
    let (_ca, responder) = started();
    // A series that comes up between the two would be in one of them alone.
    until("the first pass of signing has ended", PATIENCE, || {
        responder.metrics().contains("\nostia_presign_last_pass_end_seconds").then_some(())
    });
    let ((plain, text), (kind, open)) = (scraped(&responder, ""), scraped(&responder, OPENMETRICS));
    assert!(plain.starts_with("text/plain; version=0.0.4"), "{plain}");
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(open.ends_with("# EOF\n") && !text.contains("# EOF"), "{text}");
    assert_eq!(series(&text), series(&open));
    for form in [&text, &open] {
        let (help, kinds) = (families(form, "# HELP "), families(form, "# TYPE "));
        assert_eq!(help, kinds);
        assert!(help.len() > 50, "{help:?}");
        let empty: Vec<_> =
            form.lines().filter(|line| line.starts_with("# HELP ") && line.split(' ').count() < 5).collect();
        assert!(empty.is_empty(), "{empty:?}");
    }
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let linted = promtool.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&linted.stderr).into_owned() + &String::from_utf8_lossy(&linted.stdout);
    assert!(linted.status.success() && told.is_empty(), "{told}");
}

/// Serial number and end of a certificate, by openssl.
fn of(file: &Path) -> (String, f64) {
    let text =
        openssl(file.parent().unwrap(), ["x509", "-in", file.to_str().unwrap(), "-noout", "-serial", "-enddate"]);
    let (serial, end) = text.trim().split_once('\n').unwrap();
    let end = run(Command::new("date").args(["+%s", "-d", end.strip_prefix("notAfter=").unwrap()])).text;
    (serial.strip_prefix("serial=").unwrap().to_owned(), end.trim().parse().unwrap())
}

#[test]
fn every_certificate_in_use_has_its_own_end() {
    let (ca, responder) = started();
    let (_, text) = scraped(&responder, "");
    let files = [("ca", "ca.pem"), ("signer", "signer.pem"), ("tsa", "tsa.pem"), ("tls", "tls.pem")];
    let wanted: BTreeMap<_, _> = files.into_iter().map(|(role, file)| (role, of(&ca.file(file)))).collect();
    for (role, (serial, end)) in &wanted {
        let own = |line: &&str| {
            let line = line.strip_prefix("ostia_certificate_not_after_seconds").unwrap_or_default();
            line.contains(&format!("role=\"{role}\"")) && line.contains(&format!("serial=\"{serial}\""))
        };
        let line = text.lines().find(own).unwrap_or_else(|| panic!("{role} {serial}: {text}"));
        assert_eq!(line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap(), *end, "{line}");
    }
}

#[test]
fn the_process_and_the_build_are_told_as_everybody_names_them() {
    let (_ca, responder) = started();
    let (_, text) = scraped(&responder, "");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let started = value(&text, "process_start_time_seconds");
    assert!((now - 600.0..=now + 1.0).contains(&started), "{started} {now}");
    let status = fs::read_to_string(format!("/proc/{}/status", responder.pid())).unwrap();
    let of_kernel = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let resident = value(&text, "process_resident_memory_bytes") / 1024.0;
    assert!((0.5..2.0).contains(&(resident / of_kernel("VmRSS:"))), "{resident} {status}");
    assert!((value(&text, "process_threads") - of_kernel("Threads:")).abs() < 8.0, "{status}");
    assert!(value(&text, "process_cpu_seconds_total") > 0.0);
    let open = fs::read_dir(format!("/proc/{}/fd", responder.pid())).unwrap().count() as f64;
    assert!((value(&text, "process_open_fds") - open).abs() < 8.0, "{open} {text}");
    assert!(value(&text, "process_max_fds") >= open);
    let version = run(Command::new(&programs().responder).arg("-V")).text;
    let version = version.trim().rsplit_once(' ').unwrap().1.to_owned();
    let build = text.lines().find(|line| line.starts_with("ostia_build_info{")).unwrap();
    assert!(build.contains(&format!("version=\"{version}\"")) && build.ends_with(" 1"), "{build}");
}

/// A time of 0 is 1970, which every rule about age takes for an alarm.
#[test]
fn what_does_not_apply_is_absent_instead_of_0() {
    let (_ca, responder) = started();
    let (_, text) = scraped(&responder, "");
    for absent in ["ostia_crl_next_update_seconds", "ostia_last_push_seconds", "ostia_tsa_clock_offset_seconds"] {
        assert!(text.contains(&format!("# TYPE {absent} gauge")), "{absent}: {text}");
        assert!(!series(&text).iter().any(|series| series.starts_with(absent)), "{absent}: {text}");
    }
    assert!(!text.contains(" NaN\n") && !text.contains(" inf\n") && !text.contains(" +Inf\n"), "{text}");
    let times = series(&text).into_iter().filter(|series| {
        let name = series.split('{').next().unwrap();
        ["_last_read_seconds", "_last_look_seconds", "_end_seconds", "_not_after_seconds", "_begins_seconds"]
            .iter()
            .any(|end| name.ends_with(end))
    });
    for series in times {
        assert!(value(&text, series) > 1.7e9, "{series}: {text}");
    }
}
