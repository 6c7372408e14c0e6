//! Renewals with real commands and certificates by the real `openssl`; what opens the configuration anew is the test.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use crate::{
    assemble::{
        Assembly,
        tests::{read, read_at, refuses},
    },
    pki::{Certificate, UnixTime, certificates},
    renew::{Ask, DIRECTORY, Renewals, Report},
    source::openssl::{Ca, KEYS},
};

const PATIENCE: Duration = Duration::from_secs(60);
const OCSP: &str = "keyUsage = critical, digitalSignature\nextendedKeyUsage = OCSPSigning\nnoCheck = ignored\n";
const TSA: &str = "keyUsage = critical, digitalSignature\nextendedKeyUsage = critical, timeStamping\n";

/// A CA with a signer whose certificate, of 20 days, is in `signer.pem`.
fn ca() -> Ca {
    let ca = Ca::new("Renewing", KEYS[1]);
    fs::write(ca.path("ocsp"), OCSP).unwrap();
    fs::write(ca.path("tsa"), TSA).unwrap();
    certify(&ca, "ca", "leaf", "ocsp", &["-days", "20"], "signer.pem");
    ca
}

/// Has a CA of this directory certify a key, with the extensions in a file.
fn certify(ca: &Ca, by: &str, key: &str, extensions: &str, arguments: &[&str], out: &str) {
    let (request, certificate, signer) = (format!("{key}.csr"), format!("{by}.pem"), format!("{by}.key"));
    let command = ["x509", "-req", "-in", &request, "-CA", &certificate, "-CAkey", &signer, "-CAcreateserial"];
    ca.openssl(&[&command[..], &["-extfile", extensions, "-out", out], arguments].concat());
}

/// A script in the CA's directory.
fn script(ca: &Ca, name: &str, text: &str) -> PathBuf {
    let path = ca.path(name);
    fs::write(&path, format!("#!/bin/sh\ncd {} || exit 9\n{text}\n", ca.path("").display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Issues by `openssl ca`, whatever comes on standard input.
const ISSUE: &str = "exec openssl ca -batch -config ca.cnf -notext -in /dev/stdin -extfile ocsp -days 25";

fn with(renew: &str) -> String {
    let signer = format!("signer = {{ key = \"leaf.key\", certificate = \"signer.pem\", renew = {{ {renew} }} }}");
    format!("version = 1\n[[issuer]]\ncertificate = \"ca.pem\"\nindex = \"index.txt\"\n{signer}\n")
}

/// What renews the signers of an assembly, and hears when it is to be opened anew. The assembly has the keys.
fn renewing(assembly: &Assembly) -> (Renewals, mpsc::Receiver<()>) {
    let (send, asked) = mpsc::channel();
    let renewals = Renewals::new(Ask(Arc::new(move || _ = send.send(()))));
    renewals.change(assembly.renewing(true));
    (renewals, asked)
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn report(renewals: &Renewals) -> Report {
    renewals.reports().remove(0)
}

fn leaves(assembly: &Assembly) -> Vec<Certificate> {
    let signers = assembly.tenants[0].issuers[0].signers.all();
    signers.iter().map(|signer| Certificate::from_der(signer.certificate_der()).unwrap()).collect()
}

#[test]
fn a_command_gets_a_request_of_the_same_key_and_its_certificate_stands_behind_the_present_one() {
    let ca = ca();
    let command = script(&ca, "get-cert", &format!("tee request.pem | {}", &ISSUE[5..]));
    let text = with(&format!("command = [{command:?}], before = \"22d\""));
    let assembly = read(&ca, &text).unwrap();
    let before = leaves(&assembly);
    let (renewals, asked) = renewing(&assembly);
    asked.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{:?}", renewals.reports()));

    let request = ca.openssl(&["req", "-in", "request.pem", "-noout", "-text", "-verify", "-nameopt", "RFC2253"]);
    for part in ["OCSP Signing", "OCSP No Check", "Digital Signature", "CN=leaf"] {
        assert!(request.contains(part), "no {part}: {request}");
    }
    assert!(!request.contains("Basic Constraints"), "{request}");
    let [former, renewed] = <[_; 2]>::try_from(leaves(&read(&ca, &text).unwrap())).expect("two signers");
    assert_eq!([&former], &before[..].iter().collect::<Vec<_>>()[..]);
    assert_eq!(renewed.spki_der(), former.spki_der());
    assert!(renewed.not_after() > former.not_after());

    // Taken, and not asked for again.
    renewals.change(read(&ca, &text).unwrap().renewing(true));
    let report = until("it is taken", || Some(report(&renewals)).filter(|report| report.renewed == 1));
    assert_eq!((report.ends, report.fault, report.failures), (renewed.not_after(), None, 0));
    assert!(!report_is_due(&ca, &text), "half of its time is not over");

    // Once the former one has ended the renewed one is alone, and once that has too, the file is told of.
    let (_, later) = read_at(&ca, &text, former.not_after()).unwrap();
    assert_eq!(leaves(&later), std::slice::from_ref(&renewed));
    let error: String = read_at(&ca, &text, renewed.not_after()).unwrap_err();
    assert!(error.contains("issuer.signer.certificate: is valid from"), "{error}");
    // An operator who wants it forgotten removes it.
    fs::remove_dir_all(ca.path("state").join(DIRECTORY)).unwrap();
    assert_eq!(leaves(&read(&ca, &text).unwrap()), before);
}

fn report_is_due(ca: &Ca, text: &str) -> bool {
    let assembly = read(ca, text).unwrap();
    report(&renewing(&assembly).0).is_due(UnixTime::now())
}

/// Everything that a command has done wrong somewhere; each is told, and changes nothing.
#[test]
fn a_command_that_does_anything_else_is_told_and_changes_nothing() {
    let ca = ca();
    let other = Ca::new("Other", KEYS[1]);
    for file in ["ca.pem", "ca.key"] {
        fs::copy(other.path(file), ca.path(&format!("other-{file}"))).unwrap();
        fs::rename(ca.path(&format!("other-{file}")), ca.path(&file.replace("ca", "other"))).unwrap();
    }
    fs::copy(other.path("leaf.csr"), ca.path("stranger.csr")).unwrap();
    fs::write(ca.path("usage"), "extendedKeyUsage = serverAuth\n").unwrap();
    certify(&ca, "other", "leaf", "ocsp", &["-days", "60"], "another-ca.pem");
    certify(&ca, "ca", "stranger", "ocsp", &["-days", "60"], "another-key.pem");
    certify(&ca, "ca", "leaf", "usage", &["-days", "60"], "another-usage.pem");
    certify(&ca, "ca", "leaf", "ocsp", &["-days", "1"], "no-longer.pem");
    let past = ["ca", "-batch", "-config", "ca.cnf", "-notext", "-in", "leaf.csr", "-extfile", "ocsp"];
    let past = [&past[..], &["-startdate", "20240101000000Z", "-enddate", "20240201000000Z"]].concat();
    ca.openssl(&[&past[..], &["-out", "expired.pem"]].concat());
    let absent = ca.path("absent");
    let cases = [
        ("sleep 1000", "did not end within 1 s and was killed"),
        // What it has started holds its output open.
        ("sleep 1000 & exit 0", "ended well, but its output: holds no certificate"),
        ("trap '' TERM; while :; do sleep 1; done", "did not end within 1 s and was killed"),
        ("echo 'no quota is left' >&2; exit 3", "failed (exit status: 3); it said: no quota is left"),
        ("cat leaf.key >&2; exit 1", "it said: (a text that may be a secret)"),
        ("kill -9 $$", "failed (signal: 9"),
        ("exit 0", "ended well, but its output: holds no certificate"),
        ("echo '<html>Please log in</html>'", "ended well, but its output: holds no certificate"),
        ("head -c 300 another-ca.pem", "its output: is damaged PEM"),
        ("cat leaf.key", "holds no certificate, but a private key"),
        ("yes", "wrote more than 1048576 bytes and was killed"),
        ("yes >&2", "did not end within 1 s and was killed"),
        ("cat another-ca.pem", "the certificate that came is not a delegate of this issuer"),
        ("cat another-key.pem", "the certificate that came belongs to another key than the signer's"),
        ("cat another-usage.pem", "the certificate that came lacks the extended key usage OCSPSigning"),
        ("cat expired.pem", "the certificate that came expired at 2024-02-01"),
        ("cat signer.pem", "the certificate that came is no newer than the present one"),
        ("cat no-longer.pem", "the certificate that came is no newer than the present one"),
    ];
    let mut started = Vec::new();
    for (number, (text, wanted)) in cases.iter().enumerate() {
        let command = script(&ca, &format!("script-{number}"), text);
        started.push((command, *text, *wanted));
    }
    started.push((absent, "", "cannot be run: No such file"));
    let plain = ca.path("plain");
    fs::write(&plain, "cat signer.pem\n").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o755)).unwrap();
    started.push((plain, "no #!", "cannot be run: Exec format error"));
    let started: Vec<_> = started
        .into_iter()
        .enumerate()
        .map(|(number, (command, text, wanted))| {
            let renew = format!("command = [{command:?}], before = \"300d\", deadline = \"1s\"");
            let assembly = read(&ca, &format!("state_dir = \"state-{number}\"\n{}", with(&renew))).unwrap();
            let (renewals, asked) = renewing(&assembly);
            (renewals, asked, assembly, text, wanted, number)
        })
        .collect();
    for (renewals, asked, assembly, text, wanted, number) in &started {
        let report = until(text, || Some(report(renewals)).filter(|report| report.failures > 0));
        let fault = report.fault.unwrap();
        assert!(fault.contains(wanted), "{text}: no `{wanted}` in: {fault}");
        assert!(fault.len() < 4000 && !fault.contains('\n'), "{text}: {fault}");
        assert!(asked.try_recv().is_err(), "{text}");
        assert!(!ca.path(&format!("state-{number}")).join(DIRECTORY).exists(), "{text}");
        assert_eq!(leaves(assembly).len(), 1);
    }
}

#[test]
fn a_chain_comes_in_any_order_and_in_der_as_well() {
    let ca = ca();
    certify(&ca, "ca", "leaf", "ocsp", &["-days", "60"], "new.pem");
    ca.openssl(&["x509", "-in", "new.pem", "-outform", "DER", "-out", "new.der"]);
    let new = certificates(&ca.path("new.pem")).unwrap().remove(0);
    for (number, (text, count)) in
        [("cat new.pem ca.pem", 2), ("cat ca.pem new.pem", 2), ("cat new.der", 1)].into_iter().enumerate()
    {
        let command = script(&ca, "get-cert", text);
        let text = with(&format!("command = [{command:?}], before = \"30d\""));
        let text = format!("state_dir = \"state-{number}\"\n{text}");
        let assembly = read(&ca, &text).unwrap();
        let (renewals, asked) = renewing(&assembly);
        asked.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{:?}", renewals.reports()));
        let renewing = read(&ca, &text).unwrap().renewing(true).remove(0);
        assert_eq!((&renewing.present[0], renewing.present.len()), (&new, count));
    }
}

/// Somebody replaces the file, in two steps as well, and by what does not suit.
#[test]
fn a_request_is_written_and_the_certificates_file_is_waited_for() {
    let ca = ca();
    let text = with("request = \"next.csr\", before = \"30d\"");
    let assembly = read(&ca, &text).unwrap();
    let before = leaves(&assembly).remove(0);
    let (renewals, asked) = renewing(&assembly);
    until("the request", || ca.path("next.csr").exists().then_some(()));
    let request = ca.openssl(&["req", "-in", "next.csr", "-noout", "-text", "-verify"]);
    assert!(request.contains("OCSP Signing"), "{request}");
    let signed = fs::read(ca.path("next.csr")).unwrap();
    let waits = until("it is told", || report(&renewals).fault);
    assert!(waits.contains("next.csr, and the CA's certificate is waited for in"), "{waits}");

    let whole = {
        certify(&ca, "ca", "leaf", "ocsp", &["-days", "60"], "new.pem");
        fs::read(ca.path("new.pem")).unwrap()
    };
    fs::write(ca.path("signer.pem"), &whole[..200]).unwrap();
    let fault = until("half a file", || report(&renewals).fault.filter(|fault| fault.contains("damaged PEM")));
    assert!(fault.contains("signer.pem"), "{fault}");
    assert!(asked.try_recv().is_err());
    assert_eq!(fs::read(ca.path("next.csr")).unwrap(), signed, "it is not written again and again");
    fs::write(ca.path("signer.pem"), &whole).unwrap();
    asked.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{:?}", renewals.reports()));

    let after = read(&ca, &text).unwrap();
    let new = certificates(&ca.path("new.pem")).unwrap().remove(0);
    assert_eq!(leaves(&after), [before, new], "the former one stands beside it, though no file of the operator has it");
    renewals.change(after.renewing(true));
    until("the request is gone", || (!ca.path("next.csr").exists()).then_some(()));
    assert_eq!(report(&renewals).fault, None);
}

#[test]
fn a_file_that_somebody_else_renews_is_taken_before_anybody_is_asked() {
    let ca = ca();
    let command = script(&ca, "get-cert", "touch asked; exit 1");
    let text = with(&format!("command = [{command:?}], before = \"30d\""));
    let assembly = read(&ca, &text).unwrap();
    certify(&ca, "ca", "leaf", "ocsp", &["-days", "60"], "signer.pem");
    let (renewals, asked) = renewing(&assembly);
    asked.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{:?}", renewals.reports()));
    assert!(!ca.path("asked").exists());
}

#[test]
fn a_kept_certificate_that_does_not_suit_is_left_out_of_a_start() {
    let ca = ca();
    certify(&ca, "ca", "leaf", "ocsp", &["-days", "60"], "new.pem");
    let command = script(&ca, "get-cert", "cat new.pem");
    let text = with(&format!("command = [{command:?}], before = \"30d\""));
    let assembly = read(&ca, &text).unwrap();
    let (_renewals, asked) = renewing(&assembly);
    asked.recv_timeout(PATIENCE).unwrap();
    let kept = assembly.renewing(true).remove(0).kept;
    let file = fs::read_dir(kept.directory()).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(kept.directory()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(leaves(&read(&ca, &text).unwrap()).len(), 2);
    fs::write(ca.path("usage"), "extendedKeyUsage = serverAuth\n").unwrap();
    certify(&ca, "ca", "leaf", "usage", &["-days", "90"], "wrong.pem");
    for content in [fs::read(ca.path("wrong.pem")).unwrap(), b"half".to_vec()] {
        fs::write(&file, content).unwrap();
        assert_eq!(leaves(&read(&ca, &text).unwrap()), leaves(&assembly));
    }
}

#[test]
fn of_a_time_stamping_signer_the_newest_valid_certificate_alone_signs() {
    let ca = ca();
    certify(&ca, "ca", "leaf", "tsa", &["-days", "20"], "signer.pem");
    certify(&ca, "ca", "leaf", "tsa", &["-days", "60"], "new.pem");
    let command = script(&ca, "get-cert", "tee request.pem >/dev/null; cat new.pem");
    let text = format!(
        "version = 1\n[[tsa]]\npolicy = \"1.2.3\"\nsigner = {{ key = \"leaf.key\", certificate = \"signer.pem\", renew = {{ command = [{command:?}], before = \"30d\" }} }}\n"
    );
    let assembly = read(&ca, &text).unwrap();
    let (renewals, asked) = renewing(&assembly);
    asked.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{:?}", renewals.reports()));
    let request = ca.openssl(&["req", "-in", "request.pem", "-noout", "-text", "-verify"]);
    assert!(request.contains("Time Stamping") && request.contains("critical"), "{request}");
    let after = read(&ca, &text).unwrap();
    let new = certificates(&ca.path("new.pem")).unwrap().remove(0);
    assert_eq!(*after.tenants[0].tsas[0].signer.certificate(), new);
    // A certificate for answers is none for time-stamps.
    let signers = [&assembly, &after].map(|assembly| assembly.renewing(true).remove(0));
    certify(&ca, "ca", "leaf", "ocsp", &["-days", "90"], "ocsp.pem");
    let wrong = certificates(&ca.path("ocsp.pem")).unwrap();
    let problem = signers[0].judge.judge(&wrong, UnixTime::now()).unwrap_err();
    assert!(problem.contains("timeStamping"), "{problem}");
}

/// One that a CA with a fast clock has issued was asked for again each second.
#[test]
fn a_certificate_that_is_not_valid_yet_is_waited_for() {
    let ca = ca();
    certify(&ca, "ca", "leaf", "tsa", &["-days", "20"], "signer.pem");
    let (begin, end) = (UnixTime(UnixTime::now().0 + 3600), UnixTime(UnixTime::now().0 + 25 * 86_400));
    let [begin_text, end_text] = [begin, end].map(|time| String::from_utf8(time.generalized().to_vec()).unwrap());
    let issue = ["ca", "-batch", "-config", "ca.cnf", "-notext", "-in", "leaf.csr", "-extfile", "tsa"];
    ca.openssl(&[&issue[..], &["-startdate", &begin_text, "-enddate", &end_text, "-out", "new.pem"]].concat());
    let command = script(&ca, "get-cert", "echo asked >> count; cat new.pem");
    let text = format!(
        "version = 1\n[[tsa]]\npolicy = \"1.2.3\"\nsigner = {{ key = \"leaf.key\", certificate = \"signer.pem\", renew = {{ command = [{command:?}], before = \"30d\" }} }}\n"
    );
    let assembly = read(&ca, &text).unwrap();
    let (renewals, asked) = renewing(&assembly);
    let kept = assembly.renewing(true).remove(0).kept;
    until("it is kept", || fs::read_dir(kept.directory()).ok());
    assert!(asked.recv_timeout(Duration::from_secs(4)).is_err(), "it cannot sign yet");
    assert_eq!((fs::read_to_string(ca.path("count")).unwrap(), report(&renewals).failures), ("asked\n".to_owned(), 0));
    let [now, later] = [UnixTime::now(), begin].map(|time| read_at(&ca, &text, time).unwrap().1);
    let signs = |assembly: &Assembly| assembly.tenants[0].tsas[0].signer.certificate().not_before();
    assert!(signs(&now) < begin);
    assert_eq!(signs(&later), begin);
}

#[test]
fn the_end_of_the_service_ends_a_command_with_all_that_it_has_started() {
    let ca = ca();
    let command = script(
        &ca,
        "get-cert",
        "sleep 1000 & echo $! > started; ls -l /proc/self/fd > descriptors; env > environment; touch ready; wait",
    );
    let text = with(&format!("command = [{command:?}, \"a b\"], before = \"30d\", deadline = \"10m\""));
    let assembly = read(&ca, &text).unwrap();
    let (renewals, _asked) = renewing(&assembly);
    until("it runs", || ca.path("ready").exists().then_some(()));
    let started = fs::read_to_string(ca.path("started")).unwrap();
    let process = PathBuf::from(format!("/proc/{}/stat", started.trim()));
    assert!(process.exists());
    let begin = Instant::now();
    drop(renewals);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    // Whoever inherits it may take a moment to bury it.
    let is_gone = || fs::read_to_string(&process).map_or(true, |stat| stat.contains(") Z "));
    until("it is gone", || is_gone().then_some(()));

    let environment = fs::read_to_string(ca.path("environment")).unwrap();
    let names: Vec<_> = environment.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let own = ["OSTIA_CERTIFICATE", "OSTIA_SIGNER", "PATH", "PWD", "OLDPWD", "SHLVL", "_"];
    assert!(names.iter().all(|name| own.contains(name)) && names.contains(&"OSTIA_SIGNER"), "{environment}");
    assert!(environment.contains("OSTIA_SIGNER=default/CN=Renewing"), "{environment}");
    // Pipes, and what `ls` itself has opened.
    let descriptors = fs::read_to_string(ca.path("descriptors")).unwrap();
    assert!(!descriptors.contains("socket:") && !descriptors.contains("index.txt"), "{descriptors}");
}

#[test]
fn what_cannot_be_is_refused_with_a_remedy() {
    let ca = ca();
    for (renew, problem) in [
        ("command = []", "renew.command: names no program; write a list"),
        ("command = [\"\"]", "renew.command: names no program; write a list"),
        ("command = [\"a\"], request = \"b\"", "renew.request: stands beside `command`"),
        ("request = \"b\", deadline = \"5s\"", "renew.deadline: is for a `command`; remove it"),
        ("before = \"0s\"", "renew.before: is `0s`; expected a duration from 1s to 400d"),
        ("before = 14", "renew.before: is 14; expected a duration"),
        ("after = \"14d\"", "renew.after: is not a known key"),
    ] {
        refuses(&ca, &with(renew), &[problem]);
    }
    let own = "version = 1\n[[issuer]]\ncertificate = \"ca.pem\"\nindex = \"index.txt\"\nsigner = { key = \"ca.key\", renew = {} }\n";
    refuses(
        &ca,
        own,
        &["signer.renew: renews the certificate in the signer's file, and the CA's own key has none here"],
    );
}
