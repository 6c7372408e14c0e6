//! Directories of what a CA has issued, beside its CRL.

use std::{fs, path::PathBuf, time::Duration};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Leaf, Responder, Site, Status, Tenant, programs, run, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A CA that publishes a CRL, and a directory with files of some of its certificates.
struct Place {
    ca: Ca,
    directory: PathBuf,
}

impl Place {
    fn new() -> Self {
        let ca = Ca::new("Directory");
        ca.write_crl("ca.crl");
        let directory = ca.file("certs");
        fs::create_dir(&directory).unwrap();
        Self { ca, directory }
    }

    fn add(&self, leaf: &Leaf, name: &str) {
        fs::copy(&leaf.path, self.directory.join(name)).unwrap();
    }

    fn site(&self) -> Site {
        let signer = self.ca.delegate(Delegate::Proper, KeyKind::P256);
        let issued = format!("{}/", self.directory.display());
        let sources = format!("crl = {:?}\nissued = {issued:?}\n", self.ca.file("ca.crl"));
        Site::new(&[Tenant::new("tests").issuer("ca", &self.ca, &sources, &signer.lines())])
    }

    fn says(&self, responder: &Responder, leaf: &Leaf) -> Status {
        Ask::about(&self.ca, leaf).at(responder.http(), "/").status
    }

    #[track_caller]
    fn becomes(&self, responder: &Responder, leaf: &Leaf, wanted: &Status) {
        until(&format!("{} is {wanted:?}", leaf.serial), PATIENCE, || {
            (self.says(responder, leaf) == *wanted).then_some(())
        });
    }
}

#[test]
fn beside_a_crl_a_directory_of_certificates_proves_good_and_each_new_file_counts() {
    let place = Place::new();
    let (ca, unknown) = (&place.ca, Status::error("unauthorized"));
    let (known, named, revoked, later) = (ca.issue(), ca.issue(), ca.issue(), ca.issue());
    place.add(&known, "known.pem");
    place.add(&revoked, "revoked.pem");
    fs::write(place.directory.join(format!("{}.txt", named.serial)), "").unwrap();
    ca.revoke(&revoked, &["-crl_reason", "superseded"]);
    ca.write_crl("ca.crl");
    let responder = place.site().start();
    place.becomes(&responder, &known, &Status::Good);
    place.becomes(&responder, &named, &Status::Good);
    assert_eq!(place.says(&responder, &revoked), Status::Revoked);
    assert_eq!(place.says(&responder, &later), unknown);
    // Half of it comes first.
    let text = fs::read(&later.path).unwrap();
    let file = place.directory.join(&later.serial);
    fs::write(&file, &text[..text.len() - 40]).unwrap();
    let odd = "1 files cannot be read, and their certificates are not listed";
    until(odd, PATIENCE, || responder.log().contains(odd).then_some(()));
    assert_eq!(place.says(&responder, &later), unknown);
    fs::write(&file, &text).unwrap();
    place.becomes(&responder, &later, &Status::Good);
    fs::remove_file(place.directory.join("known.pem")).unwrap();
    place.becomes(&responder, &known, &unknown);
    ca.revoke(&later, &[]);
    ca.write_crl("ca.crl");
    place.becomes(&responder, &later, &Status::Revoked);
}

#[test]
fn a_directory_that_is_away_is_told_and_a_restart_has_what_was_in_it() {
    let place = Place::new();
    let (first, second) = (place.ca.issue(), place.ca.issue());
    place.add(&first, "first.pem");
    place.add(&second, "second.pem");
    let responder = place.site().start();
    place.becomes(&responder, &first, &Status::Good);
    let away = place.ca.file("away");
    fs::rename(&place.directory, &away).unwrap();
    let told = "is what it is on mounted?";
    until(told, PATIENCE, || responder.readiness().1.contains(told).then_some(()));
    assert!(responder.log().contains(told));
    assert!(responder.metric("ostia_source_fetch_failures_total", "") > 0.0, "{}", responder.metrics());
    assert_eq!(place.says(&responder, &first), Status::Good);
    let responder = responder.kill_and_start_again();
    place.becomes(&responder, &second, &Status::Good);
    fs::rename(&away, &place.directory).unwrap();
    until("it is well", PATIENCE, || (!responder.readiness().1.contains(told)).then_some(()));
}

#[test]
fn check_and_a_trial_say_what_is_in_a_directory() {
    let place = Place::new();
    let (leaf, other) = (place.ca.issue(), Ca::new("Other"));
    let ended = place.site().check();
    assert!(ended.text.contains("lists nobody: no file in it is a certificate of this CA"), "{}", ended.text);
    place.add(&leaf, "leaf.pem");
    place.add(&other.issue(), "other.pem");
    let source_try = |arguments: &[&str]| {
        run(std::process::Command::new(&programs().precompute).args(["source", "try"]).args(arguments))
    };
    let (ca, directory) = (place.ca.certificate(), place.directory.display().to_string());
    let ended =
        source_try(&["--issuer", ca.to_str().unwrap(), &directory, "--serial", &leaf.serial, "--serial", "0123"]);
    for told in [
        &format!("{directory}: a directory of what was issued, with 1 certificates"),
        "  1 files have certificates of this CA, and 0 are named by serial numbers",
        "  1 files have certificates of other CAs alone, which say nothing here, such as `other.pem`",
        &format!("  {}: good, valid until ", leaf.serial),
        "  0123: not listed",
    ] {
        assert!(ended.text.contains(told), "{told}: {}", ended.text);
    }
    let ended = source_try(&[&directory]);
    assert!(!ended.status.success() && ended.text.contains("by --issuer"), "{}", ended.text);
    // A slash says what is meant.
    let site = place.site();
    site.edit_config(|text| text.replace("certs/", "certs"));
    let ended = site.check();
    assert!(ended.text.contains("`issued` names a directory with a slash at its end: `"), "{}", ended.text);
}
